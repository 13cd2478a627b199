"""``status``, once or as long as it is watched: the present from the manager, the past from the journal."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.lifecycle.history import UNKNOWN, advance, read_histories
from bridge.lifecycle.tracker import LifecycleTracker
from bridge.model.unit import UnitState
from bridge.model.unit_names import vassal_unit
from bridge.status.table import State, refreshed, table, told

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.diagnostics import Diagnostic
    from bridge.lifecycle.events import LifecycleEvent
    from bridge.lifecycle.history import Histories, History
    from bridge.model.unit import UnitChange
    from bridge.reconcile.reconciler import Reconciler
    from bridge.status.table import Row
    from bridge.systemd.manager import SystemdManager

_LONG = 86_400.0
_BREATH = 0.1
"""Seconds in which changes are gathered before they are drawn: many come together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusReport:
    """All that one look tells."""

    rows: list[Row]
    states: dict[str, UnitState]
    histories: Histories
    diagnostics: Sequence[Diagnostic] = ()


def look(manager: SystemdManager, reconciler: Reconciler, *, has_sources: bool, user_manager: bool) -> StatusReport:
    """Look at all vassals; where it is not known what they are made from, only at what is installed.

    Raises:
        BridgeError: systemd or the sources cannot be asked.
    """
    planned = reconciler.overlook(manager) if has_sources else None
    actual = planned.actual if planned else reconciler.observe(manager)
    rejections, diagnostics = (planned.rejections, planned.diagnostics) if planned else ((), ())
    histories = read_histories(user_manager=user_manager)
    rows = table(actual, rejections, diagnostics, manager, histories)
    return StatusReport(rows=rows, states=dict(actual.states), histories=histories, diagnostics=diagnostics)


class LiveStatus:
    """The rows of ``status``, kept up to date by what the manager tells."""

    def __init__(self, look: Callable[[], StatusReport]) -> None:
        self._look = look
        self._lives = LifecycleTracker(now=time.monotonic_ns() // 1000)
        self._names: dict[str, str] = {}
        self._histories: dict[str, History] = {}
        self._begin()
        self._lives.seed(self._states)

    @property
    def rows(self) -> list[Row]:
        """The rows as they are now."""
        return self._rows

    def name(self, event: LifecycleEvent) -> str:
        """Return the name of the vassal that a moment is of, even if it is gone."""
        return self._names.get(f"vassal-{event.label}.service", event.label)

    def take(self, manager: SystemdManager) -> list[LifecycleEvent]:
        """Wait for changes, take them in, and return what they tell.

        Raises:
            BridgeError: systemd cannot be asked any more.
        """
        moments: list[LifecycleEvent] = []
        deadline = time.monotonic() + _LONG
        while changes := list(manager.changes(deadline)):
            for change in changes:
                moments += self._note(change)
            deadline = min(deadline, time.monotonic() + _BREATH)
            if time.monotonic() >= deadline:
                break
        if self._is_old:
            self._begin()
        return moments

    def _begin(self) -> None:
        sight = self._look()
        # What was seen to happen may not be in the journal yet.
        self._histories = {**sight.histories.by_service, **self._histories}
        self._rows = [told(row, self._histories.get(row.unit, UNKNOWN)) if row.unit else row for row in sight.rows]
        self._places = {row.unit: place for place, row in enumerate(sight.rows) if row.unit}
        self._names |= {row.unit: row.vassal for row in sight.rows if row.unit}
        self._states = sight.states
        self._since: dict[str, int] = {}
        self._pids: dict[str, int | None] = {}
        self._is_old = False

    def _note(self, change: UnitChange) -> list[LifecycleEvent]:
        if (parts := vassal_unit(change.unit)) is None:
            return []
        service = f"vassal-{parts[0]}.service"
        values = change.values
        if isinstance(pid := values.get("MainPID"), int):
            self._pids[service] = pid
        if change.interface == "Unit":
            self._states[change.unit] = UnitState(
                load="loaded", active=str(values.get("ActiveState")), sub=str(values.get("SubState"))
            )
            if isinstance(since := values.get("StateChangeTimestamp"), int):
                self._since[change.unit] = since
        moments = self._lives.feed(change.unit, change.interface, values)
        if (place := self._places.get(service)) is None:
            # A vassal that was not there before.
            self._is_old = True
            return moments
        for event in moments:
            before = self._histories.get(service, UNKNOWN)
            self._histories[service] = advance(before, event.event, event.text, time.time_ns() // 1000)
        row = refreshed(self._rows[place], self._states, self._since, self._pids)
        self._rows[place] = told(row, self._histories.get(service, UNKNOWN))
        if row.state is State.STOPPED:
            # It may be gone.
            self._is_old = True
        return moments
