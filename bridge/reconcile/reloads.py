"""Tell running vassals that their configs changed, but none that has only just started.

A uWSGI that gets SIGHUP while it starts is killed by it, or its workers do not hear of it. Then the reload takes a
minute (``worker-reload-mercy``).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from bridge.systemd.protocol import Manager

STEADY = 1.0
"""Seconds that a service is left alone after it has said that it is ready. uWSGI says so before its workers start."""
MUTE = 5.0
"""Seconds after which a service that is still starting counts as one that cannot say that it is ready."""
_AGAIN = 1.0
"""Seconds after which a run looks again, at most, whether a service is ready."""


class Reloads:
    """Tells services to reload."""

    def __init__(
        self,
        manager: Manager,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._manager = manager
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
        return {unit: seconds for unit, seconds in left.items() if seconds > 0}
