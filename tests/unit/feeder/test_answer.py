from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from bridge.feeder import answer as module
from bridge.feeder.answer import Answer, Outcome, Teller, UnusableError
from bridge.feeder.loop import Loop
from bridge.feeder.pg_rows import add_row, check_columns
from bridge.feeder.protocol import Begin, End, Entry, Message, Note, Row, Well, decode
from bridge.feeder.root_side import RootSide

if TYPE_CHECKING:
    from collections.abc import Iterator


class Listener:
    """The root side of a teller."""

    def __init__(self) -> None:
        here, self._end = socket.socketpair()
        self._here = here
        self.root = RootSide(here, Loop(), lambda _: None)
        self.teller = Teller(self.root)

    def close(self) -> None:
        for end in (self._here, self._end):
            end.close()

    def heard(self) -> list[Message]:
        """Return the messages that came since this was last asked."""
        try:
            data = self._end.recv(1 << 20, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        return [decode(line) for line in data.splitlines()]

    def tell(self, *names: str) -> Outcome:
        answer = self.teller.begin()
        for name in names:
            answer.add(Row(name=name))
        return answer.end()


@pytest.fixture
def listener() -> Iterator[Listener]:
    one = Listener()
    yield one
    one.close()


def entries(*names: str) -> list[Message]:
    return [Begin(), *(Entry(Row(name=name)) for name in names), End()]


def test_the_first_answer_is_told_as_it_comes(listener: Listener) -> None:
    answer = listener.teller.begin()
    answer.add(Row(name="a.ini"))
    assert listener.heard() == [Begin(), Entry(Row(name="a.ini"))]
    assert answer.end() is Outcome.TOLD
    assert listener.heard() == [End()]


def test_an_answer_is_told_only_if_it_is_news(listener: Listener) -> None:
    listener.tell("a.ini", "b.ini")
    listener.heard()
    assert listener.tell("b.ini", "a.ini") is Outcome.TOLD
    assert listener.heard() == []
    assert listener.tell("b.ini") is Outcome.TOLD
    assert listener.heard() == entries("b.ini")
    listener.tell("b.ini", "b.ini")
    assert listener.heard() == entries("b.ini", "b.ini")


def test_after_trouble_or_a_minute_an_answer_without_news_is_one_word(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener.tell("a.ini")
    listener.root.trouble("gone")
    listener.heard()
    listener.tell("a.ini")
    assert listener.heard() == [Well()]
    listener.tell("a.ini")
    assert listener.heard() == []
    monkeypatch.setattr(module, "SILENCE_MAX", 0)
    listener.tell("a.ini")
    assert listener.heard() == [Well()]


def test_nothing_where_there_was_something_is_doubted_once(listener: Listener) -> None:
    assert listener.tell() is Outcome.TOLD
    listener.tell("a.ini")
    listener.heard()
    assert listener.tell() is Outcome.DOUBTED
    assert listener.heard() == []
    assert listener.tell("a.ini") is Outcome.TOLD
    assert listener.tell() is Outcome.DOUBTED
    assert listener.tell() is Outcome.TOLD
    assert listener.heard() == [Begin(), End()]
    assert listener.tell() is Outcome.TOLD


def test_an_answer_too_long_to_hold_back_is_told_as_it_comes(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener.tell("a.ini")
    listener.heard()
    monkeypatch.setattr(module, "HELD_MAX", 100)
    answer = listener.teller.begin()
    answer.add(Row(name="a.ini"))
    answer.add(Row(name="b.ini"))
    assert len(listener.heard()) == 3
    answer.end()
    assert listener.heard() == [End()]


@pytest.mark.parametrize("name", ["ROWS_MAX", "BYTES_MAX"])
def test_an_answer_has_bounds(listener: Listener, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(module, name, 3)
    with pytest.raises(UnusableError, match="more than"):
        listener.tell("a.ini", "b.ini", "c.ini", "d.ini")
    assert End() not in listener.heard()


def test_a_row_too_long_for_a_line_is_refused(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_MAX", 1000)
    answer = listener.teller.begin()
    answer.add(Row(name="a.ini", config="x" * 1000))
    answer.end()
    _, note, _ = listener.heard()
    assert isinstance(note, Note)
    assert (note.name, note.code, note.is_warning) == ("a.ini", "row-text", False)


def test_a_note_that_changes_is_news(listener: Listener) -> None:
    def tell(text: str) -> None:
        answer = listener.teller.begin()
        answer.warn("code", text, "")
        answer.end()

    tell("one")
    listener.heard()
    tell("one")
    assert listener.heard() == []
    tell("two")
    assert len(listener.heard()) == 3


def test_notes_are_bounded(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NOTES_MAX", 2)
    answer = listener.teller.begin()
    for number in range(5):
        answer.warn("code", str(number), "")
    answer.end()
    assert len(listener.heard()) == 4


def first(answer: Answer, *values: bytes | None) -> None:
    add_row(answer, 7, values)


def test_bytes_that_are_no_text(listener: Listener) -> None:
    answer = listener.teller.begin()
    first(answer, b"a.ini", b"x=\xff", b"1", b"33", b"34", b"/run/a", b"more")
    first(answer, b"\xff.ini", b"x", b"1")
    answer.end()
    _, entry, note, _ = listener.heard()
    assert isinstance(entry, Entry)
    assert entry.row.config is not None
    assert entry.row.config.encode("utf-8", "surrogateescape") == b"x=\xff"
    assert (entry.row.uid, entry.row.gid, entry.row.socket) == (33, 34, "/run/a")
    assert isinstance(note, Note)
    assert (note.code, note.name) == ("row-name", "\\xff.ini")


def test_columns() -> None:
    check_columns([25, 25, 701])
    check_columns([19, 25, 701, 23, 23, 25, 25])
    for types in ([], [25], [25, 25], [17, 25, 25], [25, 17, 25]):
        with pytest.raises(UnusableError):
            check_columns(types)
