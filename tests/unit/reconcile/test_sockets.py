"""Sockets that systemd takes for active and no client can reach; drop-ins that have them listen elsewhere."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bridge.host import listeners
from bridge.model.address import parse_address
from bridge.model.unit import Listening, UnitState
from bridge.reconcile.sockets import find_moved_sockets, lost_sockets, silent_sockets
from bridge.vassals.guard import Guard
from tests.unit.build import DEAD, LISTENING, World, make_desired, make_resolved, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bridge.reconcile.actual import ActualState


class Manager:
    """Answers what is asked of sockets that the kernel does not have."""

    def __init__(self, **values: dict[str, Any]) -> None:
        self._values = values

    def properties(self, units: Sequence[str], interface: str, name: str) -> dict[str, Any]:
        assert interface in {"Socket", "Unit"}
        return {unit: value for unit, value in self._values.get(name, {}).items() if unit in units}


@pytest.fixture
def bound(tmp_path: Path) -> Iterator[list[str]]:
    """Return the addresses of listening sockets, of each kind."""
    with ExitStack() as stack:
        found = []
        for family, address in (
            (socket.AF_UNIX, f"{tmp_path}/a b.sock"),
            (socket.AF_UNIX, f"\0{tmp_path}"),
            (socket.AF_INET, ("127.0.0.1", 0)),
            (socket.AF_INET6, ("::1", 0)),
        ):
            one = stack.enter_context(socket.socket(family))
            one.bind(address)
            one.listen()
            name = one.getsockname()
            if family == socket.AF_UNIX:
                found.append(f"@{tmp_path}" if isinstance(name, bytes) else name)
            else:
                found.append(f"{name[0]}:{name[1]}" if family == socket.AF_INET else f"[{name[0]}]:{name[1]}")
        yield found


def actual_of(*addresses: str, state: UnitState = LISTENING) -> ActualState:
    """Return vassals ``0``, ``1`` … with these addresses and active sockets."""
    world = World()
    world.sync(make_desired(*(make_resolved(f"{n}.ini", address) for n, address in enumerate(addresses))))
    actual = world.observe()
    return replace(actual, states={one.socket: state for one in actual.installed.values()})


def lost(actual: ActualState, **values: dict[str, Any]) -> set[str]:
    manager: Any = Manager(**values)
    return set(lost_sockets(actual, manager, Guard()))


def test_sockets_that_listen_are_not_lost(bound: list[str]) -> None:
    assert lost(actual_of(*bound)) == set()


def test_a_socket_of_any_kind_that_the_kernel_does_not_have_is_lost(bound: list[str], tmp_path: Path) -> None:
    (tmp_path / "file.sock").touch()
    closed = [f"{tmp_path}/gone.sock", f"{tmp_path}/file.sock", f"@{tmp_path}-gone", "127.0.0.1:1", "[::1]:1", ":2"]
    actual = actual_of(*closed, *bound)
    assert lost(actual) == {str(n) for n in range(len(closed))}
    assert lost(replace(actual, states={one.socket: DEAD for one in actual.installed.values()})) == set()


def test_an_address_of_all_interfaces_is_its_own(bound: list[str]) -> None:
    port = bound[2].partition(":")[2]
    assert lost(actual_of(f":{port}")) == {"0"}


@pytest.mark.parametrize("apart", [{"PrivateNetwork": True}, {"NetworkNamespacePath": "/run/netns/x"}])
def test_what_is_in_another_network_namespace_is_not_looked_for(apart: dict[str, Any]) -> None:
    values = {name: {"vassal-0.socket": value} for name, value in apart.items()}
    assert lost(actual_of("@none", "127.0.0.1:1"), **values) == {"1"}


def test_what_the_kernel_does_not_show_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    actual = actual_of("@none", "127.0.0.1:1", "[::1]:1")
    manager: Any = Manager()
    monkeypatch.setattr(listeners, "shown_listeners", lambda _among: None)
    assert lost(actual) == {"1", "2"}
    monkeypatch.setattr(listeners, "_shown_tcp", lambda: None)
    assert lost(actual) == set()
    assert silent_sockets(manager, []) == set()


def test_where_a_drop_in_has_it_listen_is_where_it_is_looked_for(bound: list[str]) -> None:
    actual = actual_of("@none", "@nor-this")
    there, gone = (parse_address(text, base="/") for text in (bound[1], "@gone"))
    assert lost(replace(actual, listening={"0": Listening(addresses=(there, "x (FIFO)"))})) == {"1"}
    assert lost(replace(actual, listening={"0": Listening(addresses=(there, gone))})) == {"0", "1"}


def test_a_drop_in_that_has_a_socket_listen_elsewhere_is_a_problem() -> None:
    actual = actual_of("@a", "@b", "@c")
    moved = Listening(addresses=(parse_address(":80", base="/"),), drop_ins=("/etc/x.conf", "/run/y.conf"))
    one, other, third = (make_resolved(f"{n}.ini", f"@{name}") for n, name in enumerate("abc"))
    desired = replace(make_desired(one, other), rejections=(refuse(third),))
    assert list(find_moved_sockets(desired, actual)) == []
    found = list(find_moved_sockets(desired, replace(actual, listening={"0": moved, "2": Listening(addresses=())})))
    assert [(d.code, d.vassal) for d in found] == [("socket-drop-in", "0.ini"), ("socket-drop-in", "2.ini")]
    assert "@a, and /etc/x.conf and /run/y.conf has it listen on 0.0.0.0:80 instead" in found[0].message
    assert "a drop-in has it listen on nothing" in found[1].message
    stranger = make_resolved("0.xml", "@a")
    assert list(find_moved_sockets(make_desired(stranger), replace(actual, listening={"0": moved}))) == []


def test_a_vassal_is_lost_with_any_of_its_sockets(bound: list[str]) -> None:
    def of(*addresses: str) -> ActualState:
        world = World()
        world.sync(make_desired(make_resolved("0.ini", *addresses)))
        actual = world.observe()
        return replace(actual, states={one.socket: LISTENING for one in actual.installed.values()})

    assert lost(of(*bound)) == set()
    for number in range(len(bound)):
        assert lost(of(*bound[:number], "@gone", *bound[number + 1 :])) == {"0"}
