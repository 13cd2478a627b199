from __future__ import annotations

import os
import socket
import struct
from contextlib import ExitStack
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from bridge.host import sock_diag
from bridge.host.sock_diag import INODE_MASK, Listener, TcpListener, bound_files, file_of, listeners, parse, parse_tcp

if TYPE_CHECKING:
    from pathlib import Path

NUMBER = 4711
MESSAGE = struct.pack("=4xI8x", NUMBER)
DONE = 3


def piece(kind: int, body: bytes) -> bytes:
    """Return an attribute as the kernel writes it, padded to four bytes."""
    return struct.pack("=HH", 4 + len(body), kind) + body + bytes(-len(body) % 4)


def message(*attributes: bytes, kind: int = 20) -> bytes:
    body = MESSAGE + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body


def tcp(family: int, ip: str, port: int, number: int = NUMBER) -> bytes:
    """Return a message about a TCP socket: ``struct inet_diag_msg``."""
    source = ip_address(ip).packed.ljust(16, b"\0")
    return (
        struct.pack("=IHHII", 88, 20, 2, 1, 0)
        + struct.pack("!BBBBHH16s", family, 10, 0, 0, port, 0, source)
        + bytes(44)
        + struct.pack("=I", number)
    )


def end(status: int = 0, kind: int = DONE) -> bytes:
    return struct.pack("=IHHIIi", 20, kind, 2, 1, 0, status)


def bind(stack: ExitStack, path: str) -> socket.socket:
    sock = stack.enter_context(socket.socket(socket.AF_UNIX))
    sock.bind(path)
    sock.listen()
    return sock


def test_names_and_files_are_read() -> None:
    raw = message(piece(0, b"/run/a\0"), piece(1, struct.pack("=II", 7, 1)), piece(6, b"\0"))
    raw += message(piece(0, b"\0abstract\n\0x"))
    assert parse(raw) == ([Listener(b"/run/a", 7, NUMBER), Listener(b"\0abstract\n\0x", None, NUMBER)], True)


@pytest.mark.parametrize("nameless", [b"", message(), message(piece(6, b"\0"))])
def test_a_part_without_a_name_is_not_the_end(nameless: bytes) -> None:
    assert parse(nameless) == ([], True)
    assert parse(nameless + end()) == ([], False)


@pytest.mark.parametrize("kind", [2, 3])
def test_a_refusal_is_an_error(kind: int) -> None:
    with pytest.raises(OSError, match="No such file"):
        parse(message(piece(0, b"/run/a\0")) + end(-2, kind))


@pytest.mark.parametrize("size", range(0, 60, 3))
def test_what_is_cut_off_breaks_nothing(size: int) -> None:
    parse(message(piece(0, b"/run/a\0"), piece(1, struct.pack("=II", 7, 1)))[:size])
    parse_tcp(tcp(socket.AF_INET, "127.0.0.1", 80)[:size])


@pytest.mark.parametrize("size", range(16, 60))
def test_what_is_shorter_than_it_must_be_breaks_nothing(size: int) -> None:
    whole = message(piece(0, b"/run/a\0"), piece(1, struct.pack("=II", 7, 1)))
    short = struct.pack("=I", size) + whole[4:size]
    parse(short + end())
    parse_tcp(short + end())


def test_tcp_sockets_are_read() -> None:
    raw = (
        tcp(socket.AF_INET, "127.0.0.1", 80)
        + tcp(socket.AF_INET6, "::1", 443)
        + tcp(socket.AF_INET6, "::ffff:1.2.3.4", 1, 9)
    )
    found = [("127.0.0.1", 80, NUMBER), ("::1", 443, NUMBER), ("1.2.3.4", 1, 9)]
    assert parse_tcp(raw) == ([TcpListener(ip_address(ip), port, number) for ip, port, number in found], True)
    assert parse_tcp(end()) == ([], False)


def test_a_length_of_nothing_ends_the_reading() -> None:
    assert parse(bytes(64)) == ([], True)


def test_a_kernel_that_cannot_tell_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sock_diag, "_NETLINK_SOCK_DIAG", 31)
    assert listeners() == []
    monkeypatch.setattr(sock_diag, "_SOCK_DIAG_BY_FAMILY", 99)
    assert listeners() == []
    assert sock_diag.shown_tcp_listeners() is None


def test_a_socket_is_known_by_its_file_wherever_that_went(tmp_path: Path) -> None:
    path, moved = str(tmp_path / "a b\n.sock"), str(tmp_path / "moved")
    with ExitStack() as stack:
        bind(stack, path)
        first = file_of(path)
        assert bound_files(listeners())[path] == {first}
        assert first == os.lstat(path).st_ino & INODE_MASK
        os.rename(path, moved)
        assert file_of(moved) == first
        bind(stack, path)
        assert bound_files(listeners())[path] == {first, file_of(path)}
    assert path not in bound_files(listeners())


def test_only_what_listens_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "x")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        assert path not in bound_files(listeners())


def test_more_than_one_datagram_is_read(tmp_path: Path) -> None:
    with ExitStack() as stack:
        paths = [f"{tmp_path}/{number:0{80 - len(str(tmp_path))}}" for number in range(900)]
        for path in paths:
            bind(stack, path)
        assert set(paths) <= bound_files(listeners()).keys()


def test_a_file_that_is_gone_has_no_number(tmp_path: Path) -> None:
    assert file_of(str(tmp_path / "none")) is None


def test_few_names_are_found_among_many_sockets(tmp_path: Path) -> None:
    names = [f"\0{tmp_path.name}-{number}" for number in range(2000)]
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(bound := socket.socket(socket.AF_UNIX))
            bound.bind(name)
            bound.listen()
        wanted = [names[7].encode(), names[1999].encode(), b"\0nobody", b"/run/nobody"]
        found = {one.name for one in sock_diag.shown_listeners(wanted) or ()}
        assert found.intersection(wanted) == set(wanted[:2])
        # The other datagrams were not taken apart.
        assert len(found) < len(names) <= len(sock_diag.shown_listeners() or ())
        assert {one.name for one in sock_diag.shown_listeners([name.encode() for name in names]) or ()} >= {
            name.encode() for name in names
        }
