"""A limit on the signals of one unit: an app that notifies systemd in a loop causes thousands of them a second.

Beyond the limit the unit's signals are dropped unread. A second later its state must be asked for.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

SIGNALS_MAX = 60
"""Signals of one unit that are read in a second: a start has about a dozen."""
PERIOD = 1.0
"""Seconds for which signals are counted, and for which those of a unit beyond the limit are dropped."""


class FloodGate:
    """Counts the signals of each unit."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: dict[str, int] = {}
        self._counted_from = clock()
        self._closed: dict[str, float] = {}
        """When each unit beyond the limit is to be asked for its state."""

    def admit(self, unit: str) -> bool:
        """Count a signal; return whether it is to be read."""
        if unit in self._closed:
            return False
        now = self._clock()
        if now - self._counted_from >= PERIOD:
            self._counts.clear()
            self._counted_from = now
        count = self._counts[unit] = self._counts.get(unit, 0) + 1
        if count > SIGNALS_MAX:
            self._closed[unit] = now + PERIOD
            return False
        return True

    @property
    def closed(self) -> Collection[str]:
        """The units whose signals are dropped."""
        return self._closed.keys()

    def due(self) -> float | None:
        """Return when the first unit is to be asked for its state, on the clock."""
        return min(self._closed.values(), default=None)

    def take(self) -> list[str]:
        """Return the units that are to be asked now; their signals are read again."""
        if not self._closed:
            return []
        now = self._clock()
        units = [unit for unit, due in self._closed.items() if now >= due]
        for unit in units:
            del self._closed[unit]
            self._counts.pop(unit, None)
        return units
