"""Does work in a child process that asks this one for things meanwhile, and hands back a result."""

from __future__ import annotations

import ctypes
import io
import os
import pickle
import select
import signal
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_ASK, _TELL, _RESULT = "ask", "tell", "result"
"""What the child sends. It waits until this process has done what it asks for."""
_DONE = b"."
_PR_SET_PDEATHSIG = 1
"""See prctl(2)."""
_EACH = 1000
"""Milliseconds after which a process that waits for its child shows that it is alive."""


class ChildFailedError(Exception):
    """There is no child, or it ended without a result."""


class Parent:
    """What the child has of the process that made it."""

    def __init__(self, its: socket.socket) -> None:
        self._socket = its
        self._file = its.makefile("wb")

    def ask(self, what: object) -> None:
        """Have the parent do something, and wait until it is done."""
        self.send(_ASK, what)
        if self._socket.recv(1) != _DONE:
            os._exit(1)

    def tell(self, what: object) -> None:
        """Have the parent take note of something, soon."""
        pickle.dump((_TELL, what), self._file, pickle.HIGHEST_PROTOCOL)

    def send(self, kind: str, what: object) -> None:
        """Send a message now, with all that was told before."""
        pickle.dump((kind, what), self._file, pickle.HIGHEST_PROTOCOL)
        self._file.flush()


def in_child(work: Callable[[Parent], object], answer: Callable[[Any], None], alive: Callable[[], None]) -> Any:
    """Do work in a child process, and return its result.

    The child ends when this process does, whatever ends it. Signals that end or reload this process do not concern it.

    Args:
        work: what to do. It can ask this process for things, and tell it things.
        answer: does what the child asks for, and takes what it tells.
        alive: is called at least once a second while this process waits.

    Raises:
        ChildFailedError: there is no result. What ``answer`` raises is raised too.
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
            _be_child(work, its, parent)
        its.close()
        try:
            return _result(ours, answer, alive)
        except (EOFError, ConnectionError, pickle.UnpicklingError) as error:
            raise ChildFailedError from error
        finally:
            # It has ended, or nobody needs its result.
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            # Where this process was started with SIGCHLD ignored, the kernel has forgotten the child.
            with suppress(ChildProcessError):
                os.waitpid(child, 0)


class _Reader(io.RawIOBase):
    """What the child sends. Whoever reads shows that this process is alive."""

    def __init__(self, ours: socket.socket, alive: Callable[[], None]) -> None:
        self._socket = ours
        self._alive = alive
        self._poll = select.poll()
        self._poll.register(ours, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._alive()
        while not self._poll.poll(_EACH):
            self._alive()
        return self._socket.recv_into(buffer)


def _result(ours: socket.socket, answer: Callable[[Any], None], alive: Callable[[], None]) -> Any:
    with io.BufferedReader(_Reader(ours, alive)) as file:
        while True:
            kind, what = pickle.load(file)  # noqa: S301 - our own child has written it
            if kind == _RESULT:
                return what
            answer(what)
            if kind == _ASK:
                ours.sendall(_DONE)


def _be_child(work: Callable[[Parent], object], its: socket.socket, parent: int) -> None:
    """Do the work, and end. Nothing of the parent's is cleaned up here."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            ends = Parent(its)
            ends.send(_RESULT, work(ends))
    finally:
        os._exit(0)
