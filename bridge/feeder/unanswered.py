"""The changes that the root side has been told of, and has not yet on disk."""

from __future__ import annotations

import itertools
from typing import Generic, TypeVar

MOST = 32
"""Changes that may be unanswered. More stay where they are safer: in the broker, or with the sender."""

T = TypeVar("T")


class Unanswered(Generic[T]):
    """What belongs to each change until the root side answers it, such as the broker's number of the message."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._held: dict[int, T] = {}

    @property
    def is_full(self) -> bool:
        """Whether no other change may be told now."""
        return len(self._held) >= MOST

    def next(self) -> int:
        """Return the id of the next change. No id comes twice in the life of the process."""
        return next(self._numbers)

    def hold(self, number: int, what: T) -> None:
        """Keep ``what`` until the change with this id is answered."""
        self._held[number] = what

    def take(self, number: int) -> T | None:
        """Return what was kept for a change that is answered now; None: nothing, as :meth:`forget` came first."""
        return self._held.pop(number, None)

    def forget(self) -> None:
        """Keep nothing any more: the connection that the changes came from is gone, and answers to them are late."""
        self._held.clear()
