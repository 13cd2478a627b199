"""Stop units without waiting long for an app that does not end.

A run waits a moment for all units that it stops. What has not ended then is late: the run goes on without these
vassals, and they are dealt with in a second step. An app may ignore the signal, or extend its time for ever
(``EXTEND_TIMEOUT_USEC``). So a late one is killed after its grace. Nobody else's socket waits for that.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from bridge.diagnostics import Diagnostic
from bridge.model.unit_names import label_of, pause_of
from bridge.progress import stage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from bridge.progress import Progress
    from bridge.reconcile.reloads import DeafService
    from bridge.reconcile.run import PlannedRun
    from bridge.systemd.protocol import Manager

PATIENCE, PATIENCE_EACH = 2.0, 0.01
"""Seconds that a run waits for the units that it stops, and more for each of them: a machine has few processors."""
GRACE, GRACE_EACH = 10.0, 0.02
"""Seconds after which a vassal that was told to stop is killed, and more for each unit that was to stop with it."""
KILL_PATIENCE = 5.0
"""Seconds to wait for the end of what was killed; the kernel may not be able to end it."""
MEMORY = 60.0
"""Seconds for which nobody waits again for a vassal that was late."""
AGAIN = 5.0
"""Seconds after which a run is made again for a vassal that still has not ended."""
SOON, SOON_SHARE = 1.0, 0.1
"""Seconds after which it is tried again to tell a vassal to reload, or, if longer, this share of the time so far."""
_STEP = 0.5
"""Seconds after which it is asked again what has ended."""


class LateVassal(NamedTuple):
    """A vassal that has not ended, or could not be told of its new config yet: another run must take it up."""

    label: str
    due: float
    """When to run for it again, by ``time.monotonic()``, unless it ends before."""


class LateVassals:
    """The vassals that have not ended, or do not take the signal to reload, for as long as this process lives."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._due: dict[str, float] = {}
        self._slow: dict[str, float] = {}
        self._waiting: dict[str, str] = {}
        """The vassals that get the address of a late one, each with its label."""
        self.killed: set[str] = set()
        """Labels of vassals that did not even end when they were killed."""
        self.deaf: dict[str, DeafService] = {}
        """Services that are to reload and do not catch the signal, by unit."""

    def add(self, labels: Iterable[str], due: float) -> None:
        """Note that vassals are to be killed at this time on the clock, unless they were to be killed before."""
        for label in labels:
            self._due.setdefault(label, due)
            self._slow[label] = self.clock() + MEMORY

    def have_wait(self, waiting: Mapping[str, str]) -> None:
        """Note which vassals get the addresses of late ones: label by label."""
        self._waiting = dict(waiting)

    def drop(self, labels: Iterable[str]) -> None:
        """Note that vassals have ended."""
        for label in labels:
            self._due.pop(label, None)
            self.killed.discard(label)

    def retain(self, labels: Collection[str]) -> None:
        """Forget all vassals but these: nothing is left to do for the others."""
        self.drop(self._due.keys() - labels)

    def resist(self, labels: Iterable[str]) -> None:
        """Note that vassals were killed and have not ended: they are killed again some time later."""
        for label in labels:
            self._due[label] = self._slow[label] = self.clock() + MEMORY
            self.killed.add(label)

    @property
    def due(self) -> dict[str, float]:
        """When each is to be killed, on the clock, by label."""
        return dict(self._due)

    def by_key(self, done: PlannedRun, before: Mapping[str, LateVassal]) -> dict[str, LateVassal]:
        """Return the late vassals after a run by key; ``before`` are those that were late before it."""
        keys = {late.label: key for key, late in before.items()}
        keys |= {one.label: one.key for one in done.actual.installed.values()}
        now = self.clock()

        def is_over(label: str, due: float) -> bool:
            # One that came due while others were run for is next.
            return due <= now and done.scope.covers(keys.get(label, ""))

        again = {label: now + AGAIN if is_over(label, due) else due for label, due in self._due.items()}
        of = {label: label for label in again} | {label: late for label, late in self._waiting.items() if late in again}
        found = {keys[label]: LateVassal(late, again[late]) for label, late in of.items() if label in keys}
        # One whose config is refused goes on as it is: what ends that has it processed.
        deferred = done.deferred - done.conflicts.kept
        self.deaf = {unit: one for unit, one in self.deaf.items() if label_of(unit) in deferred}
        deaf = {label_of(unit): one.since for unit, one in self.deaf.items()}
        for label in deferred & keys.keys():
            # Runs for others must not put it off for ever.
            known = before.get(keys[label])
            soon = max(SOON, SOON_SHARE * (now - deaf.get(label, now)))
            due = now + soon if known is None or is_over(label, known.due) else known.due
            found.setdefault(keys[label], LateVassal(label, due))
        return found

    def overdue(self) -> set[str]:
        """Return the labels of those that are to be killed now."""
        now = self.clock()
        return {label for label, due in self._due.items() if now >= due}

    def is_slow(self, label: str) -> bool:
        """Tell whether a vassal was late a short time ago."""
        return label in self._due or self._slow.get(label, 0.0) > self.clock()


