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
RETURN = 0.2
"""The same, where a file of a running vassal is gone: a tool may be about to replace it, on a busy machine."""
IMPATIENCE = 0.5
"""Seconds after which the daemon acts on a burst that has not ended."""
FILES_OF_ONE_VASSAL = 2
"""A vassal's config and its rule file."""
RETRY_FIRST, RETRY_LAST = 5.0, 300.0
"""Seconds before the first retry, and the most between two: no event says when a port becomes free."""

SHARE, ALLOWANCE, LONGEST = 0.1, 1.0, 30.0
"""Part of the time for runs of all vassals, seconds of them that are free, and the most seconds to put one off."""


class Debounce:
    """Collects the paths of one burst of changes, and decides when the burst is over."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._paths: set[str] = set()
        self._is_whole = False
        self._first: float | None = None
        self._last = 0.0
        self.awaits_return = False
        """Whether a file that is gone may come back."""

    def touch(self, paths: Iterable[str] | None) -> None:
        """Add changed paths to the burst; None: any path may have changed."""
        self._is_whole = self._is_whole or paths is None
        self._paths |= set(paths or ())
        self._last = self._clock()
        self.awaits_return = False
        if self._first is None:
            self._first = self._last

    def due(self) -> float | None:
        """Return when the burst is over, on the clock; None: no change is waiting."""
        if self._first is None:
            return None
        is_small = not self._is_whole and len(self._paths) <= FILES_OF_ONE_VASSAL
        quiet = RETURN if self.awaits_return else BRIEFLY_QUIET if is_small else QUIET
        return min(self._last + quiet, self._first + IMPATIENCE)

    def await_return(self) -> None:
        """Put the end of the burst off, until the next change: a file that is gone may come back."""
        self.awaits_return = True

    def is_due(self) -> bool:
        """Return whether a burst is over."""
        due = self.due()
        return due is not None and self._clock() >= due

    def take(self) -> frozenset[str] | None:
        """Return the paths of the burst, None for any path, and begin a new burst."""
        paths = None if self._is_whole else self.known
        self._paths, self._is_whole, self._first = set(), False, None
        return paths

    @property
    def known(self) -> frozenset[str]:
        """The paths of the burst that are known, though any may have changed."""
        return frozenset(self._paths)


class WholeRuns:
    """Has runs of all vassals that changes ask for take a tenth of the time at most; see ``SHARE``.

    A tenant can make changes of which nobody can tell whom they concern, such as a folder that comes and goes. The
    runs for these are put off; runs for vassals that are known to have changed are not.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._debt = 0.0
        """Seconds that such runs took lately."""
        self._at = clock()
        self._due: float | None = None

    def ran(self, seconds: float) -> None:
        """Note how long a run of all vassals took. It did what was put off."""
        self._debt = self._left() + seconds
        self._due = None

    def admit(self) -> bool:
        """Return whether a run may be made now; if not, it is put off."""
        if self._due is not None:
            return False
        if (excess := self._left() - ALLOWANCE) <= 0:
            return True
        self._due = self._clock() + min(excess / SHARE, LONGEST)
        return False

    def due(self) -> float | None:
        """Return when to make the run that was put off, on the clock."""
        return self._due

    def take(self) -> bool:
        """Return whether the time of that run has come, and if so forget that it was put off."""
        if self._due is None or self._clock() < self._due:
            return False
        self._due = None
        return True

    def _left(self) -> float:
        now = self._clock()
        self._debt, self._at = max(0.0, self._debt - (now - self._at) * SHARE), now
        return self._debt


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
