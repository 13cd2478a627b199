"""A feeder's process, with the test as its root side."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from bridge.feeder.protocol import (
    Ask,
    Begin,
    Done,
    End,
    Entry,
    Message,
    Note,
    Orders,
    Put,
    Remove,
    Row,
    Trouble,
    Well,
    decode,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

CHECKOUT = Path(__file__).resolve().parents[2]
DEBIAN_PYTHON = "/usr/bin/python3"
"""It has Debian's drivers, and a feeder needs nothing else."""
WAIT = 20.0
"""Seconds in which a message must come, unless a test says otherwise."""

T = TypeVar("T", bound=Message)


class FeederProcess:
    """One running feeder. As a context manager it is killed after the block, and may have written nothing."""

    def __init__(
        self, orders: Orders, *, python: str = sys.executable, environment: Mapping[str, str] | None = None
    ) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self._end, there = socket.socketpair()
        with there:
            self.process = subprocess.Popen(
                [python, "-m", "bridge.feeder"],
                stdin=there.fileno(),
                stdout=self._output,
                stderr=self._output,
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
        self.kill()
        if kind is None:
            assert self.output == "", f"exit status {self.process.returncode}; {self._told()}"

    @property
    def output(self) -> str:
        """What it has written to the journal."""
        self._output.seek(0)
        return self._output.read().decode()

    def next(self, timeout: float = WAIT) -> Message:
        """Return the next message."""
        until = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            self._end.settimeout(max(0.001, until - time.monotonic()))
            try:
                data = self._end.recv(1 << 20)
            except TimeoutError:
                raise AssertionError(f"no message in {timeout} s; {self._told()}") from None
            assert data, f"the feeder has ended; {self._told()}"
            self._buffer += data
            self.seen += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return decode(line)

    def until_is(self, is_wanted: Callable[[Message], bool], timeout: float = WAIT) -> Message:
        """Return the first message that is wanted; others before it are passed over."""
        until = time.monotonic() + timeout
        while not is_wanted(message := self.next(until - time.monotonic())):
            pass
        return message

    def until(self, kind: type[T], timeout: float = WAIT) -> T:
        """Return the next message of this kind; others before it are passed over."""
        message = self.until_is(lambda message: isinstance(message, kind), timeout)
        assert isinstance(message, kind)
        return message

    def is_silent(self, seconds: float) -> bool:
        """Return whether no message comes in that time."""
        if self._buffer:
            return False
        self._end.settimeout(seconds)
        try:
            data = self._end.recv(1 << 20)
        except TimeoutError:
            return True
        self._buffer += data
        self.seen += data
        return False

    def expect(self, kind: type[T], timeout: float = WAIT) -> T:
        """Return the next message, which must be of this kind."""
        message = self.next(timeout)
        assert isinstance(message, kind), message
        return message

    def done(self, number: int) -> None:
        """Say that a change is on disk."""
        self._end.sendall(encode(Done(id=number)))

    def ask(self) -> None:
        """Ask for the whole answer again."""
        self._end.sendall(encode(Ask()))

    def ticks(self) -> int:
        """Return the processor time that it has used, in ticks (proc(5): utime and stime)."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def wake_ups(self) -> int:
        """Return how often its threads have gone to sleep of their own will."""
        total = 0
        for path in Path(f"/proc/{self.process.pid}/task").glob("*/status"):
            total += int(path.read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])
        return total

    def shown(self) -> str:
        """Return all that people may see of it: messages that are no vassals, output, command line, environment."""
        messages = [decode(line) for line in self.seen.splitlines(keepends=True) if line.endswith(b"\n")]
        told = [message for message in messages if isinstance(message, Trouble | Note | Well)]
        place = Path(f"/proc/{self.process.pid}")
        files = [(place / name).read_bytes() for name in ("cmdline", "environ") if self.process.poll() is None]
        return f"{told} {self.output} {files}"

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        """Close the socket as a root side does that ends; return the exit status."""
        self._end.close()
        return self.process.wait(WAIT)

    def wait(self) -> int:
        """Wait until it has ended by itself, and return its exit status; what it still had to tell can be read."""
        self._end.settimeout(WAIT)
        while data := self._end.recv(1 << 20):
            self._buffer += data
            self.seen += data
        return self.process.wait(WAIT)

    def _told(self) -> str:
        return f"before: {self.seen[-500:]!r}; {self.output}"


class Feeder(FeederProcess):
    """A feeder that gives whole answers. As a context manager it must end by itself when the block does."""

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            status = self.end()
        finally:
            super().__exit__(kind, value, trace)
        if kind is None:
            assert status == 0

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

    def trouble(self, timeout: float = WAIT) -> Trouble:
        """Return the next trouble."""
        return self.until(Trouble, timeout)


class MessageFeeder(FeederProcess):
    """A feeder that gives single changes, and waits for the word that each is on disk."""

    def change(self, timeout: float = WAIT) -> Put | Remove:
        """Return the next change, and say that it is on disk."""
        message = self.unanswered(timeout)
        self.done(message.id)
        return message

    def unanswered(self, timeout: float = WAIT) -> Put | Remove:
        """Return the next change; nothing but warnings may come before it."""
        while isinstance(message := self.next(timeout), Note) and message.is_warning:
            pass
        assert isinstance(message, Put | Remove), message
        return message
