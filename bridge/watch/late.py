"""When to run again for vassals that had not ended, or could not be told of their new configs, when a run was over."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bridge.model.unit_names import label_of
from bridge.reconcile.stops import AGAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.model.unit import UnitChange
    from bridge.reconcile.stops import LateVassal


class LateRuns:
    """Finds the late vassals that have ended, or whose time is over."""

    def __init__(self, late: Callable[[], Mapping[str, LateVassal]]) -> None:
        """``late`` returns these vassals, by key."""
        self._late = late
        self._ended: set[str] = set()
        self._tried: dict[str, tuple[float, float]] = {}
        """By key when a vassal was due that was run for in time, and when it is due again if that run has failed."""

    def unit_changed(self, change: UnitChange) -> None:
        """Note the end of a late vassal."""
        if change.values.get("ActiveState") in {"inactive", "failed"}:
            self._ended |= {key for key, one in self._late().items() if one.label == label_of(change.unit)}

    def due(self) -> float | None:
        """Return when the first run is due, by ``time.monotonic()``."""
        return 0.0 if self._ended else min((self._due(key, one) for key, one in self._late().items()), default=None)

    def take(self) -> frozenset[str]:
        """Return the keys of the vassals to run for now."""
        ended, self._ended = self._ended, set()
        now = time.monotonic()
        late = self._late()
        found = frozenset(key for key, one in late.items() if key in ended or now >= self._due(key, one))
        kept = {key: tried for key, tried in self._tried.items() if key in late and late[key].due == tried[0]}
        self._tried = kept | {key: (late[key].due, now + AGAIN) for key in found if late[key].due <= now}
        return found

    def _due(self, key: str, one: LateVassal) -> float:
        """Return when to run for a vassal. A run that ended well has noted another time; one that failed has not."""
        before, again = self._tried.get(key, (None, 0.0))
        return max(one.due, again) if before == one.due else one.due
