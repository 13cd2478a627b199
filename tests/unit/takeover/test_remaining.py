"""When the vassals of a switch can be started."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from bridge.takeover import remaining
from bridge.takeover.holders import Holders
from bridge.takeover.remaining import Remaining
from tests.unit.build import make_resolved

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


@pytest.fixture
def ports() -> Iterator[list[socket.socket]]:
    """Two ports of this machine; the process listens there."""
    made = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    yield made
    for one in made:
        one.close()


def make_remaining(ports: list[socket.socket], path: str) -> Remaining:
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in ports]
    vassal = make_resolved("a.ini", path, *addresses)
    own = frozenset({os.fstat(ports[1].fileno()).st_ino})
    found = Holders(own=frozenset({os.getpid()}), own_sockets=own)
    return Remaining(units={"a": "vassal-a.socket"}, vassals={"a": vassal}, found=found)


def test_one_with_several_addresses_is_started_once_all_of_its_ports_are_free(ports: list[socket.socket]) -> None:
    rest = make_remaining(ports, "/run/a")
    rest.note_ended(is_down=False)
    assert not rest.is_any_left
    assert rest.take_freed(is_down=False) == []
    ports[0].close()
    assert rest.take_freed(is_down=False) == []
    ports[1].close()
    assert rest.take_freed(is_down=False) == ["vassal-a.socket"]
    assert rest.units == {}


def test_if_nothing_of_the_emperor_is_left_nothing_is_waited_for(ports: list[socket.socket]) -> None:
    rest = make_remaining(ports, "/run/a")
    rest.note_ended(is_down=True)
    assert rest.take_freed(is_down=True) == ["vassal-a.socket"]


def test_only_the_emperors_own_sockets_listen_no_more(
    ports: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[Collection[int], Collection[int]]] = []
    monkeypatch.setattr(remaining, "stop_listening", lambda *arguments: made.append(arguments))
    rest = make_remaining(ports, "/run/a")
    rest.release()
    assert made == []
    rest.note_ended(is_down=False)
    rest.release()
    assert made == [({os.getpid()}, {os.fstat(ports[1].fileno()).st_ino})]
