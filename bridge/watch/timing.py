"""When the daemon runs: at the end of a burst of changes, and again some time after a run that failed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

QUIET = 0.03
"""Seconds without a further change that end a burst."""
BRIEFLY_QUIET = 0.005
"""The same, for as long as the burst touches no more files than one vassal has."""
IMPATIENCE = 0.5
"""Seconds after which the daemon acts on a burst that has not ended."""
FILES_OF_ONE_VASSAL = 2
"""A vassal's config and its rule file."""
RETRY_FIRST, RETRY_LAST = 5.0, 300.0
"""Seconds before the first retry, and the most between two: no event says when a port becomes free."""


class Debounce:
    """Collects the paths of one burst of changes, and decides when the burst is over."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._paths: set[str] | None = set()
        self._first: float | None = None
        self._last = 0.0

    def touch(self, paths: Iterable[str] | None) -> None:
        """Add changed paths to the burst; None: any path may have changed."""
        self._paths = None if paths is None or self._paths is None else self._paths.union(paths)
        self._last = self._clock()
        if self._first is None:
            self._first = self._last

    def due(self) -> float | None:
        """Return when the burst is over, on the clock; None: no change is waiting."""
        if self._first is None:
            return None
        is_small = self._paths is not None and len(self._paths) <= FILES_OF_ONE_VASSAL
        return min(self._last + (BRIEFLY_QUIET if is_small else QUIET), self._first + IMPATIENCE)

    def is_due(self) -> bool:
        """Return whether a burst is over."""
        due = self.due()
        return due is not None and self._clock() >= due

    def take(self) -> frozenset[str] | None:
        """Return the paths of the burst, None for any path, and begin a new burst."""
        paths, self._paths, self._first = self._paths, set(), None
        return None if paths is None else frozenset(paths)


class Backoff:
    """Puts off the next retry twice as long after each failure, up to ``RETRY_LAST``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._delay = RETRY_FIRST
        self._due: float | None = None

    def fail(self) -> None:
        """Schedule a retry, unless one is scheduled already."""
        if self._due is None:
            self._due = self._clock() + self._delay
            self._delay = min(self._delay * 2, RETRY_LAST)

    def succeed(self) -> None:
        """Cancel the retry; the next failure waits the shortest time again."""
        self._due = None
        self._delay = RETRY_FIRST

    def due(self) -> float | None:
        """Return when to retry, on the clock; None: no retry is scheduled."""
        return self._due

    def take(self) -> bool:
        """Return whether the time of the retry has come, and if so forget that it was scheduled."""
        if self._due is None or self._clock() < self._due:
            return False
        self._due = None
        return True
