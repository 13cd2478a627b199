"""A feeder as the root side starts it, and the root side's end of its socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bridge.feeder.protocol import Done, Message, Note, Orders, Put, Remove, Trouble, Well, decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT = 20.0
"""Seconds in which a message must come, unless a test says otherwise."""

T = TypeVar("T", bound=Message)


class FeederProcess:
    """A running feeder. What it writes to its standard output and error, and all messages, are kept."""

    def __init__(self, orders: Orders, output: Path, modules: Path | None = None) -> None:
        self.heard: list[Message] = []
        self._output = output
        here, there = socket.socketpair()
        with there, output.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bridge.feeder"],
                stdin=there.fileno(),
                stdout=file,
                stderr=file,
                cwd=Path(__file__).parents[2],
                env=os.environ | ({"PYTHONPATH": str(modules)} if modules else {}),
            )
        self._here = here
        self._buffer = b""
        here.sendall(encode(orders))

    @property
    def pid(self) -> int:
        return self._process.pid

    def next(self, wait: float = WAIT) -> Message:
        """Return the next message."""
        until = time.monotonic() + wait
        while b"\n" not in self._buffer:
            self._here.settimeout(max(0.001, until - time.monotonic()))
            try:
                data = self._here.recv(1 << 16)
            except TimeoutError:
                raise AssertionError(f"no message in {wait} s; before: {self.heard[-5:]}; {self.output()}") from None
            if not data:
                raise AssertionError(f"the feeder has ended; before: {self.heard[-5:]}; {self.output()}")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        self.heard.append(decode(line))
        return self.heard[-1]

    def expect(self, kind: type[T], wait: float = WAIT) -> T:
        """Return the next message, which must be of this kind."""
        message = self.next(wait)
        assert isinstance(message, kind), message
        return message

    def until(self, kind: type[T], wait: float = WAIT) -> T:
        """Return the next message of this kind; others before it are passed over."""
        until = time.monotonic() + wait
        while not isinstance(message := self.next(until - time.monotonic()), kind):
            pass
        return message

    def change(self, wait: float = WAIT) -> Put | Remove:
        """Return the next change, and say that it is on disk."""
        message = self.unanswered(wait)
        self.done(message.id)
        return message

    def unanswered(self, wait: float = WAIT) -> Put | Remove:
        """Return the next change; nothing but warnings may come before it."""
        while isinstance(message := self.next(wait), Note) and message.is_warning:
            pass
        assert isinstance(message, Put | Remove), message
        return message

    def done(self, number: int) -> None:
        self._here.sendall(encode(Done(id=number)))

    def silent(self, seconds: float) -> bool:
        """Return whether no message comes in that time."""
        self._here.settimeout(seconds)
        if self._buffer:
            return False
        try:
            self._buffer += self._here.recv(1 << 16)
        except TimeoutError:
            return True
        return False

    def ticks(self) -> int:
        """Return the processor time that the process has used, in ticks (proc(5): utime and stime)."""
        values = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return int(values[11]) + int(values[12])

    def wake_ups(self) -> int:
        """Return how often its threads have gone to sleep of their own will."""
        total = 0
        for path in Path(f"/proc/{self.pid}/task").glob("*/status"):
            total += int(path.read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])
        return total

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()

    def end(self) -> int:
        """Close the socket as a root side does that ends; return the exit status."""
        self._here.close()
        return self._process.wait(WAIT)

    def wait(self) -> int:
        """Return the exit status of a feeder that ends by itself; the messages it still had to tell are kept."""
        self._here.settimeout(WAIT)
        while data := self._here.recv(1 << 16):
            self._buffer += data
        self.heard += [decode(line + b"\n") for line in self._buffer.splitlines()]
        self._buffer = b""
        return self._process.wait(WAIT)

    def output(self) -> str:
        """Return what it has written to the journal."""
        return self._output.read_text()

    def everything(self) -> str:
        """Return all that people may see of it: messages, output, and its command line."""
        command = Path(f"/proc/{self.pid}/cmdline").read_bytes() if self._process.poll() is None else b""
        shown = [message for message in self.heard if isinstance(message, Trouble | Note | Well)]
        return f"{shown} {self.output()} {command!r}"


@contextmanager
def feeder(orders: Orders, folder: Path, modules: Path | None = None) -> Iterator[FeederProcess]:
    """Run a feeder to the end of the block; it must have written nothing to the journal.

    ``modules`` is a folder with Python modules that it finds before all others.
    """
    process = FeederProcess(orders, folder / f"journal-{time.monotonic_ns()}", modules)
    try:
        yield process
        assert process.output() == ""
    finally:
        process.kill()
