"""When the daemon runs: at the end of a burst of changes, and again some time after a run that failed."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

QUIET = 0.03
"""Seconds without a further change that end a burst."""
BRIEFLY_QUIET = 0.005
"""The same, for as long as the burst touches no more files than one vassal has."""
IMPATIENCE = 0.5
"""Seconds after which the daemon acts on a burst that has not ended."""
SETTLED = 0.2
"""The same, where a file was held back, or is gone and may come back, or others may go. A tool can be slow."""
HELD = 30.0
"""The most seconds for which a file is held back that changes again and again."""
FILES_OF_ONE_VASSAL = 2
"""A vassal's config and its rule file."""
RETRY_FIRST, RETRY_LAST = 5.0, 300.0
"""Seconds before the first retry, and the most between two: no event says when a port becomes free."""

SHARE, ALLOWANCE, LONGEST = 0.1, 1.0, 30.0
"""Part of the time for runs of all vassals, seconds of them that are free, and the most seconds to put one off."""


class Burst(NamedTuple):
    """What changed."""

    paths: frozenset[str]
    is_whole: bool
    """Whether any other path may have changed too."""


NO_BURST = Burst(frozenset(), is_whole=False)


class _Changed(NamedTuple):
    """A path that changed: when first and last, and how often."""

    first: float
    last: float
    times: int = 1

    def again(self, now: float) -> _Changed:
        return self._replace(last=now, times=self.times + 1)


class Debounce:
    """Collects the paths of one burst of changes, and decides when the burst is over.

    If a burst does not end, files that change again and again are held back. Each is part of a later burst.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._paths: dict[str, _Changed] = {}
        self._held: dict[str, _Changed] = {}
        self._is_whole = False
        self._first: float | None = None
        self._last = 0.0
        self.awaits_return = False
        """Whether a file that is gone may come back, or others may go."""

    def touch(self, paths: Iterable[str] | None) -> None:
        """Add changed paths to the burst; None: any path may have changed."""
        now = self._clock()
        self._is_whole = self._is_whole or paths is None
        is_new = paths is None
        for path in paths or ():
            if held := self._held.get(path):
                self._held[path] = held.again(now)
            else:
                before = self._paths.get(path)
                self._paths[path] = before.again(now) if before else _Changed(now, now)
                is_new = True
        if is_new:
            self._last = now
            if self._first is None:
                self._first = now

    def due(self) -> float | None:
        """Return when the burst is over, on the clock; None: no change is waiting."""
        ends = [_released(held) for held in self._held.values()]
        end = self._end()
        return min([*ends, *([] if end == math.inf else [end])], default=None)

    def is_due(self) -> bool:
        """Return whether a burst is over."""
        due = self.due()
        return due is not None and self._clock() >= due

    def await_return(self) -> None:
        """Put the end of the burst off until nothing of it has changed for a while."""
        self.awaits_return = True

    def hold_unsettled(self) -> None:
        """If the burst has not ended, hold those files back that changed several times, and a moment ago."""
        now = self._clock()
        if now >= self._last + self._quiet() or now < self._end():
            return
        for path, changed in [*self._paths.items()]:
            if changed.times > 1 and now < changed.last + SETTLED:
                self._held[path] = self._paths.pop(path)
        if not (self._paths or self._is_whole):
            self._begin()

    def take(self) -> Burst:
        """Return the burst, with the paths that need not be held back any longer, and begin a new one.

        If only such paths are due, the burst goes on.
        """
        now = self._clock()
        ready = frozenset(path for path, held in self._held.items() if now >= _released(held))
        for path in ready:
            del self._held[path]
        if ready and now < self._end():
            return Burst(ready, is_whole=False)
        burst = Burst(self.known | ready, self._is_whole)
        self._begin()
        return burst

    @property
    def known(self) -> frozenset[str]:
        """The paths of the burst so far."""
        return frozenset(self._paths)

    @property
    def held(self) -> frozenset[str]:
        """The paths that are held back."""
        return frozenset(self._held)

    def _begin(self) -> None:
        self._paths, self._is_whole, self._first, self.awaits_return = {}, False, None, False

    def _end(self) -> float:
        """Return when the burst is over; at no time if there is none."""
        return math.inf if self._first is None else min(self._last + self._quiet(), self._first + IMPATIENCE)

    def _quiet(self) -> float:
        if self.awaits_return:
            return SETTLED
        is_small = not self._is_whole and len(self._paths) <= FILES_OF_ONE_VASSAL
        return BRIEFLY_QUIET if is_small else QUIET


def _released(held: _Changed) -> float:
    """Return when a path need not be held back any longer."""
    return min(held.last + SETTLED, held.first + HELD)


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
