"""Does work in a child process, on another processor, while this one goes on."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


class SecondProcess(Generic[Result]):
    """Work that only reads. If the child fails in any way, :meth:`result` does it in this process."""

    def __init__(self, work: Callable[[], Result], *, is_worth_it: bool) -> None:
        """Begin, if the work takes longer than a process takes to start. Else :meth:`result` does it."""
        self._work = work
        self._child, self._reader = _start(work) if is_worth_it else (0, -1)

    def result(self) -> Result:
        """Wait for the result; it is asked once. What the work raises in this process is raised."""
        if self._child:
            import pickle

            with open(self._reader, "rb", closefd=False) as file:
                packed = file.read()
            self.close()
            # A child that was killed has not written all of it.
            with suppress(Exception):
                found: Result = pickle.loads(packed)  # noqa: S301 - our own child has written it
                return found
        return self._work()

    def close(self) -> None:
        """End the child, if it is there. It has what this process has open, such as a lock."""
        if self._child:
            os.close(self._reader)
            end_child(self._child)
            self._child = 0


def end_child(child: int) -> None:
    """End a child process, if it has not ended yet."""
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    # Where this process was started with SIGCHLD ignored, the kernel has forgotten the child.
    with suppress(ChildProcessError):
        os.waitpid(child, 0)


def _start(work: Callable[[], object]) -> tuple[int, int]:
    """Return the child and what its result is read from; 0 if there is no child."""
    descriptors: tuple[int, ...] = ()
    try:
        reader, writer = descriptors = os.pipe2(os.O_CLOEXEC)
        child = os.fork()
    except OSError:
        for descriptor in descriptors:
            os.close(descriptor)
        return 0, -1
    if child == 0:
        try:
            import pickle

            os.close(reader)
            with open(writer, "wb") as file:
                pickle.dump(work(), file, pickle.HIGHEST_PROTOCOL)
        finally:
            os._exit(0)
    os.close(writer)
    return child, reader
