"""What databases once said does not stay for good."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bridge.config.settings import Settings
from bridge.feeder.protocol import Row
from bridge.mirror.change import Change
from bridge.monitors import open_monitors
from bridge.monitors.mirrored import MirroredMonitor
from bridge.reconcile.leftovers import forget_mirrors, settle
from bridge.reconcile.run import Scope

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [Row(name=f"{name}.ini", config="x") for name in "abc"]


@pytest.fixture
def monitor(tmp_path: Path) -> MirroredMonitor:
    """A monitor whose rows are all gone, and their texts are not."""
    (made,) = open_monitors(Settings(emperor=("pg://host=db",)), str(tmp_path / "mirrors"))
    assert isinstance(made, MirroredMonitor)
    assert made.writer.open()
    change = Change(made.writer, is_whole=True)
    for row in ROWS:
        change.put(row)
    change.commit()
    Change(made.writer, is_whole=True).commit()
    return made


def done(monitor: MirroredMonitor, installed: str, removed: str = "", *, is_all: bool = True) -> Any:
    units = {
        name: SimpleNamespace(key=f"{monitor.id}:{name}.ini", config=monitor.folder.config(f"{name}.ini"))
        for name in installed
    }
    scope = Scope.all() if is_all else Scope.of(frozenset({"x"}))
    return SimpleNamespace(
        removed={name: name for name in removed}, actual=SimpleNamespace(installed=units), scope=scope
    )


@pytest.mark.parametrize(
    ("installed", "removed", "is_all", "left"),
    [("ab", "b", True, "a"), ("", "", True, ""), ("ab", "b", False, "ac"), ("ab", "", False, "abc")],
)
def test_texts_go_with_the_units(
    tmp_path: Path, monitor: MirroredMonitor, installed: str, removed: str, left: str, *, is_all: bool
) -> None:
    settle([monitor], done(monitor, installed, removed, is_all=is_all), str(tmp_path / "mirrors"))
    assert sorted(os.listdir(monitor.folder.configs)) == [f"{name}.ini" for name in left]


def test_the_mirror_of_no_monitor_goes_once_nothing_needs_it(tmp_path: Path, monitor: MirroredMonitor) -> None:
    mirrors = str(tmp_path / "mirrors")
    settle([monitor], done(monitor, ""), mirrors)
    settle([], done(monitor, ""), mirrors)
    # The daemon still has it.
    assert os.path.isdir(monitor.mirror)
    monitor.writer.close()
    settle([], done(monitor, "a"), mirrors)
    assert os.path.isdir(monitor.mirror)
    settle([], done(monitor, "a", "a", is_all=False), mirrors)
    assert os.path.isdir(monitor.mirror)
    settle([], done(monitor, "a", "a"), mirrors)
    assert os.listdir(mirrors) == []


def test_a_removal_takes_all_mirrors(tmp_path: Path, monitor: MirroredMonitor) -> None:
    monitor.writer.close()
    forget_mirrors(str(tmp_path / "mirrors"))
    assert not (tmp_path / "mirrors").exists()
    forget_mirrors(str(tmp_path / "mirrors"))
