"""How long the on-demand command may take for the vassals of one tenant.

A tenant can make the admin's command wait, as with a FIFO that it reads. So what a tenant's commands take beyond the
usual is counted, and once it is too much, his vassals are not asked about for a while. Nobody else's are put off.
"""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

USUAL = 1.0
"""Seconds that one command may always take."""
MOST = 4.0
"""Seconds beyond that which all commands for one tenant may take."""
REFILL = 1 / 60
"""Seconds of these that a tenant gets back in each second."""


class Patience:
    """Counts the slowness of each tenant's commands, for as long as this process lives."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[int, tuple[float, float]] = {}
        """What each tenant has left, and when that was so."""
        self._lock = Lock()

    def limit(self, tenant: int) -> float:
        """Return how many seconds a command may take; 0: it must not be run."""
        with self._lock:
            left = self._now(tenant)
        return USUAL + left if left > 0 else 0.0

    def charge(self, tenant: int, seconds: float) -> None:
        """Count a command that took so long."""
        with self._lock:
            left = self._now(tenant) - max(0.0, seconds - USUAL)
            if left < MOST:
                self._left[tenant] = (left, self._clock())
            else:
                self._left.pop(tenant, None)

    def _now(self, tenant: int) -> float:
        left, at = self._left.get(tenant, (MOST, 0.0))
        return min(MOST, left + (self._clock() - at) * REFILL)
