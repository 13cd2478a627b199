"""The sources of the daemon's events, and the sleep until one has some."""

from __future__ import annotations

import os
import select
import signal
import time
from typing import TYPE_CHECKING

import pytest

from bridge.host.path_watch import EVERYTHING
from bridge.model.unit import UnitChange
from bridge.watch import sources as module
from bridge.watch.inotify import FileWatch
from bridge.watch.sources import FileSource, SignalSource, UnitSource, wait

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class PipeSource:
    """Readable once something was written to it; counts how often it is read."""

    def __init__(self, due: float | None = None) -> None:
        self.receiver, self.sender = os.pipe()
        self.time = due
        self.reads = 0

    def fileno(self) -> int:
        return self.receiver

    def read(self) -> None:
        self.reads += 1
        self.time = None

    def due(self) -> float | None:
        return self.time

    def close(self) -> None:
        os.close(self.receiver)
        os.close(self.sender)


@pytest.fixture
def pipes() -> Iterator[tuple[PipeSource, PipeSource]]:
    made = PipeSource(), PipeSource()
    yield made
    for one in made:
        one.close()


@pytest.fixture
def signals() -> Iterator[list[str]]:
    """Yield what the signals asked for; their handlers are put back."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGIO)
    before = {number: signal.getsignal(number) for number in numbers}
    descriptor = signal.set_wakeup_fd(-1)
    yield []
    signal.set_wakeup_fd(descriptor)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_only_sources_with_events_are_read(pipes: tuple[PipeSource, PipeSource]) -> None:
    first, second = pipes
    os.write(second.sender, b"x")
    wait(pipes, None)
    assert (first.reads, second.reads) == (0, 1)


def test_a_source_is_read_when_its_time_has_come(pipes: tuple[PipeSource, PipeSource]) -> None:
    first, second = pipes
    first.time = time.monotonic() + 0.05
    second.time = first.time + 3600
    wait(pipes, None)
    assert (first.reads, second.reads) == (1, 0)


def test_the_sleep_ends_at_its_time_without_any_event(pipes: tuple[PipeSource, PipeSource]) -> None:
    until = time.monotonic() + 0.05
    wait(pipes, until)
    assert time.monotonic() >= until
    wait(pipes, until)
    assert [one.reads for one in pipes] == [0, 0]


def test_signals_stop_and_reload(signals: list[str]) -> None:
    source = SignalSource(stop=lambda: signals.append("stop"), reload=lambda: signals.append("reload"))
    source.install()
    source.read()
    assert signals == []
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGIO):
        os.kill(os.getpid(), number)
    wait([source], None)
    assert signals == ["reload", "stop", "stop"]


def test_changed_files_are_reported_but_for_those_that_are_known(tmp_path: Path) -> None:
    files = FileWatch()
    files.watch({str(tmp_path): {EVERYTHING}})
    reported: list[set[str] | None] = []
    known = str(tmp_path / "known")
    source = FileSource(files, changed=reported.append, is_unchanged=known.__eq__)
    (tmp_path / "known").symlink_to("x")
    source.read()
    assert reported == []
    (tmp_path / "new").symlink_to("x")
    source.read()
    assert reported == [{str(tmp_path / "new")}]
    files.close()


def test_a_file_that_is_never_closed_is_reported_once_nobody_has_it_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNCLOSED", 0.05)
    files = FileWatch()
    files.watch({str(tmp_path): {EVERYTHING}})
    reported: list[set[str] | None] = []
    source = FileSource(files, changed=reported.append, is_unchanged=lambda _: False)
    path = tmp_path / "a.ini"
    path.touch()
    # The events of its creation and its end are both read: then it is truncated, which closes nothing.
    source.read()
    reported.clear()
    assert source.due() is None
    os.truncate(path, 10)
    assert select.select([source], [], [], 5)[0]
    source.read()
    assert reported == []
    assert source.due() is not None
    wait([source], None)
    assert reported == [{str(path)}]
    assert source.due() is None
    files.close()


class FakeManager:
    def __init__(self, *changes: UnitChange) -> None:
        self._changes = list(changes)
        self.is_reloaded = False

    def fileno(self) -> int:
        raise NotImplementedError

    def due(self) -> float:
        return 7.0

    def was_reloaded(self) -> bool:
        was, self.is_reloaded = self.is_reloaded, False
        return was

    def changes(self) -> Iterator[UnitChange]:
        while self._changes:
            yield self._changes.pop(0)


@pytest.mark.parametrize(
    ("unit", "interface", "state", "fails"),
    [
        ("vassal-a.socket", "Unit", "failed", True),
        ("vassal-a.socket", "Unit", "active", False),
        ("vassal-a.socket", "Socket", "failed", False),
        ("vassal-a.service", "Unit", "failed", False),
    ],
)
def test_a_socket_that_failed_is_reported_beside_the_change(unit: str, interface: str, state: str, fails: bool) -> None:
    change = UnitChange(unit, interface, {"ActiveState": state})
    changes: list[UnitChange] = []
    failures: list[bool] = []
    reloads: list[bool] = []
    manager = FakeManager(change)
    source = UnitSource(
        manager,
        changed=changes.append,
        socket_failed=lambda: failures.append(True),
        reloaded=lambda: reloads.append(True),
    )
    source.read()
    assert reloads == []
    manager.is_reloaded = True
    source.read()
    source.read()
    assert reloads == [True]
    assert changes == [change]
    assert failures == [True] * fails
    assert source.due() == 7.0
