from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.feeder.protocol import Note
from bridge.mirror import state as module
from bridge.mirror.state import MirrorState, read_state, write_state

if TYPE_CHECKING:
    from pathlib import Path

WELL = MirrorState(asked=1.0)
TROUBLE = MirrorState(asked=1.0, since=2.0, why="no room", hint="make some")


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror's folder with a state, in which there is no room for another file."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    write_state(str(tmp_path), WELL)
    monkeypatch.setattr(module, "write_all", refuse)
    return tmp_path


def test_on_a_full_disk_the_state_takes_the_place_of_the_last_one(full: Path) -> None:
    for state in (TROUBLE, WELL, TROUBLE):
        write_state(str(full), state)
        assert read_state(str(full)) == state
    assert [path.name for path in full.iterdir()] == ["state.json"]


def test_one_that_does_not_fit_leaves_the_last_one(full: Path) -> None:
    note = Note(code="row-name", message="x" * 300, hint="rename it", name="a")
    with pytest.raises(OSError, match="No space left"):
        write_state(str(full), MirrorState(asked=3.0, notes=(note,) * 100))
    assert read_state(str(full)) == WELL


def test_without_a_last_one_it_is_refused(full: Path) -> None:
    (full / "state.json").unlink()
    with pytest.raises(OSError, match="No space left"):
        write_state(str(full), WELL)
    assert read_state(str(full)) == MirrorState()
