"""Does work in a child process, on another processor, while this one goes on."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

_DONE = 0


def begin(work: Callable[[], Result]) -> Callable[[], Result]:
    """Begin work that only reads, and return what waits for its result. It is asked once.

    If the child fails in any way, the work is done in this process, and raises here what it raises.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        child = os.fork()
    except OSError:
        os.close(reader)
        os.close(writer)
        return work
    if child == 0:
        status = 1
        try:
            import pickle

            os.close(reader)
            with open(writer, "wb") as file:
                pickle.dump(work(), file, pickle.HIGHEST_PROTOCOL)
            status = _DONE
        finally:
            os._exit(status)
    os.close(writer)
    return partial(_result, reader, child, work)


def _result(reader: int, child: int, work: Callable[[], Result]) -> Result:
    with open(reader, "rb") as file:
        packed = file.read()
    _, status = os.waitpid(child, 0)
    if status != _DONE:
        return work()
    import pickle

    found: Result = pickle.loads(packed)  # noqa: S301 - our own child has written it
    return found
