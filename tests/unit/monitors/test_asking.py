"""Databases and brokers are asked once, for a run without the daemon."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, cast

import pytest

from bridge.config.settings import Settings
from bridge.feeder.protocol import (
    Ask,
    Begin,
    Done,
    End,
    Entry,
    Message,
    Orders,
    Put,
    Row,
    Trouble,
    Well,
    decode,
    encode,
)
from bridge.monitors import asking, open_monitors
from bridge.monitors.asking import ask_once, leave, troubles_of
from bridge.monitors.mirrored import MirroredMonitor
from bridge.systemd.transient import StartError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from io import BufferedReader
    from pathlib import Path

    from bridge.mirror.unit import Property
    from bridge.monitors.base import Monitor

A = Row(name="a.ini", config="a", ts=1.0)
WHOLE: tuple[Message, ...] = (Begin(), Entry(row=A), End())
EMPTY: tuple[Message, ...] = (Begin(), End())


class Scripted:
    """Starts threads in place of services: each hears its orders, and plays its part."""

    def __init__(self, *parts: Callable[[socket.socket, BufferedReader], None]) -> None:
        self._parts = list(parts)
        self.orders: list[Orders] = []
        self.threads: list[threading.Thread] = []

    def start(self, unit: str, properties: Sequence[Property]) -> None:
        del unit
        end = cast("socket.socket", dict(properties)["StandardInputFileDescriptor"][1]).dup()
        thread = threading.Thread(target=self._play, args=(end, self._parts.pop(0)))
        self.threads.append(thread)
        thread.start()

    def while_waiting(self, call: Callable[[], None]) -> None:
        """Nothing waits here."""

    def _play(self, end: socket.socket, part: Callable[[socket.socket, BufferedReader], None]) -> None:
        end.setblocking(True)
        with end, end.makefile("rb") as file:
            orders = decode(file.readline())
            assert isinstance(orders, Orders)
            self.orders.append(orders)
            part(end, file)


def says(*messages: Message, waits: bool = False) -> Callable[[socket.socket, BufferedReader], None]:
    """Return a part that says this and ends, or waits until it is told to end."""

    def part(end: socket.socket, file: BufferedReader) -> None:
        end.sendall(b"".join(map(encode, messages)))
        if waits:
            file.read()

    return part


def asked_again(end: socket.socket, file: BufferedReader) -> None:
    """Say that there are none, and again when asked."""
    end.sendall(b"".join(map(encode, EMPTY)))
    assert decode(file.readline()) == Ask()
    end.sendall(b"".join(map(encode, EMPTY)))
    file.read()


def monitors_of(tmp_path: Path, *specs: str) -> tuple[Monitor, ...]:
    return open_monitors(Settings(emperor=specs), str(tmp_path))


def ask(monitors: Sequence[Monitor], services: Scripted) -> list[str]:
    """Ask, and return the codes of what is wrong then."""
    warnings = ask_once(monitors, services, is_users=False)
    for thread in services.threads:
        thread.join(timeout=5)
    found = [problem.code for problem in (*warnings, *troubles_of(monitors))]
    leave(monitors)
    return found


def names(monitor: Monitor) -> list[str]:
    assert isinstance(monitor, MirroredMonitor)
    return sorted(monitor.folder.names())


@pytest.mark.parametrize("waits", [True, False])
def test_the_answer_is_in_the_mirror(tmp_path: Path, *, waits: bool) -> None:
    monitors = monitors_of(tmp_path, "pg://host=db")
    services = Scripted(says(*WHOLE, waits=waits))
    assert ask(monitors, services) == []
    assert names(monitors[0]) == ["a.ini"]
    assert services.orders[0].once


@pytest.mark.parametrize("second", [asked_again, says(*EMPTY)])
def test_none_where_there_were_some_is_asked_twice(
    tmp_path: Path, second: Callable[[socket.socket, BufferedReader], None]
) -> None:
    monitors = monitors_of(tmp_path, "pg://host=db")
    ask(monitors, Scripted(says(*WHOLE)))
    assert ask(monitors, Scripted(second, says(*EMPTY))) == []
    assert names(monitors[0]) == []


def test_what_waits_in_a_queue_is_taken(tmp_path: Path) -> None:
    monitors = monitors_of(tmp_path, "amqp://mq")

    def part(end: socket.socket, file: BufferedReader) -> None:
        end.sendall(encode(Put(row=A, id=1)))
        assert decode(file.readline()) == Done(id=1)
        end.sendall(encode(Well()))

    assert ask(monitors, Scripted(part)) == []
    assert names(monitors[0]) == ["a.ini"]


def test_trouble(tmp_path: Path) -> None:
    monitors = monitors_of(tmp_path, "pg://host=db")
    ask(monitors, Scripted(says(*WHOLE)))
    assert ask(monitors, Scripted(says(Trouble(message="refused")))) == ["monitor-unreachable"]
    assert names(monitors[0]) == ["a.ini"]


def test_one_that_ends_without_a_word(tmp_path: Path) -> None:
    assert ask(monitors_of(tmp_path, "pg://"), Scripted(says())) == ["monitor-unreachable"]


def test_one_that_is_mute_has_a_deadline_and_the_others_are_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "DEADLINE", 0.3)
    monitors = monitors_of(tmp_path, "pg://host=mute", "pg://host=db")
    began = time.monotonic()
    assert ask(monitors, Scripted(says(waits=True), says(*WHOLE))) == ["monitor-unreachable"]
    assert time.monotonic() - began < 3
    assert names(monitors[1]) == ["a.ini"]
    assert "within 0.3 s" in troubles_of(monitors)[0].message


def test_systemd_refuses(tmp_path: Path) -> None:
    class Refusing(Scripted):
        def start(self, unit: str, properties: Sequence[Property]) -> None:
            raise StartError(f"{unit}: {len(properties)}")

    assert ask(monitors_of(tmp_path, "pg://"), Refusing()) == ["monitor-unreachable"]


def test_one_that_only_listens_needs_the_daemon(tmp_path: Path) -> None:
    monitors = monitors_of(tmp_path, "zmq://ipc:///run/x", str(tmp_path))
    assert ask(monitors, Scripted()) == ["monitor-needs-daemon", "monitor-silent"]


def test_the_daemons_mirror_is_left_to_it(tmp_path: Path) -> None:
    (daemons,) = monitors_of(tmp_path, "pg://host=db")
    assert isinstance(daemons, MirroredMonitor)
    assert daemons.writer.open()
    assert ask(monitors_of(tmp_path, "pg://host=db"), Scripted()) == ["monitor-silent"]