class Stopper:
    """Stops units for one run."""

    def __init__(self, manager: Manager, progress: Progress, late: LateVassals) -> None:
        self._manager = manager
        self._progress = progress
        self._late = late

    def stop(self, units: Collection[str], *, down: Collection[str] = ()) -> frozenset[str]:
        """Stop units; return the labels of the vassals that are late. ``down`` are those that seem to be down.

        Raises:
            BridgeError: the manager refuses.
        """
        if not units:
            return frozenset()
        began = self._late.clock()
        due = self._late.due
        if overdue := self._late.overdue() & set(map(label_of, units)):
            self._kill(units, overdue)
        if slow := [unit for unit in units if self._late.is_slow(label_of(unit)) and label_of(unit) not in due]:
            self._manager.stop(slow, timeout=0.0, progress=stage(self._progress, "stopping"))
        if prompt := [unit for unit in units if not self._late.is_slow(label_of(unit))]:
            patience = PATIENCE + PATIENCE_EACH * len(prompt)
            self._manager.stop(prompt, timeout=patience, progress=stage(self._progress, "stopping"), down=down)
        left = self._not_down(units)
        # A service that failed just before it was told to stop begins its pause after that, and its stop waits for it.
        if pauses := self._pauses_of(left):
            self._manager.stop([*left, *pauses], timeout=_STEP, progress=stage(self._progress, "ending pauses"))
            left = self._not_down(left)
        late = frozenset(map(label_of, left))
        self._late.drop({label_of(unit) for unit in units} - late)
        self._late.add(late, began + GRACE + GRACE_EACH * len(units))
        return late

    def finish(self, units: Collection[str], labels: Collection[str]) -> frozenset[str]:
        """Wait until late vassals end, and kill them after their grace; return those that even that did not end.

        Raises:
            BridgeError: the manager refuses.
        """
        left = self._not_down([unit for unit in units if label_of(unit) in labels])
        deadline = max((self._late.due.get(label, 0.0) for label in labels), default=0.0)
        while left and (rest := deadline - self._late.clock()) > 0:
            self._manager.stop(left, timeout=rest, progress=stage(self._progress, "waiting for late vassals"))
            left = self._not_down(left)
        if left:
            self._kill(left, set(map(label_of, left)))
        late = frozenset(map(label_of, self._not_down(left)))
        self._late.drop(set(labels) - late)
        return late

    def _kill(self, units: Iterable[str], labels: Collection[str]) -> None:
        """Kill services, and end the pause that follows: it would count as that of a failure."""
        left = [unit for unit in units if label_of(unit) in labels and unit.endswith(".service")]
        self._manager.kill(left)
        deadline = self._late.clock() + KILL_PATIENCE
        while left and self._late.clock() < deadline:
            self._manager.stop(
                [*left, *self._pauses_of(left)], timeout=_STEP, progress=stage(self._progress, "killing late vassals")
            )
            left = self._not_down(left)
        self._late.resist(map(label_of, left))

    def _pauses_of(self, units: Iterable[str]) -> list[str]:
        return self._not_down([pause_of(unit) for unit in units if unit.endswith(".service")])

    def _not_down(self, units: Collection[str]) -> list[str]:
        states = self._manager.units(units) if units else {}
        return [unit for unit in units if unit in states and not states[unit].is_down]


def unkillable(done: PlannedRun, killed: Collection[str]) -> tuple[Diagnostic, ...]:
    """Return a problem for each vassal of a run that was killed and has not ended."""
    return tuple(
        Diagnostic(
            code="not-stopped",
            message=f"{one.service} was killed, and a process of it does not end; all else goes on without it",
            hint="a process in state D of ps waits for a device or a network file system",
            path=one.config,
            vassal=one.name,
            config=one.config,
            key=one.key,
        )
        for label, one in done.actual.installed.items()
        if label in done.late and label in killed
    )
