"""Tell running vassals that their configs changed, but none that has only just started, or that loads its app.

A uWSGI that gets SIGHUP as it starts is killed by it. While it loads the app, it ignores the signal (core/uwsgi.c,
``uwsgi_setup``). A moment later its workers do not hear of it, and the reload takes a minute
(``worker-reload-mercy``). It starts at each reload too: once its workers have ended, it executes itself.
"""

from __future__ import annotations

import time
from signal import SIGHUP
from typing import TYPE_CHECKING, NamedTuple

from bridge.diagnostics import Diagnostic, Severity
from bridge.host.signals import Handling, handling_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence

    from bridge.reconcile.run import PlannedRun
    from bridge.systemd.protocol import Manager

STEADY = 1.0
"""Seconds that a service is left alone after it has said that it is ready. uWSGI says so before its workers start."""
MUTE = 5.0
"""Seconds after which a service that is still starting counts as one that cannot say that it is ready."""
LOADING = 600.0
"""Seconds after which a service that ignores SIGHUP counts as one that always does. To load an app can take minutes."""
EXECUTING = 5.0
"""Seconds after which one that SIGHUP would end counts as one that it always ends. Its next start reads the config."""
_PATIENCE = {Handling.IGNORED: LOADING, Handling.DEFAULT: EXECUTING}
_AGAIN = 1.0
"""Seconds after which a run looks again, at most, whether a service is ready."""
_SOON = 0.1
"""The same, for one that does not catch SIGHUP."""


class DeafService(NamedTuple):
    """A service that does not catch SIGHUP now."""

    pid: int
    """Its main process."""
    handling: Handling
    since: float
    """When it was first found so, by ``time.monotonic()``."""


class Reloads:
    """Tells services to reload."""

    def __init__(
        self,
        manager: Manager,
        deaf: MutableMapping[str, DeafService] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        handling: Callable[[int, int], Handling] = handling_of,
    ) -> None:
        """``deaf`` has the services that were deaf in earlier runs, and is kept for later ones."""
        self._manager = manager
        self._deaf = {} if deaf is None else deaf
        self._handling = handling
        self._clock = clock
        self._sleep = sleep

    def tell(self, services: Collection[str]) -> dict[str, float]:
        """Tell services to reload; return those that cannot be told yet, and in how many seconds to look at each again.

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

    def tell_in_time(self, young: Mapping[str, float]) -> frozenset[str]:
        """Tell services that could not be told yet; return those that still cannot, after some seconds.

        Raises:
            BridgeError: the manager does not answer.
        """
        deadline = self._clock() + MUTE + STEADY
        while young and self._clock() < deadline:
            self._sleep(min(young.values()))
            young = self.tell(young)
        return frozenset(young)

    def _young(self, active: Mapping[str, str]) -> dict[str, float]:
        """Return which services cannot be told yet, and for how many seconds more at least."""
        up = [unit for unit, state in active.items() if state in {"active", "activating", "reloading"}]
        ready = self._manager.properties(up, "Unit", "ActiveEnterTimestampMonotonic") if up else {}
        began = self._manager.properties(up, "Unit", "InactiveExitTimestampMonotonic") if up else {}
        left = {
            unit: MUTE + began.get(unit, 0) / 1e6 - self._clock()
            if active[unit] == "activating"
            else STEADY + ready.get(unit, 0) / 1e6 - self._clock()
            for unit in up
        }
        young = {unit: seconds for unit, seconds in left.items() if seconds > 0}
        return young | self._hearing_later([unit for unit in up if unit not in young])

    def _hearing_later(self, up: Sequence[str]) -> dict[str, float]:
        """Return which services cannot take SIGHUP now, but may later: nothing else shows that uWSGI loads its app."""
        pids = self._manager.properties(up, "Service", "MainPID") if up else {}
        found = {}
        for unit in up:
            one = DeafService(pids.get(unit, 0), self._handling(pids.get(unit, 0), SIGHUP), self._clock())
            before = self._deaf.pop(unit, None)
            since = before.since if before and before[:2] == one[:2] else one.since
            if one.since - since < _PATIENCE.get(one.handling, 0.0):
                self._deaf[unit] = one._replace(since=since)
                found[unit] = _SOON
        return found


def untold(done: PlannedRun) -> tuple[Diagnostic, ...]:
    """Return a warning for each vassal that could not be told of its new config, if no other run follows by itself."""
    if not done.context.waits_for_late:
        return ()
    return tuple(
        one.vassal.problem(
            "not-reloaded",
            "it ignores the signal to reload, as uWSGI does while it loads its app; its new config is not in force yet",
            f"sync again once it is up; if it always ignores the signal: systemctl restart '{one.vassal.service}'",
            severity=Severity.WARNING,
        )
        for one in done.conflicts.accepted
        if one.vassal.label in done.deferred
    )
