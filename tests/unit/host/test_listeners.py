from __future__ import annotations

import os
import socket
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from bridge.host import listeners
from bridge.host.listeners import listening, listening_keys, make_canonical_address, occupied, unheard
from bridge.model.address import AbstractAddress, Address, InetAddress, UnixAddress, collision_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def listener(family: socket.AddressFamily, address: str | tuple[str, int]) -> Iterator[socket.socket]:
    with socket.socket(family) as sock:
        if family is socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
        sock.listen()
        yield sock


def inet(ip: str, port: int) -> InetAddress:
    return InetAddress(ip_address(ip), port)


def test_all_kinds_of_sockets_are_seen(tmp_path: Path) -> None:
    unix, abstract = str(tmp_path / "a b.sock"), f"{tmp_path}/abstract x"
    with ExitStack() as stack:
        stack.enter_context(listener(socket.AF_UNIX, unix))
        stack.enter_context(listener(socket.AF_UNIX, f"\0{abstract}"))
        four = stack.enter_context(listener(socket.AF_INET, ("127.0.0.1", 0))).getsockname()[1]
        any_four = stack.enter_context(listener(socket.AF_INET, ("0.0.0.0", 0))).getsockname()[1]
        six = stack.enter_context(listener(socket.AF_INET6, ("::1", 0))).getsockname()[1]
        both = stack.enter_context(listener(socket.AF_INET6, ("::", 0))).getsockname()[1]
        mapped = stack.enter_context(listener(socket.AF_INET6, ("::ffff:127.0.0.1", 0))).getsockname()[1]
        bound_only = stack.enter_context(socket.socket(socket.AF_UNIX))
        bound_only.bind(str(tmp_path / "bound"))
        found = set(listening())
        taken: set[Address] = {
            UnixAddress(unix), AbstractAddress(abstract), inet("127.0.0.1", four), inet("0.0.0.0", any_four),
            inet("::1", six), inet("::", both), inet("127.0.0.1", mapped),
        }  # fmt: skip
        assert taken <= found
        assert UnixAddress(str(tmp_path / "bound")) not in found
        assert set(occupied(taken, ())) == taken
        assert occupied(taken, taken) == {}
        wider: set[Address] = {inet("0.0.0.0", four), inet("127.0.0.1", any_four), inet("127.0.0.1", both)}
        reasons = occupied(wider, ())
        assert set(reasons) == wider
        assert reasons[inet("0.0.0.0", four)] == f"another process listens on 127.0.0.1:{four}"
    assert not taken & set(listening())


def test_a_free_address(tmp_path: Path) -> None:
    free: list[Address] = [UnixAddress(str(tmp_path / "x")), UnixAddress(str(tmp_path / "no" / "x"))]
    assert occupied([*free, AbstractAddress(str(tmp_path))], ()) == {}


@pytest.mark.parametrize("kind", ["file", "dir", "link"])
def test_what_is_no_socket_is_in_the_way(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "file":
        path.touch()
    elif kind == "dir":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    address = UnixAddress(str(path))
    assert occupied([address], ()) == {address: f"{path} exists and is not a socket"}


def test_a_socket_nobody_listens_on_is_free(tmp_path: Path) -> None:
    path = str(tmp_path / "x")
    with listener(socket.AF_UNIX, path):
        pass
    assert occupied([UnixAddress(path)], ()) == {}


def test_a_socket_whose_file_is_gone_is_free(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with listener(socket.AF_UNIX, str(path)):
        path.unlink()
        assert occupied([UnixAddress(str(path))], ()) == {}


@pytest.mark.parametrize("written", ["link/x", "real//x", "real/../real/./x"])
def test_a_socket_bound_under_another_spelling_is_seen(tmp_path: Path, written: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    meant = make_canonical_address()(UnixAddress(f"{tmp_path}/real/x"))
    with listener(socket.AF_UNIX, f"{tmp_path}/{written}"):
        assert occupied([meant], ()) == {meant: f"another process listens on {meant}"}
        assert occupied([meant], [meant]) == {}


def test_a_socket_that_ends_before_is_in_nobodys_way(tmp_path: Path) -> None:
    """Each address is asked about by itself: another listener beside it stays in the way."""
    name = AbstractAddress(tmp_path.name)
    with listener(socket.AF_UNIX, f"\0{name.name}") as one, listener(socket.AF_INET, ("127.0.0.1", 0)) as other:
        port = inet("127.0.0.1", other.getsockname()[1])
        numbers: dict[Address, int] = {name: os.fstat(one.fileno()).st_ino, port: os.fstat(other.fileno()).st_ino}
        assert set(occupied(numbers, ())) == {name, port}
        assert occupied(numbers, (), lambda wanted, number: numbers[wanted] == number) == {}
        assert set(occupied(numbers, (), lambda wanted, number: wanted == name and numbers[name] == number)) == {port}


def test_a_socket_that_never_listens_is_in_the_way_too(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "x"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as holder:
        holder.bind(address.path)
        assert occupied([address], ()) == {address: f"another process holds the socket {address}"}
    assert occupied([address], ()) == {}


def test_identity_resolves_folders_but_not_the_socket(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "x").symlink_to("y")
    canonical_address = make_canonical_address()
    real = str((tmp_path / "real").resolve())
    assert canonical_address(UnixAddress(f"{tmp_path}/link/x")) == UnixAddress(f"{real}/x")
    assert canonical_address(UnixAddress("/x")) == UnixAddress("/x")
    for other in (AbstractAddress("a"), inet("::1", 80)):
        assert canonical_address(other) == other


def test_a_name_with_lines_of_its_own_breaks_nothing(tmp_path: Path) -> None:
    """Any user may bind such a socket."""
    evil = f"\0{tmp_path.name}\nNum RefCount 0 flags type st inode path\n\n\r\x0b\x0cx: y\n"
    with listener(socket.AF_UNIX, evil), listener(socket.AF_UNIX, str(tmp_path / "good")):
        assert UnixAddress(str(tmp_path / "good")) in set(listening())


def test_a_name_that_looks_like_another_socket_takes_nobodys_address(tmp_path: Path) -> None:
    wanted = AbstractAddress(tmp_path.name[:20])
    row = f"\n0000000000000000: 00000002 00000000 00010000 0001 01 99999 {wanted}\n"
    with listener(socket.AF_UNIX, f"\0{row}"):
        assert occupied([wanted], ()) == {}


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_kernel_without_inet_diag_has_tables(monkeypatch: pytest.MonkeyPatch, family: socket.AddressFamily) -> None:
    with listener(family, ("127.0.0.1" if family is socket.AF_INET else "::ffff:127.0.0.1", 0)) as bound:
        shown = set(listening())
        assert listening_keys() == {collision_key(address) for address in shown}
        assert inet("127.0.0.1", bound.getsockname()[1]) in shown
        monkeypatch.setattr(listeners, "shown_tcp_listeners", lambda: None)
        assert inet("127.0.0.1", bound.getsockname()[1]) in set(listening())


def test_what_the_kernel_does_not_show_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[Address] = [inet("127.0.0.1", 1), AbstractAddress("none"), UnixAddress("/none")]
    assert unheard(wanted) == set(wanted)
    monkeypatch.setattr(listeners, "shown_listeners", lambda _among: None)
    assert unheard(wanted) == {wanted[0]}
    monkeypatch.setattr(listeners, "shown_tcp_listeners", lambda: None)
    assert unheard(wanted) == {wanted[0]}
    monkeypatch.setattr(listeners, "_lines", lambda _: os.listdir("/nonexistent"))
    assert unheard(wanted) == set()
