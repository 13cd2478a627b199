"""A feeder's process, with the test as its root side."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bridge.feeder.protocol import Ask, Begin, Done, End, Entry, Message, Note, Orders, Row, Trouble, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

CHECKOUT = Path(__file__).resolve().parents[2]
DEBIAN_PYTHON = "/usr/bin/python3"
"""It has Debian's drivers, and a feeder needs nothing else."""
WAIT = 20.0


class Feeder:
    """One running feeder. As a context manager it ends with the block, and must end by itself then."""

    def __init__(
        self, orders: Orders, *, python: str = sys.executable, environment: Mapping[str, str] | None = None
    ) -> None:
        self._end, there = socket.socketpair()
        with there:
            self.process = subprocess.Popen(
                [python, "-m", "bridge.feeder"],
                stdin=there.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=CHECKOUT,
                env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})},
            )
        self._buffer = b""
        self.seen = b""
        """All bytes that came from it."""
        self._end.sendall(encode(orders))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.close()
        try:
            self.output = self.process.communicate(timeout=WAIT)[0].decode()
        finally:
            self.process.kill()
        if kind is None:
            assert (self.process.returncode, self.output) == (0, "")

    def next(self, timeout: float = WAIT) -> Message:
        """Return the next message."""
        until = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            assert self._is_readable(until - time.monotonic()), f"no message in {timeout} s"
            data = self._end.recv(1 << 20)
            assert data, "the feeder has ended"
            self._buffer += data
            self.seen += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return decode(line)

    def answer(self, timeout: float = WAIT) -> list[Row]:
        """Return the rows of the next whole answer; what comes before it is dropped."""
        return self.answer_and_notes(timeout)[0]

    def answer_and_notes(self, timeout: float = WAIT) -> tuple[list[Row], list[Note]]:
        """Return the rows and notes of the next whole answer; what comes before it is dropped."""
        until = time.monotonic() + timeout
        rows: list[Row] = []
        notes: list[Note] = []
        has_begun = False
        while not isinstance(message := self.next(until - time.monotonic()), End):
            if isinstance(message, Begin):
                rows, notes, has_begun = [], [], True
            elif isinstance(message, Entry):
                rows.append(message.row)
            elif isinstance(message, Note):
                notes.append(message)
            elif isinstance(message, Trouble):
                has_begun = False
        assert has_begun
        return rows, notes

    def names(self, timeout: float = WAIT) -> list[str]:
        """Return the names of the next whole answer, sorted."""
        return sorted(row.name for row in self.answer(timeout))

    def until(self, is_wanted: Callable[[Message], bool], timeout: float = WAIT) -> Message:
        """Return the first message that is wanted."""
        until = time.monotonic() + timeout
        while not is_wanted(message := self.next(until - time.monotonic())):
            pass
        return message

    def trouble(self, timeout: float = WAIT) -> Trouble:
        """Return the next trouble."""
        message = self.until(lambda message: isinstance(message, Trouble), timeout)
        assert isinstance(message, Trouble)
        return message

    def is_silent(self, seconds: float) -> bool:
        """Return whether nothing comes for so long."""
        return not self._buffer and not self._is_readable(seconds)

    def done(self, number: int) -> None:
        """Say that a change is on disk."""
        self._end.sendall(encode(Done(id=number)))

    def ask(self) -> None:
        """Ask for the whole answer again."""
        self._end.sendall(encode(Ask()))

    def wait(self) -> int:
        """Wait until it has ended by itself, and return its exit status."""
        return self.process.wait(WAIT)

    def ticks(self) -> int:
        """Return the CPU time that it has used, in clock ticks."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def _is_readable(self, seconds: float) -> bool:
        return bool(select.select([self._end], [], [], max(0.0, seconds))[0])
