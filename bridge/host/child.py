"""Does work in a child process that asks this one for things meanwhile, and hands back a result."""

from __future__ import annotations

import ctypes
import io
import os
import pickle
import select
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, Protocol

from bridge.host.second_process import end_child

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_ASK, _TELL, _ALIVE, _RESULT = "ask", "tell", "alive", "result"
"""What the child sends. It waits until this process has done what it asks for."""
_DONE = b"."
_PR_SET_PDEATHSIG = 1
"""See prctl(2)."""
_BEAT = 1.0
"""Seconds between two signs of life."""
_BROKEN = (EOFError, ConnectionError, pickle.UnpicklingError, AttributeError, ImportError, IndexError, ValueError)
"""What reading raises if the child was killed while it wrote."""


class ChildFailedError(Exception):
    """There is no child, or it ended without a result."""


class Parent:
    """What the child has of the process that made it."""

    def __init__(self, its: socket.socket) -> None:
        self._socket = its
        self._file = its.makefile("wb")
        self._beat = 0.0

    def ask(self, what: object) -> None:
        """Have the parent do something, and wait until it is done."""
        self.send(_ASK, what)
        if self._socket.recv(1) != _DONE:
            os._exit(1)

    def tell(self, what: object) -> None:
        """Have the parent take note of something, soon."""
        pickle.dump((_TELL, what), self._file, pickle.HIGHEST_PROTOCOL)

    def alive(self) -> None:
        """Show that the child is alive, once a second at most. Whoever waits for something calls this."""
        if (now := time.monotonic()) >= self._beat:
            self._beat = now + _BEAT
            self.send(_ALIVE, None)

    def send(self, kind: str, what: object) -> None:
        """Send a message now, with all that was told before."""
        pickle.dump((kind, what), self._file, pickle.HIGHEST_PROTOCOL)
        self._file.flush()


class Beside(Protocol):
    """What the parent reads while it waits for the child."""

    def fileno(self) -> int:
        """Return the descriptor to wait on."""

    def read(self) -> None:
        """Read what has come; called when the descriptor is readable."""


def in_child(
    work: Callable[[Parent], object],
    answer: Callable[[Any], None],
    alive: Callable[[], None],
    beside: Beside | None = None,
) -> Any:
    """Do work in a child process, and return its result.

    The child ends when this process does, whatever ends it. Signals that end or reload this process do not concern it.

    Args:
        work: what to do. It can ask this process for things, and tell it things.
        answer: does what the child asks for, and takes what it tells.
        alive: is called when the child sends something, if only a sign of life.
        beside: what this process reads meanwhile.

    Raises:
        ChildFailedError: there is no result. What ``answer`` and ``beside`` raise is raised too.
    """
    parent = os.getpid()
    try:
        ours, its = socket.socketpair()
    except OSError as error:
        raise ChildFailedError from error
    with ours, its:
        try:
            child = os.fork()
        except OSError as error:
            raise ChildFailedError from error
        if child == 0:
            ours.close()
            _be_child(work, its, parent)
        its.close()
        try:
            return _result(_Reader(ours, alive, beside), ours, answer)
        except ConnectionError as error:
            raise ChildFailedError from error
        finally:
            # It has ended, or nobody needs its result.
            end_child(child)


class _Reader(io.RawIOBase):
    """What the child sends."""

    def __init__(self, ours: socket.socket, alive: Callable[[], None], beside: Beside | None) -> None:
        self._socket = ours
        self._alive = alive
        self._beside = beside
        self._poll = select.poll()
        self._poll.register(ours, select.POLLIN)
        if beside:
            self._poll.register(beside.fileno(), select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self._socket.fileno() not in (ready := {descriptor for descriptor, _ in self._poll.poll()}):
            self._read_beside(ready)
        self._read_beside(ready)
        self._alive()
        return self._socket.recv_into(buffer)

    def _read_beside(self, ready: Collection[int]) -> None:
        if self._beside and self._beside.fileno() in ready:
            self._beside.read()


def _result(reader: _Reader, ours: socket.socket, answer: Callable[[Any], None]) -> Any:
    with io.BufferedReader(reader) as file:
        while True:
            try:
                kind, what = pickle.load(file)  # noqa: S301 - our own child has written it
            except _BROKEN as error:
                raise ChildFailedError from error
            if kind == _RESULT:
                return what
            if kind != _ALIVE:
                answer(what)
            if kind == _ASK:
                ours.sendall(_DONE)


def _be_child(work: Callable[[Parent], object], its: socket.socket, parent: int) -> None:
    """Do the work, and end. Nothing of the parent's is cleaned up here."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # What is ignored, programs that are started from here would ignore too.
            signal.signal(number, lambda _number, _frame: None)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            ends = Parent(its)
            ends.send(_RESULT, work(ends))
    finally:
        os._exit(0)
