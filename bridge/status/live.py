"""``status --follow``: keep the rows up to date by the manager's signals."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bridge.lifecycle.history import UNKNOWN, advance
from bridge.lifecycle.tracker import LifecycleTracker
from bridge.model.unit import UnitState
from bridge.model.unit_names import PAUSE_PREFIX, PREFIX, vassal_unit
from bridge.status.table import State, with_history, with_unit_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.lifecycle.events import LifecycleEvent
    from bridge.lifecycle.history import History
    from bridge.model.unit import UnitChange
    from bridge.status.report import StatusReport
    from bridge.status.table import Row
    from bridge.systemd.manager import SystemdManager

_LONG = 86_400.0
_BURST = 0.1
"""Seconds for which changes are gathered before they are drawn: many come together."""


class LiveStatus:
    """The rows of ``status``, kept up to date by the manager's signals."""

    def __init__(self, read: Callable[[], StatusReport]) -> None:
        """Read all vassals with ``read``, now and whenever a vassal comes or goes."""
        self._read = read
        self._tracker = LifecycleTracker(now=time.monotonic_ns() // 1000)
        self._names: dict[str, str] = {}
        self._histories: dict[str, History] = {}
        self._read_all()
        self._tracker.seed(self._states)

    @property
    def rows(self) -> list[Row]:
        """The rows as they are now."""
        return self._rows

    def name(self, event: LifecycleEvent) -> str:
        """Return the name of the vassal that an event is about, even if the vassal was removed."""
        return self._names.get(event.service, event.label)

    def wait_for_events(self, manager: SystemdManager) -> list[LifecycleEvent]:
        """Wait until units change, update the rows, and return the events of this configuration's vassals.

        Raises:
            BridgeError: systemd cannot be asked any more.
        """
        events: list[LifecycleEvent] = []
        deadline = time.monotonic() + _LONG
        while changes := list(manager.changes(deadline)):
            for change in changes:
                events += self._apply(change)
            deadline = min(deadline, time.monotonic() + _BURST)
            if time.monotonic() >= deadline:
                break
        if self._is_outdated:
            self._read_all()
        return [event for event in events if event.service in self._names]

    def _read_all(self) -> None:
        report = self._read()
        # An event that was seen here may not be in the journal yet.
        self._histories = {**report.histories.by_service, **self._histories}
        self._rows = [with_history(row, self._history(row.unit)) if row.unit else row for row in report.rows]
        self._row_of = {row.unit: number for number, row in enumerate(report.rows) if row.unit}
        self._names |= {row.unit: row.vassal for row in report.rows if row.unit}
        self._states = report.states
        self._since: dict[str, int] = {}
        self._pids: dict[str, int | None] = {}
        self._is_outdated = False

    def _history(self, service: str) -> History:
        return self._histories.get(service, UNKNOWN)

    def _apply(self, change: UnitChange) -> list[LifecycleEvent]:
        """Update the row that a change of a unit is about, and return the vassal's events."""
        if (parts := vassal_unit(change.unit.removeprefix(PAUSE_PREFIX))) is None:
            return []
        service = f"{PREFIX}{parts[0]}.service"
        self._note_values(service, change)
        events = self._tracker.feed(change.unit, change.interface, change.values)
        if (number := self._row_of.get(service)) is None:
            # This vassal is new.
            self._is_outdated = True
            return events
        for event in events:
            now = time.time_ns() // 1000
            self._histories[service] = advance(self._history(service), event.event, event.text, now)
        row = with_unit_state(self._rows[number], self._states, self._since, self._pids)
        self._rows[number] = with_history(row, self._history(service))
        if row.state is State.STOPPED:
            # This vassal may have been removed.
            self._is_outdated = True
        return events

    def _note_values(self, service: str, change: UnitChange) -> None:
        values = change.values
        if isinstance(pid := values.get("MainPID"), int) and not change.unit.startswith(PAUSE_PREFIX):
            self._pids[service] = pid
        if change.interface == "Unit":
            self._states[change.unit] = UnitState(
                load="loaded", active=str(values.get("ActiveState")), sub=str(values.get("SubState"))
            )
            if isinstance(since := values.get("StateChangeTimestamp"), int):
                self._since[change.unit] = since
