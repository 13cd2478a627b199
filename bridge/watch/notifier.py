"""Report what happens to the vassals, what each run changed, and each problem once."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bridge.diagnostics import bounded, count, errors
from bridge.lifecycle.events import Event, LifecycleEvent
from bridge.lifecycle.journal import tell, tell_run
from bridge.lifecycle.tracker import LifecycleTracker
from bridge.model.change import Change
from bridge.model.unit_names import PAUSE_PREFIX, label_of, pause_of, vassal_unit
from bridge.watch.coalesce import Coalescer
from bridge.watch.terminal import print_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from bridge.diagnostics import Diagnostic
    from bridge.model.unit import UnitChange, UnitState
    from bridge.reconcile.run import PlannedRun


class Notifier:
    """Writes events, changes and problems to the journal and to a terminal; a problem that stays is not repeated."""

    def __init__(
        self,
        *,
        user_manager: bool,
        pause: Callable[[str], float | None],
        is_foreign: Callable[[str], bool] = lambda _: False,
        obstacle: Callable[[str], str] = lambda _: "",
    ) -> None:
        """Start with no vassals.

        Args:
            user_manager: whether the units are those of a user's service manager.
            pause: returns, by a vassal's label, how many seconds its pause after a failure lasts, if one is known.
            is_foreign: returns, by the label of an unknown vassal, whether its units are not this configuration's.
            obstacle: returns, by a vassal's service, why systemd cannot start it, or an empty text.
        """
        self._user_manager = user_manager
        self._is_foreign = is_foreign
        self._pause = pause
        self._obstacle = obstacle
        self._tracker = LifecycleTracker(now=time.monotonic_ns() // 1000)
        self._throttled: dict[str, LifecycleEvent] = {}
        """``throttled`` events by the unit of the pause; each is reported when its pause has begun."""
        self._pausing: set[str] = set()
        """The pauses that have begun and have been reported."""
        self._names: dict[str, str] = {}
        """The names of all vassals that have units, by label."""
        self._removed: dict[str, str] = {}
        """The names of the vassals that the last run removed: systemd reports the end of their units after it."""
        self._problems: frozenset[Diagnostic] = frozenset()
        self._tell: Callable[[LifecycleEvent | Change | Diagnostic], None] = self.tell
        self._entries = Coalescer(self._tell)

    def follow(self, states: Mapping[str, UnitState]) -> None:
        """Take these states as the start: only later changes of units are reported."""
        self._tracker.seed(states)

    def will_remove(self, labels: Iterable[str]) -> None:
        """Expect the end of these vassals' units: their sockets are closed, so they will not wait for connections."""
        for label in labels:
            self._tracker.expect_removal(label)

    def unit_changed(self, change: UnitChange) -> None:
        """Report the events that follow from a change of a unit."""
        if change.unit.startswith(PAUSE_PREFIX):
            self._pause_changed(change.unit, change.values.get("ActiveState"))
            return
        for event in self._tracker.feed(change.unit, change.interface, change.values):
            if event.event is Event.THROTTLED:
                # The length of the pause is known once its unit has started.
                if (pause := pause_of(event.unit)) not in self._pausing:
                    self._throttled[pause] = event
            else:
                self._report(event)

    def _pause_changed(self, unit: str, active: object) -> None:
        """Report a pause when it begins. It may follow a failure at which no process of the vassal was started."""
        if active in {"inactive", "failed"}:
            self._pausing.discard(unit)
        if active not in {"activating", "active"} or unit in self._pausing:
            return
        self._pausing.add(unit)
        service, reason = unit.removeprefix(PAUSE_PREFIX), ""
        event = self._throttled.pop(unit, None)
        if event is None:
            parts = vassal_unit(service)
            if parts is None or parts[0] not in self._names:
                return
            text = "next attempt after a pause"
            event = LifecycleEvent(label=parts[0], unit=service, event=Event.THROTTLED, text=text)
            # No process of it was started, so nothing else says why.
            reason = self._obstacle(service)
        if (seconds := self._pause(event.label)) is not None:
            event = replace(event, text=f"next attempt in {seconds:g} s")
        self._report(replace(event, text=f"{event.text}: {reason}") if reason else event)

    def done(self, planned: PlannedRun, problems: Iterable[Diagnostic]) -> None:
        """Report what a run changed, and the problems that are new since the run before.

        Args:
            planned: the run, which has been applied.
            problems: what went wrong while it was applied.
        """
        scope = planned.scope
        # A vassal that has come back since it was removed begins a new life too.
        for label in self._removed:
            self._tracker.forget(label)
        if scope.is_all:
            self._names = dict(planned.names)
        else:
            for label in planned.removed:
                self._names.pop(label, None)
            self._names |= planned.names
        self._removed = dict(planned.removed)
        for change in planned.changes:
            self._entries.add(label_of(change.unit), change)
        kept = () if scope.is_all else (d for d in self._problems if d.key is None or not scope.covers(d.key))
        self._report_new([*kept, *planned.diagnostics, *problems])

    def failed(self, problem: Diagnostic) -> None:
        """Report why a run, or a reload of the configuration, failed; the problems of the run before remain."""
        self._report_new([*self._problems, problem])

    @property
    def summary(self) -> str:
        """The number of vassals and of errors, for ``systemctl status``."""
        return _summary(self._names, self._problems)

    @staticmethod
    def summary_after(planned: PlannedRun, problems: Iterable[Diagnostic]) -> str:
        """Return what :attr:`summary` will be once a run of all vassals has been reported."""
        return _summary(planned.names, frozenset([*planned.diagnostics, *problems]))

    def memory(self) -> object:
        """Write all entries that wait, and return what is remembered of the vassals, for :meth:`recall`."""
        self._entries.flush(at_once=True)
        return self._tracker, self._throttled, self._pausing, self._names, self._removed, self._problems

    def recall(self, memory: Any) -> None:
        """Take over what another process has remembered."""
        self._tracker, self._throttled, self._pausing, self._names, self._removed, self._problems = memory

    def tell(self, entry: LifecycleEvent | Change | Diagnostic) -> None:
        """Write an entry."""
        if isinstance(entry, LifecycleEvent):
            name = self._names.get(entry.label) or self._removed.get(entry.label, entry.label)
            print_line(f"{name}: {entry.text}")
            with suppress(OSError):
                tell(entry, vassal=name, user_manager=self._user_manager)
            return
        print_line(str(entry))
        changes, problems = ([entry], []) if isinstance(entry, Change) else ([], [entry])
        tell_run(changes, problems, user_manager=self._user_manager)

    def tell_by(self, tell: Callable[[Any], None]) -> None:
        """Have ``tell`` called with each entry from now on."""
        self._tell = tell
        self._entries = Coalescer(tell)

    def due(self) -> float | None:
        """Return when to call :meth:`flush`, by ``time.monotonic()``."""
        return self._entries.due()

    def flush(self) -> None:
        """Write the entries of vassals that had too much to tell at once."""
        self._entries.flush()

    def _report(self, event: LifecycleEvent) -> None:
        is_known = event.label in self._names or event.label in self._removed
        if is_known or not self._is_foreign(event.label):
            self._entries.add(event.label, event)

    def _report_new(self, problems: Iterable[Diagnostic]) -> None:
        current = frozenset(problems)
        new = sorted(current - self._problems, key=str)
        for problem in bounded(new):
            # A vassal's problems and its events are counted apart: their keys and labels differ.
            self._entries.add(problem.key, problem) if problem.key else self._tell(problem)
        self._problems = current


def _summary(names: Collection[str], problems: Collection[Diagnostic]) -> str:
    bad = len(errors(problems))
    return count(len(names), "vassal") + (f", {count(bad, 'problem')}" if bad else "")
