"""Memory of a process that lives long and seldom has much to do."""

from __future__ import annotations

import gc
import marshal
from contextlib import suppress
from typing import Any, TypeVar

Plain = TypeVar("Plain")


def copied(value: Plain) -> Plain:
    """Return a copy of what is made of dicts, tuples, sets, texts and numbers only.

    What a run leaves is strewn over all memory that the run took, and Python gives none of that back. A copy is not.
    """
    plain: Any = value
    copy: Plain = marshal.loads(marshal.dumps(plain))  # noqa: S302 - packed here
    return copy


def give_back() -> None:
    """Return what is free to the kernel (malloc_trim(3))."""
    import ctypes

    gc.collect()
    with suppress(AttributeError):
        # musl has no malloc_trim.
        ctypes.CDLL(None).malloc_trim(0)
