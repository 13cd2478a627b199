"""At most one journal entry a second for each vassal that has more to tell: what comes meanwhile is counted."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from bridge.lifecycle.events import LifecycleEvent, Priority
from bridge.model.change import Change

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.diagnostics import Diagnostic

    Entry: TypeAlias = "LifecycleEvent | Change | Diagnostic"

BURST = 10
"""Entries of one vassal that are written at once: more than a whole life of it has."""
PERIOD = 1.0
"""Seconds between two entries of a vassal after such a burst."""
_REMEMBERED = 1000
"""Vassals from which on those are forgotten that have been quiet for long."""


class Coalescer:
    """Passes entries on, each at once or, if its vassal has too many, summed up with those around it."""

    def __init__(self, tell: Callable[[Entry], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._recent: OrderedDict[str, float] = OrderedDict()
        """When each vassal may tell a whole burst again, in the order of their latest entries.

        One number each, for thousands tell something at once when the daemon starts.
        """
        self._held: dict[str, dict[str, tuple[Entry, int]]] = {}
        """The latest entry of each kind that waits, and how many there were, in the order of the latest."""
        self._waiting: dict[str, float] = {}
        """When the next entry of each vassal that waits may be written."""

    def add(self, vassal: str, entry: Entry) -> None:
        """Pass an entry of a vassal on, or hold it."""
        now = self._clock()
        self._forget_quiet(now)
        again = max(self._recent.get(vassal, now), now)
        if vassal not in self._waiting and again - now <= (BURST - 1) * PERIOD:
            self._told(vassal, again + PERIOD)
            self._tell(entry)
            return
        held = self._held.setdefault(vassal, {})
        kind = _kind(entry)
        _, number = held.pop(kind, (entry, 0))
        held[kind] = (entry, number + 1)
        self._waiting.setdefault(vassal, now + PERIOD)

    def due(self) -> float | None:
        """Return when to call :meth:`flush`, on the clock."""
        return min(self._waiting.values(), default=None)

    def flush(self, *, at_once: bool = False) -> None:
        """Pass on what has waited long enough, or ``at_once`` all that waits: one entry for each vassal."""
        now = self._clock()
        for vassal in [one for one, due in self._waiting.items() if at_once or now >= due]:
            del self._waiting[vassal]
            self._told(vassal, now + BURST * PERIOD)
            self._tell(summed_up(self._held.pop(vassal)))

    def _told(self, vassal: str, again: float) -> None:
        self._recent[vassal] = again
        self._recent.move_to_end(vassal)

    def _forget_quiet(self, now: float) -> None:
        # Thousands may come at once: this looks at those that it forgets, and at one more.
        while len(self._recent) >= _REMEMBERED:
            vassal, again = next(iter(self._recent.items()))
            if vassal in self._waiting or again > now:
                break
            del self._recent[vassal]


def summed_up(held: dict[str, tuple[Entry, int]]) -> Entry:
    """Return the most severe of these entries, and the latest of these, with the numbers of all."""
    kinds = list(held)
    chosen = min(reversed(kinds), key=lambda kind: _severity(held[kind][0]))
    entry, number = held[chosen]
    times = f" (at least {number} times)" if number > 1 else ""
    others = ", ".join(f"{kind} ({held[kind][1]})" for kind in kinds if kind != chosen)
    note = times + (f"; in the same second: {others}" if others else "")
    if isinstance(entry, LifecycleEvent):
        return replace(entry, text=entry.text + note)
    if isinstance(entry, Change):
        return replace(entry, detail=entry.detail + note)
    return replace(entry, message=entry.message + note)


def _kind(entry: Entry) -> str:
    if isinstance(entry, LifecycleEvent):
        return str(entry.event)
    return str(entry.verb) if isinstance(entry, Change) else entry.code


def _severity(entry: Entry) -> int:
    if isinstance(entry, LifecycleEvent):
        return entry.priority
    if isinstance(entry, Change):
        return Priority.NOTICE
    return Priority.ERROR
