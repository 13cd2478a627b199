"""The note of a take-over: what is written is read, and a run that is no take-over respects it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.diagnostics import BridgeError
from bridge.host.files import TEMPORARY_PREFIX
from bridge.state.take_over import Step, TakeOver, TakeOverNote

NOTED = TakeOver(unit="e.service", enabled={"e.socket": False, "e.service": True})


@pytest.fixture
def note(tmp_path: Path) -> TakeOverNote:
    return TakeOverNote(str(tmp_path / "state" / "take-over"))


def test_what_is_noted_is_read(note: TakeOverNote) -> None:
    assert note.read() is None
    for step in Step:
        note.write(NOTED.at(step))
        assert note.read() == NOTED.at(step)
    assert NOTED.units == ["e.service", "e.socket"]


def test_it_leaves_nothing_behind(note: TakeOverNote) -> None:
    note.write(NOTED)
    folder = Path(note.path).parent
    (folder / f"{TEMPORARY_PREFIX}0").touch()
    note.forget()
    assert not folder.exists()
    note.forget()
    note.write(NOTED)
    (folder / "monitors").mkdir()
    note.forget()
    assert [path.name for path in folder.iterdir()] == ["monitors"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"unit": "e", "enabled": {}, "step": "other"}', "\xff"])
def test_a_note_that_cannot_be_read_is_no_missing_one(note: TakeOverNote, text: str) -> None:
    note.write(NOTED)
    Path(note.path).write_text(text, "latin-1")
    with pytest.raises(BridgeError, match="take-over-note"):
        note.read()


def test_a_note_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BridgeError, match="take-over-note"):
        TakeOverNote(str(tmp_path / "file" / "note")).write(NOTED)


@pytest.mark.parametrize("step", list(Step))
def test_only_what_is_done_lets_others_run(note: TakeOverNote, step: Step) -> None:
    note.refuse_unfinished()
    note.write(NOTED.at(step))
    if step is Step.DONE:
        note.refuse_unfinished()
    else:
        with pytest.raises(BridgeError, match="take-over-unfinished"):
            note.refuse_unfinished()
