"""What a feeder says, and what becomes of the mirror."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bridge.feeder.protocol import Ask, Begin, Done, End, Entry, Message, Note, Put, Remove, Row, Trouble, Well
from bridge.mirror import change, session
from bridge.mirror.change import MirrorWriter
from bridge.mirror.judge import RowRules
from bridge.mirror.session import Session
from bridge.mirror.state import MirrorState, read_state
from bridge.mirror.store import MirrorFolder

if TYPE_CHECKING:
    from pathlib import Path

A = Row(name="a.ini", config="a", ts=10.0, socket="/run/a.sock")
B = Row(name="b.ini", config="b", ts=10.0)
BAD = Row(name="bad", config="x", ts=1.0)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> MirrorFolder:
    return MirrorFolder(str(tmp_path / "mirror"))


@pytest.fixture
def hears(folder: MirrorFolder, clock: Clock) -> Session:
    return start(folder, clock)


def start(folder: MirrorFolder, clock: Clock) -> Session:
    writer = MirrorWriter(folder)
    assert writer.open()
    return Session(writer, RowRules(), clock)


def say(hears: Session, *messages: Message) -> list[Message]:
    replies = [reply for message in messages for reply in hears.take(message)]
    return replies + hears.flush()


def whole(*rows: Row) -> list[Message]:
    return [Begin(), *map(Entry, rows), End()]


def names(folder: MirrorFolder) -> list[str]:
    return sorted(folder.names())


def codes(state: MirrorState) -> list[tuple[str, str]]:
    return [(note.code, note.name) for note in state.notes]


def test_an_answer_counts_once_it_has_ended(folder: MirrorFolder, hears: Session) -> None:
    say(hears, Begin(), Entry(A), Entry(B))
    assert names(folder) == []
    assert say(hears, End()) == []
    assert names(folder) == ["a.ini", "b.ini"]
    assert read_state(folder.path) == MirrorState(asked=1000.0)


def test_an_answer_that_breaks_off_does_not_count(folder: MirrorFolder, hears: Session) -> None:
    say(hears, *whole(A))
    say(hears, Begin(), Entry(B))
    hears.close()
    assert names(folder) == ["a.ini"]
    say(hears, Begin(), Entry(B), Begin(), Entry(A), End())
    assert names(folder) == ["a.ini"]
    say(hears, Entry(B), End())
    assert names(folder) == ["a.ini"]


def test_none_where_there_were_some_is_asked_again(folder: MirrorFolder, hears: Session) -> None:
    say(hears, *whole(A))
    assert say(hears, *whole()) == [Ask()]
    assert names(folder) == ["a.ini"]
    assert say(hears, *whole(A)) == []
    assert say(hears, *whole()) == [Ask()]
    assert say(hears, *whole()) == []
    assert names(folder) == []


def test_none_where_there_were_none_counts(folder: MirrorFolder, hears: Session) -> None:
    assert say(hears, *whole()) == []
    assert read_state(folder.path).asked == 1000.0


def test_trouble_and_its_end(folder: MirrorFolder, hears: Session, clock: Clock) -> None:
    say(hears, *whole(A))
    clock.now = 1010.0
    say(hears, Well())
    clock.now = 1020.0
    say(hears, Trouble(message="no route", hint="see the cable"))
    clock.now = 1030.0
    say(hears, Trouble(message="refused"))
    assert read_state(folder.path) == MirrorState(asked=1010.0, since=1020.0, why="refused")
    clock.now = 1040.0
    say(hears, Well())
    assert read_state(folder.path) == MirrorState(asked=1040.0)
    assert names(folder) == ["a.ini"]


def test_an_idle_monitor_is_not_written_all_the_time(folder: MirrorFolder, hears: Session, clock: Clock) -> None:
    say(hears, *whole(A))
    for clock.now in (1003.0, 1059.0):
        say(hears, Well())
        assert read_state(folder.path).asked == 1000.0
    clock.now = 1061.0
    say(hears, Well())
    assert read_state(folder.path).asked == 1061.0


def test_what_is_news(hears: Session, clock: Clock) -> None:
    assert not hears.has_news()
    say(hears, *whole(A))
    assert hears.has_news()
    assert not hears.has_news()
    clock.now = 2000.0
    say(hears, Well())
    assert not hears.has_news()
    say(hears, Trouble(message="x"))
    assert hears.has_news()
    say(hears, *whole(A, BAD))
    assert hears.has_news()


def test_one_note_for_each_bad_row_and_the_rest_counts(folder: MirrorFolder, hears: Session) -> None:
    say(hears, *whole(A, B))
    note = Note(code="row-type", name="c.ini", message="m", hint="h")
    say(hears, Begin(), Entry(replace(A, socket="x\ny")), note, Entry(BAD), Entry(B), End())
    assert names(folder) == ["a.ini", "b.ini"]
    assert codes(read_state(folder.path)) == [("row-socket", "a.ini"), ("row-name", "bad"), ("row-type", "c.ini")]
    before = folder.read("a.ini")
    assert before is not None
    assert before.socket == "/run/a.sock"
    say(hears, *whole(A, B))
    assert codes(read_state(folder.path)) == []


def test_rows_without_a_usable_name_are_never_none(folder: MirrorFolder, hears: Session) -> None:
    say(hears, *whole(A))
    say(hears, *whole(BAD, replace(BAD, name="worse")))
    assert names(folder) == ["a.ini"]
    state = read_state(folder.path)
    assert state.since == 1000.0
    assert "none of its 2 rows can be a vassal" in state.why


def test_rows_without_a_usable_name_at_the_first_time(folder: MirrorFolder, hears: Session) -> None:
    say(hears, *whole(BAD))
    assert codes(read_state(folder.path)) == [("row-name", "bad")]
    assert read_state(folder.path).since is None


def test_duplicates(folder: MirrorFolder, hears: Session) -> None:
    newer = replace(A, config="newer", ts=11.0, socket="/run/other.sock")
    older = replace(A, config="older", ts=9.0, socket="/run/third.sock")
    say(hears, *whole(A, newer, older))
    row = folder.read("a.ini")
    assert row is not None
    assert row.socket == "/run/a.sock"
    with open(folder.config("a.ini")) as file:
        assert file.read() == "newer"
    assert codes(read_state(folder.path)) == [("row-duplicate", "a.ini")] * 2


def test_rows_without_a_time_are_one_warning(folder: MirrorFolder, hears: Session) -> None:
    say(hears, *whole(replace(A, ts=0), replace(B, ts=0)))
    (note,) = read_state(folder.path).notes
    assert (note.code, note.name, note.is_warning) == ("row-ts", "", True)
    assert note.message.startswith("2 rows")


def test_single_changes_are_answered_once_they_are_on_disk(folder: MirrorFolder, hears: Session) -> None:
    assert hears.take(Put(row=A, id=1)) == []
    assert hears.is_stuck
    assert names(folder) == []
    assert say(hears, Put(row=B, id=2), Remove(name="a.ini", id=3), Put(row=BAD, id=4)) == [
        Done(id=1), Done(id=2), Done(id=3), Done(id=4),
    ]  # fmt: skip
    assert not hears.is_stuck
    assert names(folder) == ["b.ini"]
    assert codes(read_state(folder.path)) == [("row-name", "bad")]
    say(hears, Remove(name="bad", id=5))
    assert codes(read_state(folder.path)) == []


def test_a_feeders_note_is_replaced_by_the_next_about_the_same(folder: MirrorFolder, hears: Session) -> None:
    note = Note(code="zmq-open", message="m", hint="h", is_warning=True)
    say(hears, note, note, replace(note, code="other"), replace(note, name="a.ini"))
    assert codes(read_state(folder.path)) == [("zmq-open", ""), ("other", ""), ("zmq-open", "a.ini")]
    say(hears, Put(row=A, id=1))
    assert codes(read_state(folder.path)) == [("zmq-open", ""), ("other", "")]


def refuse(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_keeps_single_changes_until_there_is_room(
    folder: MirrorFolder, hears: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(change, "flush", refuse)
        assert say(hears, Put(row=A, id=1)) == []
        assert hears.is_stuck
        assert "No space left" in hears.state.why
        assert names(folder) == []
    assert hears.flush() == [Done(id=1)]
    assert names(folder) == ["a.ini"]
    assert hears.state.since is None


@pytest.mark.parametrize("call", ["flush", "let_read"])
def test_a_full_disk_leaves_the_last_answer_and_has_the_next_asked_for(
    folder: MirrorFolder, hears: Session, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    say(hears, *whole(A))
    with monkeypatch.context() as patch:
        patch.setattr(change, call, refuse)
        say(hears, *whole(A, B))
    assert names(folder) == ["a.ini"]
    assert "No space left" in read_state(folder.path).why
    assert hears.must_ask
    say(hears, *whole(A, B))
    assert names(folder) == ["a.ini", "b.ini"]
    assert not hears.must_ask
    assert read_state(folder.path).since is None


def test_a_state_that_cannot_be_written_counts_in_memory(
    folder: MirrorFolder, hears: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(session, "write_state", refuse)
        say(hears, Trouble(message="x"))
    assert hears.state.why == "x"
    assert read_state(folder.path) == MirrorState()
    hears.close()
    assert read_state(folder.path).why == "x"


def test_too_many_rows_are_no_answer(folder: MirrorFolder, hears: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    say(hears, *whole(A))
    monkeypatch.setattr(change, "ROWS_MAX", 1)
    say(hears, *whole(A, B))
    assert names(folder) == ["a.ini"]
    assert "more than 1 row" in read_state(folder.path).why
    say(hears, Put(row=B, id=1))
    assert codes(read_state(folder.path)) == [("row-limit", "b.ini")]


def test_notes_are_bounded(folder: MirrorFolder, hears: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "NOTES_MAX", 3)
    say(hears, *whole(A, *(replace(BAD, name=f"bad{number}") for number in range(5))))
    state = read_state(folder.path)
    assert len(state.notes) == 3
    assert state.more_notes == 2


def test_the_next_session_goes_on(folder: MirrorFolder, hears: Session, clock: Clock) -> None:
    say(hears, *whole(A), Trouble(message="x"))
    hears.close()
    hears._writer.close()
    second = start(folder, clock)
    assert second.state == MirrorState(asked=1000.0, since=1000.0, why="x")
    assert say(second, *whole()) == [Ask()]
    assert names(folder) == ["a.ini"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"notes": [1]}', '{"notes": [], "what": 1}'])
def test_a_damaged_state_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    assert read_state(str(tmp_path)) == MirrorState()
