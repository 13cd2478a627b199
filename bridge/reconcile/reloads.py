"""Tell running vassals that their configs changed, but none that has only just started.

A uWSGI that gets SIGHUP while it starts is killed by it or ignores it, or its workers do not hear of it. Then the
reload takes a minute (``worker-reload-mercy``). It starts at each reload too: once its workers have ended, it executes
itself.
"""

from __future__ import annotations

import time
from signal import SIGHUP
from typing import TYPE_CHECKING

from bridge.host.signals import is_caught

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from bridge.systemd.protocol import Manager

STEADY = 1.0
"""Seconds that a service is left alone after it has said that it is ready. uWSGI says so before its workers start."""
MUTE = 5.0
"""Seconds after which a service that is still starting counts as one that cannot say that it is ready."""
DEAF = 65.0
"""Seconds after a reload for which one that does not catch SIGHUP counts as starting. Its workers may take a minute."""
_AGAIN = 1.0
"""Seconds after which a run looks again, at most, whether a service is ready."""
_SOON = 0.1
"""The same, for one that is executing itself."""


class Reloads:
    """Tells services to reload."""

    def __init__(
        self,
        manager: Manager,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        is_caught: Callable[[int, int], bool] = is_caught,
    ) -> None:
        self._manager = manager
        self._is_caught = is_caught
        self._clock = clock
        self._sleep = sleep

    def tell(self, services: Collection[str]) -> dict[str, float]:
        """Tell services to reload; return those that are too young, and in how many seconds to look at each again.

        Raises:
            BridgeError: the manager does not answer.
        """
        states = self._manager.units(services) if services else {}
        active = {unit: state.active for unit, state in states.items()}
        young = self._young(active)
        # A chroot or a wrapper can hide $NOTIFY_SOCKET from uWSGI. Such a vassal works, and is "starting" for ever.
        mute = {unit for unit in services if active.get(unit) == "activating"} - young.keys()
        if ready := [unit for unit in services if unit not in mute and unit not in young]:
            self._manager.reload_units(ready)
        if mute:
            self._manager.hang_up(sorted(mute))
        return {unit: min(left, _AGAIN) for unit, left in young.items()}

    def tell_in_time(self, young: Mapping[str, float]) -> None:
        """Tell services that are too young, once they are not.

        Raises:
            BridgeError: the manager does not answer.
        """
        deadline = self._clock() + MUTE + STEADY
        while young and self._clock() < deadline:
            self._sleep(min(young.values()))
            young = self.tell(young)
        # What does not catch the signal by now may never do, and nobody comes back to it.
        if young:
            self._manager.reload_units(sorted(young))

    def _young(self, active: Mapping[str, str]) -> dict[str, float]:
        """Return for how many seconds more each service is too young."""
        up = [unit for unit, state in active.items() if state in {"active", "activating"}]
        ready = self._manager.properties(up, "Unit", "ActiveEnterTimestampMonotonic") if up else {}
        began = self._manager.properties(up, "Unit", "InactiveExitTimestampMonotonic") if up else {}
        left = {
            unit: MUTE + began.get(unit, 0) / 1e6 - self._clock()
            if active[unit] == "activating"
            else STEADY + ready.get(unit, 0) / 1e6 - self._clock()
            for unit in up
        }
        young = {unit: seconds for unit, seconds in left.items() if seconds > 0}
        return young | self._deaf([unit for unit in up if active[unit] == "active" and unit not in young])

    def _deaf(self, up: Sequence[str]) -> dict[str, float]:
        """Return which services execute themselves at this moment: nothing else than their signals shows it."""
        pids = self._manager.properties(up, "Service", "MainPID") if up else {}
        deaf = [unit for unit in up if not self._is_caught(pids.get(unit, 0), SIGHUP)]
        changed = self._manager.properties(deaf, "Unit", "StateChangeTimestampMonotonic") if deaf else {}
        return {unit: _SOON for unit in deaf if changed.get(unit, 0) / 1e6 + DEAF > self._clock()}
