"""When a database is asked again."""

from __future__ import annotations

QUIET, IMPATIENCE = 0.05, 0.3
"""Seconds without a further hint of a change that end a burst, and the most from its first one to the question."""
DOUBT = 1.0
"""Seconds after which an empty answer is asked for again."""


def pause_in_burst(first: float, now: float) -> float:
    """Return how many seconds to wait for more, after a hint of a change.

    Args:
        first: when the burst's first hint came, by ``time.monotonic()``.
        now: the time, by the same clock.
    """
    return max(0.0, min(QUIET, first + IMPATIENCE - now))
