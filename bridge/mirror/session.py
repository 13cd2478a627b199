"""Hears what a feeder says, in its order, and brings the mirror in line with it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from bridge.diagnostics import count
from bridge.feeder.protocol import NOTES_MAX, Ask, Begin, Done, End, Entry, Note, Put, Remove, Trouble, Well
from bridge.mirror.change import Change, LimitError
from bridge.mirror.judge import judge, merge_duplicate, without_times
from bridge.mirror.state import read_state, write_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.feeder.protocol import Message, Row
    from bridge.mirror.change import MirrorWriter
    from bridge.mirror.judge import RowRules
    from bridge.mirror.state import MirrorState

FRESH = 60.0
"""Seconds after which the time of the last answer is written again, though nothing else changed."""
_DISK_HINT = "make room there, or mend the file system; it is tried again"


class _First(NamedTuple):
    """The row of a name that came first in an answer."""

    ts: float
    socket: str


class _Answer:
    """A whole answer that is coming in."""

    def __init__(self, writer: MirrorWriter, rules: RowRules) -> None:
        self._change = Change(writer, is_whole=True)
        self._rules = rules
        self._first: dict[str, _First] = {}
        self._untimed: list[str] = []
        self.notes = Notes()
        self.rows = 0

    @property
    def names(self) -> int:
        """How many rows have a usable name, and a place in the mirror."""
        return len(self._first)

    def add(self, row: Row) -> None:
        """Judge a row, and have it written if it is new or changed. Raises as :meth:`Change.put`."""
        self.rows += 1
        judged = judge(row, self._rules)
        for note in judged.notes:
            self.notes.add(note)
        if judged.row is None:
            self._change.keep(row.name)
            return
        row = judged.row
        if (first := self._first.get(row.name)) is not None:
            merged, note = merge_duplicate(first.socket, row)
            self.notes.add(note)
            if row.ts <= first.ts:
                return
            row = merged
        if not row.ts:
            self._untimed.append(row.name)
        self._change.put(row)
        self._first[row.name] = _First(row.ts, row.socket)

    def commit(self) -> None:
        """Have the answer counted. Raises as :meth:`Change.commit`."""
        if self._untimed:
            self.notes.add(without_times(len(self._untimed), self._untimed[0]))
        self._change.commit()

    def abort(self) -> None:
        """Have nothing of it counted."""
        self._change.abort()


class Notes:
    """Notes, of which ``NOTES_MAX`` are kept and the others counted."""

    def __init__(self, notes: tuple[Note, ...] = (), more: int = 0) -> None:
        self.kept = list(notes)
        self.more = more

    def add(self, note: Note) -> None:
        """Add a note."""
        if len(self.kept) < NOTES_MAX:
            self.kept.append(note)
        else:
            self.more += 1

    def replace(self, name: str, code: str = "") -> None:
        """Forget the notes about a row, or those with this code about the whole monitor."""
        self.kept = [n for n in self.kept if n.name != name or (not name and n.code != code)]


class Session:
    """What is known of a monitor while its feeder runs. One process at a time has it, which holds the mirror's lock."""

    def __init__(self, writer: MirrorWriter, rules: RowRules, clock: Callable[[], float] = time.time) -> None:
        """Begin with what the last session left; ``clock`` returns seconds since the epoch."""
        self._writer = writer
        self._rules = rules
        self._clock = clock
        self._folder = writer.folder.path
        self.state: MirrorState = read_state(self._folder)
        writer.state = self.state
        self._written = self.state
        self._told = self.state
        self._answer: _Answer | None = None
        self._feeders = Notes()
        """What the feeder noted since the answer began."""
        self._is_second = False
        """Whether the next answer may be one without rows: the last was, and was not believed."""
        self._unsaved: list[Put | Remove] = []
        self._unheard = 0
        """How many of these came from a feeder that has ended, and must not be answered."""
        self.must_ask = False
        """Whether an answer came that could not be kept, so that the feeder must be asked again later."""
        self.answers = 0
        """Whole answers that counted."""

    @property
    def is_stuck(self) -> bool:
        """Whether changes wait that could not be written: nothing more must be read, and :meth:`flush` be tried."""
        return bool(self._unsaved)

    @property
    def is_in_doubt(self) -> bool:
        """Whether the last answer had no rows where there were some, and another is awaited."""
        return self._is_second

    def take(self, message: Message) -> list[Message]:
        """Take a message from the feeder; return what to tell it. Single changes wait for :meth:`flush`."""
        if isinstance(message, Begin):
            self._abort()
            self._feeders = Notes()
            self._answer = _Answer(self._writer, self._rules)
        elif isinstance(message, Entry):
            self._add(message.row)
        elif isinstance(message, End):
            return self._end()
        elif isinstance(message, Put | Remove):
            self._unsaved.append(message)
        elif isinstance(message, Trouble):
            self.trouble(message.message, message.hint)
        elif isinstance(message, Well):
            self._set(self.state.well(self._clock()))
        elif isinstance(message, Note):
            self._note(message)
        return []

    def flush(self) -> list[Message]:
        """Write the single changes that wait; return the answers to them, or none if the disk refuses."""
        if not self._unsaved:
            return []
        notes = Notes(self.state.notes, self.state.more_notes)
        try:
            self._write_changes(notes)
        except OSError as error:
            self.trouble(f"{self._folder} cannot be written: {error.strerror}", _DISK_HINT)
            return []
        done: list[Message] = [Done(id=message.id) for message in self._unsaved[self._unheard :]]
        self._unsaved, self._unheard = [], 0
        self._set(self.state.well(self._clock()).noting(notes.kept, notes.more))
        return done

    def trouble(self, why: str, hint: str = "") -> None:
        """Note that the monitor cannot be asked."""
        self._set(self.state.trouble(self._clock(), why, hint))

    def break_off(self) -> None:
        """Forget what a feeder that has ended had not said whole. Its single changes still wait to be written."""
        self._abort()
        self._feeders = Notes()
        self._unheard = len(self._unsaved)

    def close(self) -> None:
        """End the session."""
        self.break_off()
        self.flush()
        if self.state != self._written:
            self._write()

    def has_news(self) -> bool:
        """Tell whether the monitor's report is another since this was last asked, but for its rows."""
        is_news = not self.state.looks_like(self._told)
        self._told = self.state
        return is_news

    def _add(self, row: Row) -> None:
        if self._answer is None:
            return
        try:
            self._answer.add(row)
        except LimitError as error:
            self._refuse(f"its answer does not count: {error}", "have the query return less")
        except OSError as error:
            self.must_ask = True
            self._refuse(f"{self._folder} cannot be written: {error.strerror}", _DISK_HINT)

    def _end(self) -> list[Message]:
        if self._answer is None:
            return []
        try:
            return self._finish(self._answer)
        except OSError as error:
            self.must_ask = True
            self._refuse(f"{self._folder} cannot be written: {error.strerror}", _DISK_HINT)
            return []

    def _finish(self, answer: _Answer) -> list[Message]:
        has_some = bool(self._writer.known)
        if answer.rows and not answer.names and has_some:
            self._refuse(
                f"none of its {count(answer.rows, 'row')} can be a vassal: {answer.notes.kept[0].message}",
                "see whether the query has its columns in order: name, config, ts, uid, gid, socket",
            )
            return []
        if not answer.rows and has_some and not self._is_second:
            self._is_second = True
            self._abort()
            return [Ask()]
        answer.commit()
        self._answer = None
        self._is_second = self.must_ask = False
        self.answers += 1
        notes = answer.notes
        for note in self._feeders.kept:
            notes.add(note)
        self._set(self.state.well(self._clock()).noting(notes.kept, notes.more + self._feeders.more))
        return []

    def _write_changes(self, notes: Notes) -> None:
        change = Change(self._writer, is_whole=False)
        try:
            for message in self._unsaved:
                self._apply(message, change, notes)
            change.commit()
        except OSError:
            change.abort()
            raise

    def _apply(self, message: Put | Remove, change: Change, notes: Notes) -> None:
        name = message.name if isinstance(message, Remove) else message.row.name
        notes.replace(name)
        if isinstance(message, Remove):
            change.remove(name)
            return
        judged = judge(message.row, self._rules)
        for note in judged.notes:
            notes.add(note)
        if judged.row is not None:
            try:
                change.put(judged.row)
            except LimitError as error:
                hint = "remove vassals that are not needed"
                notes.add(Note(code="row-limit", name=name, message=f"it is not taken: {error}", hint=hint))

    def _note(self, note: Note) -> None:
        if self._answer is not None:
            self._feeders.add(note)
            return
        notes = Notes(self.state.notes, self.state.more_notes)
        notes.replace(note.name, note.code)
        notes.add(note)
        self._set(self.state.noting(notes.kept, notes.more))

    def _refuse(self, why: str, hint: str) -> None:
        self._abort()
        self.trouble(why, hint)

    def _abort(self) -> None:
        if self._answer is not None:
            self._answer.abort()
        self._answer = None

    def _set(self, state: MirrorState) -> None:
        self.state = self._writer.state = state
        is_stale = (state.asked or 0.0) > (self._written.asked or 0.0) + FRESH
        if is_stale or not state.looks_like(self._written):
            self._write()

    def _write(self) -> None:
        try:
            write_state(self._folder, self.state)
            self._written = self.state
        except OSError:
            # What is in memory counts as long as this process lives, and the next change is written again.
            return
