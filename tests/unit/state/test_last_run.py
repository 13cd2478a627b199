from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bridge.diagnostics import BridgeError
from bridge.model.unit_names import TARGET
from bridge.reconcile.drift import config_folders, outdated, stopped_units
from bridge.reconcile.run import RunContext
from bridge.state.last_run import LastRun, LastRunFile
from tests.unit.build import World, WorldManager, make_desired, make_resolved

if TYPE_CHECKING:
    from pathlib import Path

A, B = make_resolved("a.ini", "@a"), make_resolved("b.ini")
RUN = LastRun(left=frozenset({"x.socket"}), owed=frozenset({"/etc/\udcff.ini"}), folders={"/etc": 7})


@pytest.fixture
def world() -> World:
    world = World()
    world.sync(make_desired(A, B))
    return world


def stopped(world: World, last: LastRun | None = None, *, stamp: int = 1) -> frozenset[str]:
    return stopped_units(world.observe(), RunContext(stamp=stamp, last=last or LastRun()))


def test_what_is_noted_is_read(tmp_path: Path) -> None:
    notebook = LastRunFile(str(tmp_path / "last-run"))
    assert notebook.read() is None
    notebook.write(RUN)
    assert notebook.read() == RUN
    before = (tmp_path / "last-run").stat().st_ino
    notebook.write(RUN)
    assert (tmp_path / "last-run").stat().st_ino == before
    notebook.forget()
    assert list(tmp_path.iterdir()) == []


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
    assert stopped(world, LastRun(owed=frozenset({A.vassal.config}))) == frozenset()
    world.exiled = frozenset({"a"})
    assert stopped(world) == frozenset()


def test_after_a_run_that_was_killed_only_what_it_noted_was_stopped(world: World) -> None:
    world.take_down("vassal-a.socket")
    world.take_down("vassal-b.service")
    noted = LastRun(left=frozenset({"vassal-a.socket"}))
    assert stopped(world, noted, stamp=0) == {"vassal-a.socket"}
    world.pending = frozenset({"vassal-a.socket"})
    assert stopped(world, noted, stamp=0) == frozenset()


def test_all_configs_are_new_in_a_folder_that_is_another(tmp_path: Path) -> None:
    folder = tmp_path / "vassals"
    for each in (folder, tmp_path / "new"):
        each.mkdir()
        (each / "a.ini").write_text("[uwsgi]\n")
    resolved = make_resolved("a.ini")
    resolved = replace(resolved, vassal=replace(resolved.vassal, config=str(folder / "a.ini")))
    world, desired = World(), make_desired(resolved)
    world.sync(desired)
    actual = world.observe()

    def old(last: LastRun) -> frozenset[str]:
        return outdated(desired, actual, WorldManager(world), RunContext(stamp=1 << 62, last=last))

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
