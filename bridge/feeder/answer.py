"""A whole answer on its way from a database to the root side: bounded, counted, and told only if it is news."""

from __future__ import annotations

import hashlib
import time
from enum import Enum, auto
from typing import TYPE_CHECKING

from bridge.diagnostics import count
from bridge.feeder.protocol import BYTES_MAX, LINE_MAX, NOTES_MAX, ROWS_MAX, Begin, End, Entry, Note, Well, encode

if TYPE_CHECKING:
    from bridge.feeder.protocol import Row
    from bridge.feeder.root_side import RootSide

HELD_MAX = 16 << 20
"""Bytes of an answer that are held back until it is known whether anything changed. A longer one is told anyway."""
SILENCE_MAX = 60.0
"""Seconds after which an answer without a change is told too, in one word, so that ``status`` can say how old it is."""


class UnusableError(Exception):
    """What the server answers cannot be what vassals come from. The vassals must stay as they are."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Outcome(Enum):
    """What became of an answer."""

    TOLD = auto()
    """The root side has it, or has it already."""
    DOUBTED = auto()
    """It is empty, and the one before was not. Ask again: a table may be empty for a moment while it is filled anew."""


class Teller:
    """Tells the root side of answers, and remembers of the last one as much as it takes to know another."""

    def __init__(self, root: RootSide, *, had_rows: bool = False) -> None:
        """Tell the root side; ``had_rows``: whether it has rows from an earlier process."""
        self._root = root
        self.digest: int | None = None
        """Of all lines of the last answer, whatever their order: a database may return rows in any."""
        self.had_rows = had_rows
        self.has_doubted = False
        self._last_word = 0.0

    def begin(self) -> Answer:
        """Return a new answer. One that was begun before and not ended is void."""
        return Answer(self, self._root)

    def tell_well(self) -> None:
        """Tell that the server answers and nothing changed, if it was in trouble or nothing was said for a minute."""
        if self._root.is_trouble or time.monotonic() - self._last_word >= SILENCE_MAX:
            self._root.send(Well())
            self._last_word = time.monotonic()

    def forget(self) -> None:
        """Tell the next answer in any case."""
        self.digest = None

    def told(self, digest: int, *, had_rows: bool) -> None:
        """Remember an answer that the root side has in full."""
        self.digest = digest
        self.had_rows = had_rows
        self.has_doubted = False
        self._last_word = time.monotonic()


class Answer:
    """One whole answer. Rows and notes are added as they come, then :meth:`end` says what became of it."""

    def __init__(self, teller: Teller, root: RootSide) -> None:
        self._teller = teller
        self._root = root
        # The first answer is news in any case: its rows need not be held back.
        self._held: list[bytes] | None = [encode(Begin())]
        self._held_max = 0 if teller.digest is None else HELD_MAX
        self._rows = self._notes = self._bytes = self._digest = 0

    def add(self, row: Row) -> None:
        """Add one row.

        Raises:
            UnusableError: the answer is longer than the root side takes.
            RootSideGoneError: nobody wants it any more.
        """
        self._count_row()
        line = encode(Entry(row))
        if len(line) > LINE_MAX:
            self.refuse(row.name, "row-text", f"the row has more than {LINE_MAX >> 20} MiB", "make its config shorter")
            return
        self._tell(line)

    def add_bad(self, name: str, code: str, message: str, hint: str) -> None:
        """Add a row that is of no use, with the reason.

        Raises:
            UnusableError: the answer is longer than the root side takes.
            RootSideGoneError: nobody wants it any more.
        """
        self._count_row()
        self.refuse(name, code, message, hint)

    def refuse(self, name: str, code: str, message: str, hint: str) -> None:
        """Note why a row that was counted is of no use."""
        self._note(Note(code=code, message=message, hint=hint, name=name))

    def warn(self, code: str, message: str, hint: str, name: str = "") -> None:
        """Add a warning about the entry ``name``, or about the whole monitor."""
        self._note(Note(code=code, message=message, hint=hint, name=name, is_warning=True))

    def end(self) -> Outcome:
        """Tell the answer if it is news.

        Raises:
            RootSideGoneError: nobody wants it any more.
        """
        teller = self._teller
        if not self._rows and teller.had_rows and not teller.has_doubted:
            teller.has_doubted = True
            return Outcome.DOUBTED
        if self._held is not None and self._digest == teller.digest:
            teller.has_doubted = False
            teller.tell_well()
            return Outcome.TOLD
        self._release()
        self._root.send(End())
        teller.told(self._digest, had_rows=self._rows > 0)
        return Outcome.TOLD

    def _count_row(self) -> None:
        self._rows += 1
        if self._rows > ROWS_MAX:
            raise UnusableError(
                f"the answer has more than {count(ROWS_MAX, 'row')}", "let the query choose those of this host"
            )

    def _note(self, note: Note) -> None:
        self._notes += 1
        if self._notes <= NOTES_MAX:
            self._tell(encode(self._root.redacted_note(note)))

    def _tell(self, line: bytes) -> None:
        self._bytes += len(line)
        if self._bytes > BYTES_MAX:
            raise UnusableError(
                f"the answer has more than {BYTES_MAX >> 30} GiB", "let the query choose those of this host"
            )
        digest = hashlib.blake2b(line, digest_size=16).digest()
        self._digest = (self._digest + int.from_bytes(digest)) % (1 << 128)
        if self._held is None:
            self._root.send_line(line)
            return
        self._held.append(line)
        if self._bytes > self._held_max:
            self._release()

    def _release(self) -> None:
        for line in self._held or ():
            self._root.send_line(line)
        self._held = None
