from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bridge.diagnostics import BridgeError
from bridge.model.unit_names import TARGET
from bridge.model.vassal import ConfigFile
from bridge.reconcile.config_folders import config_folders
from bridge.reconcile.drift import DriftDetector
from bridge.reconcile.run import RunContext
from bridge.state.last_run import LastRun, LastRunFile
from bridge.state.lock import Pending
from tests.unit.build import World, WorldManager, make_desired, make_resolved

if TYPE_CHECKING:
    from pathlib import Path

A, B = make_resolved("a.ini", "@a"), make_resolved("b.ini")
RUN = LastRun(
    stopped_by_admin=frozenset({"x.socket"}), failed=frozenset({"dir:///etc:\udcff.ini"}), folders={"/etc": 7}
)


@pytest.fixture
def world() -> World:
    world = World()
    world.sync(make_desired(A, B))
    return world


def stopped(world: World, last: LastRun | None = None, *, stamp: int = 1) -> frozenset[str]:
    context = RunContext(stamp=stamp, last=last or LastRun(), interrupted=world.pending.restart)
    return DriftDetector(context=context, exiled=world.exiled).stopped_units(world.observe())


def test_what_is_noted_is_read(tmp_path: Path) -> None:
    file = LastRunFile(str(tmp_path / "last-run"))
    assert file.read() is None
    file.write(RUN)
    assert file.read() == RUN
    before = (tmp_path / "last-run").stat().st_ino
    file.write(RUN)
    assert (tmp_path / "last-run").stat().st_ino == before
    file.forget()
    assert list(tmp_path.iterdir()) == []


def test_what_version_0_1_0_noted_is_read(tmp_path: Path) -> None:
    (tmp_path / "last-run").write_text('{"left": ["x.socket"], "owed": ["/etc/a.ini"], "folders": {"/etc": 7}}')
    run = LastRunFile(str(tmp_path / "last-run")).read()
    assert run == LastRun(
        stopped_by_admin=frozenset({"x.socket"}), failed=frozenset({"/etc/a.ini"}), folders={"/etc": 7}
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"left": 1, "owed": [], "folders": {}}', "\0"])
def test_a_note_that_is_none_is_as_good_as_no_note(tmp_path: Path, text: str) -> None:
    (tmp_path / "last-run").write_text(text)
    assert LastRunFile(str(tmp_path / "last-run")).read() is None


def test_a_note_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(BridgeError, match="cannot be written"):
        LastRunFile(str(tmp_path / "none" / "last-run")).write(RUN)


def test_what_is_down_after_a_run_that_ended_was_stopped(world: World) -> None:
    assert stopped(world) == frozenset()
    world.take_down("vassal-a.socket")
    world.take_down(TARGET)
    assert stopped(world) == {"vassal-a.socket", TARGET}
    world.take_down("vassal-b.service")
    assert stopped(world) == {"vassal-a.socket", "vassal-b.service", TARGET}


def test_what_fails_is_exiled_or_never_came_up_was_not_stopped(world: World) -> None:
    world.fail("vassal-a.socket")
    assert stopped(world) == frozenset()
    world.take_down("vassal-a.socket")
    # Version 0.1.0 noted the paths of configs.
    for failed in (A.vassal.key, A.vassal.config.path):
        assert stopped(world, LastRun(failed=frozenset({failed}))) == frozenset()
    world.exiled = frozenset({"a"})
    assert stopped(world) == frozenset()


def test_after_a_run_that_was_killed_only_what_it_noted_was_stopped(world: World) -> None:
    world.take_down("vassal-a.socket")
    world.take_down("vassal-b.service")
    noted = LastRun(stopped_by_admin=frozenset({"vassal-a.socket"}))
    assert stopped(world, noted, stamp=0) == {"vassal-a.socket"}
    world.pending = Pending(restart=frozenset({"vassal-a.socket"}))
    assert stopped(world, noted, stamp=0) == frozenset()


def test_all_configs_are_new_in_a_folder_that_is_another(tmp_path: Path) -> None:
    folder = tmp_path / "vassals"
    for each in (folder, tmp_path / "new"):
        each.mkdir()
        (each / "a.ini").write_text("[uwsgi]\n")
    resolved = make_resolved("a.ini")
    resolved = replace(resolved, vassal=replace(resolved.vassal, config=ConfigFile(str(folder / "a.ini"))))
    world, desired = World(), make_desired(resolved)
    world.sync(desired)
    actual = world.observe()

    def old(last: LastRun) -> frozenset[str]:
        detector = DriftDetector(context=RunContext(stamp=1 << 62, last=last), exiled=frozenset())
        return detector.outdated(desired, actual, WorldManager(world))

    last = LastRun(folders=config_folders(desired, actual, LastRun()))
    assert last.folders == {str(folder): folder.stat().st_ino}
    assert (old(LastRun()), old(last)) == (frozenset(), frozenset())
    folder.rename(tmp_path / "old")
    assert config_folders(desired, actual, last) == last.folders
    folder.mkdir()
    # Empty, as the place of a mount is.
    assert config_folders(make_desired(), actual, last) == last.folders
    folder.rmdir()
    (tmp_path / "new").rename(folder)
    assert old(last) == {"a"}
