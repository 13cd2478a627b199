"""When to run again for vassals that had not ended when their run was over."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bridge.model.unit_names import label_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.model.unit import UnitChange
    from bridge.reconcile.stops import LateVassal


class LateRuns:
    """Finds the late vassals that have ended, or whose time is over."""

    def __init__(self, late: Callable[[], Mapping[str, LateVassal]]) -> None:
        """``late`` returns the vassals that have not ended, by key."""
        self._late = late
        self._ended: set[str] = set()

    def unit_changed(self, change: UnitChange) -> None:
        """Note the end of a late vassal."""
        if change.values.get("ActiveState") in {"inactive", "failed"}:
            self._ended |= {key for key, one in self._late().items() if one.label == label_of(change.unit)}

    def due(self) -> float | None:
        """Return when the first run is due, by ``time.monotonic()``."""
        return 0.0 if self._ended else min((one.due for one in self._late().values()), default=None)

    def take(self) -> frozenset[str]:
        """Return the keys of the vassals to run for now."""
        ended, self._ended = self._ended, set()
        now = time.monotonic()
        return frozenset(key for key, one in self._late().items() if key in ended or now >= one.due)
