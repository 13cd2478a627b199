"""The daemon's side of a feeder, with a peer in place of the process."""

from __future__ import annotations

import errno
import os
import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING, cast

import pytest

from bridge.config.monitor_tables import MonitorTable
from bridge.config.settings import Settings
from bridge.feeder.protocol import (
    LINE_MAX,
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
from bridge.mirror import change, session
from bridge.monitors import open_monitors
from bridge.monitors.mirrored import MirroredMonitor
from bridge.systemd.transient import StartError
from bridge.watch import feeders as module
from bridge.watch.feeders import Feeders
from bridge.watch.sources import wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bridge.mirror.unit import Property

A = Row(name="a.ini", config="a", ts=1.0)
B = Row(name="b.ini", config="b", ts=1.0)
SECRET = "s3cret"  # noqa: S105


class Peer:
    """The feeder's end."""

    def __init__(self, unit: str, properties: Sequence[Property]) -> None:
        self.unit = unit
        self.properties = dict(properties)
        end = cast("socket.socket", self.properties["StandardInputFileDescriptor"][1])
        self.socket = end.dup()
        self.socket.settimeout(5)
        self.file = self.socket.makefile("rb")

    def say(self, *messages: Message) -> None:
        self.socket.sendall(b"".join(map(encode, messages)))

    def hear(self) -> Message:
        return decode(self.file.readline())

    def is_told_to_end(self) -> bool:
        return self.file.readline() == b""

    def die(self) -> None:
        self.file.close()
        self.socket.close()


class FakeServices:
    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.refusal = ""

    def start(self, unit: str, properties: Sequence[Property]) -> None:
        if self.refusal:
            raise StartError(self.refusal)
        self.peers.append(Peer(unit, properties))

    def while_waiting(self, call: Callable[[], None]) -> None:
        self.alive = call

    @property
    def last(self) -> Peer:
        return self.peers[-1]


class World:
    def __init__(self, mirrors: str) -> None:
        self.services = FakeServices()
        self.feeders = Feeders(self.services, is_users=False)
        self.feeders.changed = self.tell
        self.mirrors = mirrors
        self.news = 0
        self.monitor: MirroredMonitor | None = None

    def tell(self) -> None:
        self.news += 1

    def configure(self, *specs: str, settings: Settings | None = None) -> list[MirroredMonitor]:
        monitors = open_monitors(settings or Settings(emperor=specs), self.mirrors)
        self.feeders.configure(monitors)
        found = [monitor for monitor in monitors if isinstance(monitor, MirroredMonitor)]
        self.monitor = found[0] if found else None
        return found

    def turn(self, turns: int = 1) -> None:
        """Do what the daemon's loop does, for a moment."""
        for _ in range(turns):
            wait([self.feeders], time.monotonic() + 0.05)

    def names(self) -> list[str]:
        assert self.monitor is not None
        return sorted(self.monitor.folder.names())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(str(tmp_path / "mirrors"))
    with closing(made.feeders):
        yield made
    for peer in made.services.peers:
        peer.die()


def test_orders_and_secrets_go_through_the_socket_alone(world: World, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    table = MonitorTable(name="fleet", spec="pg://host=db;SELECT 1", password_file=str(tmp_path / "secret"))
    world.configure(settings=Settings(monitor=(table,), uid="www-data", emperor_freq=9))
    peer = world.services.last
    assert peer.hear() == Orders(
        scheme="pg", options={"conninfo": "host=db", "query": "SELECT 1", "password": SECRET, "known": False}, freq=9.0
    )
    assert peer.unit == "emperor-bridge-monitor-fleet.service"
    assert peer.properties["User"] == ("s", "www-data")
    assert SECRET not in repr({name: value for name, value in peer.properties.items() if "Descriptor" not in name})


def test_what_it_says_is_in_the_mirror(world: World) -> None:
    world.configure("pg://host=db")
    peer = world.services.last
    peer.hear()
    peer.say(Begin(), Entry(row=A), Entry(row=B), End())
    world.turn()
    assert world.names() == ["a.ini", "b.ini"]
    assert world.news == 1
    peer.say(Begin(), Entry(row=A), End(), Well())
    world.turn()
    assert world.names() == ["a.ini"]
    assert world.news == 1
    peer.say(Trouble(message="x"))
    world.turn()
    assert world.news == 2


def test_it_is_answered_once_it_is_on_disk(world: World) -> None:
    world.configure("amqp://mq")
    peer = world.services.last
    peer.hear()
    peer.say(Put(row=A, id=7), Put(row=B, id=8))
    world.turn()
    assert [peer.hear(), peer.hear()] == [Done(id=7), Done(id=8)]
    assert world.names() == ["a.ini", "b.ini"]


def test_none_where_there_were_some_is_asked_for_again(world: World) -> None:
    world.configure("pg://host=db")
    peer = world.services.last
    peer.hear()
    peer.say(Begin(), Entry(row=A), End(), Begin(), End())
    world.turn()
    assert peer.hear() == Ask()
    assert world.names() == ["a.ini"]


@pytest.mark.parametrize("ends", [True, False])
def test_who_does_not_know_the_request_is_started_anew(
    world: World, monkeypatch: pytest.MonkeyPatch, *, ends: bool
) -> None:
    monkeypatch.setattr(module, "ANSWER_WITHIN", 0.05)
    monkeypatch.setattr(module, "PAUSE_FIRST", 0.05)
    monitor = world.configure("pg://host=db")[0]
    world.services.last.say(Begin(), Entry(row=A), End(), Begin(), End())
    world.turn()
    if ends:
        world.services.last.die()
    while len(world.services.peers) < 2:
        world.turn()
    orders = world.services.last.hear()
    assert isinstance(orders, Orders)
    assert orders.options["known"]
    assert monitor.state().since is None
    assert world.names() == ["a.ini"]
    world.services.last.say(Begin(), End())
    world.turn()
    assert world.names() == []
    assert world.feeders.due() is None


def test_one_that_ends_is_started_again_after_a_growing_pause(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_FIRST", 0.05)
    monitor = world.configure("pg://host=db")[0]
    pauses = []
    for number in range(1, 4):
        world.services.last.die()
        world.turn()
        due = world.feeders.due()
        assert due is not None
        pauses.append(due - time.monotonic())
        assert len(world.services.peers) == number
        while len(world.services.peers) == number:
            world.turn()
    assert pauses[0] < pauses[1] < pauses[2]
    assert monitor.state().why == "its process has ended"
    assert monitor.plan.unit in monitor.state().hint
    world.services.last.say(Begin(), Entry(row=A), End())
    world.turn()
    assert monitor.state().since is None
    world.services.last.die()
    world.turn()
    due = world.feeders.due()
    assert due is not None
    assert due - time.monotonic() < pauses[1]


def test_why_it_ends_is_what_it_says_itself(world: World) -> None:
    monitor = world.configure("pg://host=db")[0]
    world.services.last.say(Trouble(message="psycopg is not installed", hint="pip install emperor-bridge[pg]"))
    world.services.last.die()
    world.turn(3)
    assert monitor.state().why == "psycopg is not installed"


@pytest.mark.parametrize(
    "line",
    [b"garbage\n", b"{}\n", b'{"kind":"well","x":1}\n', b"\xff\n", b"[" * 5000 + b"\n", b'{"kind":"end"', b"1\n"],
)
def test_garbage_ends_it_and_leaves_the_mirror(world: World, line: bytes) -> None:
    monitor = world.configure("pg://host=db")[0]
    peer = world.services.last
    peer.hear()
    peer.say(Begin(), Entry(row=A), End(), Begin(), Entry(row=B))
    peer.socket.sendall(line)
    peer.socket.shutdown(socket.SHUT_WR)
    world.turn(3)
    assert world.names() == ["a.ini"]
    assert monitor.state().since is not None
    assert peer.is_told_to_end()
    assert "garbage" not in monitor.state().why


def test_a_line_without_end_ends_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.mirror.channel.LINE_MAX", 1000)
    assert LINE_MAX > 1000
    monitor = world.configure("pg://host=db")[0]
    world.services.last.socket.sendall(b'"' * 1001)
    world.turn(2)
    assert monitor.state().why == "its process sends something that is no message"


def test_systemd_refuses(world: World) -> None:
    world.services.refusal = "systemd does not start x: no"
    monitor = world.configure("pg://host=db")[0]
    assert monitor.state().why == "systemd does not start x: no"
    assert world.feeders.due() is not None
    assert world.news == 1


def test_a_secret_that_cannot_be_read(world: World, tmp_path: Path) -> None:
    table = MonitorTable(name="x", spec="pg://", password_file=f"{tmp_path}/none")
    (monitor,) = world.configure(settings=Settings(monitor=(table,)))
    assert "cannot be read" in monitor.state().why
    assert world.services.peers == []


def test_why_it_does_not_start_now_is_told_whatever_was_wrong_before(world: World, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    table = MonitorTable(name="x", spec="pg://", password_file=str(secret))
    reasons = []
    for text in (None, b"\xff"):
        if text is not None:
            secret.write_bytes(text)
        world.configure()
        (monitor,) = world.configure(settings=Settings(monitor=(table,)))
        reasons.append(monitor.state().why.removeprefix(f"its secret {secret} "))
    assert reasons == ["cannot be read: No such file or directory", "is not valid UTF-8"]


def test_a_credential(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = MonitorTable(name="x", spec="zmq://ipc:///run/x", credential="key")
    (monitor,) = world.configure(settings=Settings(monitor=(table,)))
    assert "LoadCredential=key:FILE" in monitor.state().hint
    (tmp_path / "key").write_text(SECRET)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    world.configure()
    world.configure(settings=Settings(monitor=(table,)))
    orders = world.services.last.hear()
    assert isinstance(orders, Orders)
    assert orders.options == {"endpoint": "ipc:///run/x", "curve_secret_key": SECRET}
    assert world.services.last.properties["ReadWritePaths"] == ("as", ["/run"])


def test_keys_of_clients(world: World, tmp_path: Path) -> None:
    secret, keys = tmp_path / "secret", tmp_path / "keys"
    table = MonitorTable(name="x", spec="zmq://ipc:///run/x", password_file=str(secret), curve_client_keys=str(keys))

    def why() -> str:
        world.configure()
        (monitor,) = world.configure(settings=Settings(monitor=(table,)))
        return monitor.state().why

    secret.write_text("\n")
    assert why() == f"its secret {secret} is empty"
    secret.write_text(SECRET)
    assert why() == f"the file {keys} of its clients' keys cannot be read: No such file or directory"
    keys.write_text("")
    assert why() == f"the file {keys} of its clients' keys cannot be used: it has no key"
    assert world.services.peers == []
    keys.write_text(f"{'k' * 40} dora\n")
    why()
    orders = world.services.last.hear()
    assert isinstance(orders, Orders)
    assert orders.options["curve_client_keys"] == ["k" * 40]


def test_a_reload_keeps_what_is_the_same_and_ends_what_is_gone(world: World) -> None:
    world.configure("pg://host=a", "pg://host=b")
    first, second = world.services.peers
    first.hear()
    second.hear()
    (monitor,) = world.configure("pg://host=a")
    assert len(world.services.peers) == 2
    assert second.is_told_to_end()
    first.say(Begin(), Entry(row=A), End())
    world.turn()
    assert world.names() == ["a.ini"]
    assert monitor.writer.is_open
    world.configure("pg://host=a;SELECT 2")
    assert first.is_told_to_end()
    assert len(world.services.peers) == 3


def test_who_has_the_mirror_keeps_it(world: World) -> None:
    (other,) = open_monitors(Settings(emperor=("pg://host=db",)), world.mirrors)
    assert isinstance(other, MirroredMonitor)
    assert other.writer.open()
    world.configure("pg://host=db")
    assert world.services.peers == []
    assert world.feeders.due() is not None


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_holds_it_up_and_loses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STUCK", 0.05)
    world.configure("amqp://mq")
    peer = world.services.last
    peer.hear()
    with monkeypatch.context() as patch:
        patch.setattr(change, "flush", no_room)
        peer.say(Put(row=A, id=1))
        world.turn(3)
        peer.say(Put(row=B, id=2))
        world.turn(3)
        assert world.names() == []
    while len(world.names()) < 2:
        world.turn()
    assert [peer.hear(), peer.hear()] == [Done(id=1), Done(id=2)]


@pytest.mark.parametrize("spec", ["pg://host=db", "amqp://mq"])
def test_a_full_disk_is_told_of_though_that_cannot_be_written_either(
    world: World, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    (monitor,) = world.configure(spec)
    with monkeypatch.context() as patch:
        patch.setattr(change, "flush", no_room)
        patch.setattr(session, "write_state", no_room)
        world.services.last.say(*([Begin(), Entry(A), End()] if "pg" in spec else [Put(row=A, id=1)]))
        world.turn(3)
        assert world.news == 1
        (problem,) = [one for one in monitor.problems(None) if one.code == "monitor-unreachable"]
        assert "cannot be written: No space left on device" in problem.message


def test_an_answer_that_found_no_room_is_asked_for_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASK_AGAIN", 0.05)
    world.configure("pg://host=db")
    peer = world.services.last
    peer.hear()
    with monkeypatch.context() as patch:
        patch.setattr(change, "flush", no_room)
        peer.say(Begin(), Entry(A), End())
        world.turn(3)
        assert world.names() == []
    world.turn(3)
    assert peer.hear() == Ask()
    peer.say(Begin(), Entry(A), End())
    world.turn(3)
    assert world.names() == ["a.ini"]


def test_a_change_that_waits_for_the_disk_outlives_its_feeder(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_FIRST", 0.01)
    monkeypatch.setattr(module, "STUCK", 0.01)
    world.configure("amqp://mq")
    with monkeypatch.context() as patch:
        patch.setattr(change, "flush", no_room)
        world.services.last.say(Put(row=A, id=1))
        world.services.last.socket.shutdown(socket.SHUT_RDWR)
        world.turn(2)
    world.feeders.configure(())
    assert world.names() == ["a.ini"]


def test_a_mute_feeder_keeps_nobody_waiting(world: World) -> None:
    world.configure("pg://host=mute", "pg://host=db")
    began = time.monotonic()
    world.services.peers[1].say(Begin(), Entry(row=A), End())
    world.turn()
    assert time.monotonic() - began < 2
    assert world.news == 1
    assert world.feeders.due() is None


def test_descriptors_are_closed(world: World) -> None:
    before = len(os.listdir("/proc/self/fd"))
    world.configure("pg://host=a", "zmq://ipc:///run/x")
    world.turn()
    for peer in world.services.peers:
        peer.die()
    world.services.peers.clear()
    world.configure()
    assert len(os.listdir("/proc/self/fd")) == before
