"""The lifecycle tracker: from the manager's signals about vassals' units to the events of their lifecycles.

Pure. The manager sends ``PropertiesChanged`` for the unit's own kind first and for ``Unit`` right after it. Each has
all values and not only those that changed. The same values come many times (all seen on systemd 252). Several
transitions may arrive as one, which its queue allows. So an event is derived from facts that hold now: when the main
process began, whether it was ready, how it ended. Each event is reported once for a run. Events of transitions that no
signal showed are reported in their order. A run is identified by the monotonic time at which its main process began.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, Any

from bridge.lifecycle.events import Ending, Event, LifecycleEvent, explain
from bridge.model.unit_names import PREFIX, vassal_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bridge.model.unit import UnitState

_EXITED = 1
"""``CLD_EXITED`` in ``ExecMainCode``; any other number but 0 is a death by signal."""
_DOWN = frozenset({"inactive", "failed"})
_UP = frozenset({"active", "reloading"})
_PREPARES = frozenset({"condition", "start-pre"})
"""Sub-states of a start in which there is no main process yet."""
_PAUSES = frozenset({"stop-post", "auto-restart", "auto-restart-queued"})
"""Sub-states in which a vassal that failed pauses before its next start."""
_NO_PROCESS = frozenset({"resources", "start-limit-hit"})
"""Results of a start at which no process was started."""


class _Run(IntFlag):
    """Which events of a run were reported, and what is remembered of it until its end is reported."""

    STARTING = 1
    RUNNING = 2
    ENDED = 4
    THROTTLED = 8
    PREPARING = 16
    """It has no main process yet."""
    ORDERED = 32
    """The manager was told to stop it."""
    FAILED = 64
    """It ended in a way that is followed by a pause."""
    RELOADING = 128


_ALL_REPORTED = _Run.STARTING | _Run.RUNNING | _Run.ENDED | _Run.THROTTLED
_PAUSED_AFTER = frozenset({Event.CRASHED, Event.FAILED_START, Event.OOM_KILLED})


class _VassalState:
    """What is remembered of one vassal. There may be thousands."""

    __slots__ = ("active", "is_leaving", "reported", "result", "run", "socket", "waiting", "woken")

    def __init__(self, run: int) -> None:
        self.run = run
        """When the main process of the last run began, in µs of the monotonic clock."""
        self.reported = _ALL_REPORTED
        self.active = "inactive"
        self.result = ""
        self.socket = ""
        """The sub-state of the socket unit. Empty: no signal of it came yet."""
        self.waiting = self.woken = self.is_leaving = False


class LifecycleTracker:
    """Follows all vassals by the manager's signals, which must be fed in their order."""

    def __init__(self, *, now: int, pause: Callable[[str], float | None] | None = None) -> None:
        """Begin to follow vassals.

        Args:
            now: the monotonic clock in µs. A run that began before it is not reported as new.
            pause: returns how many seconds a vassal, given by its label, pauses before its next start, if known.
        """
        self._now = now
        self._pause = pause
        self._vassals: dict[str, _VassalState] = {}
        self._quiet: set[str] = set()
        """The vassals that have waited since they were seeded. Most do, so nothing else is remembered of them."""
        self._own: dict[str, Mapping[str, Any]] = {}
        """The first signal of a pair, until the second comes."""

    def seed(self, states: Mapping[str, UnitState]) -> None:
        """Take over the units' present states. What happened before is not reported."""
        for unit, state in states.items():
            if (parts := vassal_unit(unit)) is None:
                continue
            label, kind = parts
            if kind == "socket" and state.sub == "listening" and label not in self._vassals:
                self._quiet.add(label)
            elif kind == "socket":
                self._state(label).socket = sys.intern(state.sub)
            elif state.active != "inactive" or label in self._vassals:
                vassal = self._state(label)
                vassal.active, vassal.reported = sys.intern(state.active), _reported_before(state)
        for vassal in self._vassals.values():
            vassal.waiting = vassal.socket == "listening" and vassal.active in _DOWN

    def expect_removal(self, label: str) -> None:
        """Report no ``waiting`` for a vassal that is about to be removed.

        Its service ends first, and for a moment its socket listens again. This holds until the vassal is forgotten, or
        until its socket, once closed, is opened again: that is a new vassal with the old name.
        """
        self._state(label).is_leaving = True

    def forget(self, label: str) -> None:
        """Forget a vassal that was removed."""
        self._vassals.pop(label, None)
        self._quiet.discard(label)
        for kind in ("service", "socket"):
            self._own.pop(f"{PREFIX}{label}.{kind}", None)

    def feed(self, unit: str, interface: str, changed: Mapping[str, object]) -> list[LifecycleEvent]:
        """Return the events that a signal shows, most often none.

        Args:
            unit: the unit's name. Signals of units that are no vassal's are ignored.
            interface: the D-Bus interface whose properties changed, or the last part of its name.
            changed: the properties' values.
        """
        if (parts := vassal_unit(unit)) is None:
            return []
        label, kind = parts
        if interface.rpartition(".")[2] != "Unit":
            self._own[unit] = changed
            return []
        if (own := self._own.pop(unit, None)) is None:
            return []
        vassal = self._state(label)
        facts = _Facts.of(own, changed)
        step = self._socket if kind == "socket" else self._service
        events = [
            LifecycleEvent(label=label, unit=unit, event=event, text=text, fields=fields)
            for event, text, fields in step(label, vassal, facts)
        ]
        if _begins_to_wait(vassal):
            socket = f"{PREFIX}{label}.socket"
            events.append(LifecycleEvent(label=label, unit=socket, event=Event.WAITING, text="waits for a connection"))
        return events

    def _state(self, label: str) -> _VassalState:
        if (vassal := self._vassals.get(label)) is None:
            vassal = self._vassals[label] = _VassalState(self._now)
            if label in self._quiet:
                self._quiet.remove(label)
                vassal.socket, vassal.waiting = "listening", True
        return vassal

    def _socket(self, _: str, vassal: _VassalState, facts: _Facts) -> Iterator[tuple[Event, str, Mapping[str, str]]]:
        before, vassal.socket = vassal.socket, sys.intern(facts.sub)
        if before == "dead" and facts.sub != "dead":
            vassal.is_leaving = False
        # Started by hand, the service is up before its socket notices.
        vassal.woken = facts.sub == "running" and (vassal.woken or (before != "running" and vassal.active in _DOWN))
        if facts.sub == "failed" and before != "failed":
            yield Event.SOCKET_FAILED, f"its socket failed: {explain(facts.result)}", {"UNIT_RESULT": facts.result}
        elif facts.sub == "dead" and before in {"listening", "running"}:
            yield Event.CLOSED, "its socket was closed: no connection wakes it", {}

    def _service(
        self, label: str, vassal: _VassalState, facts: _Facts
    ) -> Iterator[tuple[Event, str, Mapping[str, str]]]:
        active_before, vassal.active = vassal.active, sys.intern(facts.active)
        result_before, vassal.result = vassal.result, sys.intern(facts.result)
        if facts.began > vassal.run:
            if not vassal.reported & (_Run.ENDED | _Run.PREPARING):
                yield Event.STOPPED, "ended and was started again; the bridge could not see how it ended", {}
            vassal.reported = vassal.reported & _Run.STARTING if vassal.reported & _Run.PREPARING else _Run(0)
            vassal.run = facts.began
        elif 0 < facts.began < vassal.run == self._now:
            # This run began before the tracker did.
            vassal.run = facts.began
        is_this_run = facts.began == vassal.run and not vassal.reported & _Run.PREPARING

        if not vassal.reported & _Run.STARTING:
            vassal.reported |= _Run.STARTING
            yield Event.STARTING, _why_started(vassal, facts), {}
        if not vassal.reported & _Run.RUNNING and (facts.active in _UP or (is_this_run and facts.was_ready)):
            vassal.reported |= _Run.RUNNING
            yield Event.RUNNING, "ready", {}
        yield from _reloaded(vassal, facts)

        has_ended = is_this_run and facts.has_ended
        if facts.active == "deactivating" and facts.result == "success" and (facts.job or not has_ended):
            vassal.reported |= _Run.ORDERED
        if not vassal.reported & _Run.ENDED and (has_ended or facts.is_down):
            yield from _ended(vassal, facts, has_ended=has_ended)
        elif facts.active == "failed" and facts.result in _NO_PROCESS and (
            active_before != "failed" or result_before not in {"", facts.result}
        ):  # fmt: skip
            yield Event.FAILED_START, explain(facts.result), {"UNIT_RESULT": facts.result}
        if facts.sub in _PAUSES and vassal.reported & _Run.FAILED and not vassal.reported & _Run.THROTTLED:
            vassal.reported |= _Run.THROTTLED
            seconds = self._pause(label) if self._pause else None
            yield Event.THROTTLED, "next attempt " + ("after a pause" if seconds is None else f"in {seconds:g} s"), {}
        if facts.sub in _PREPARES and vassal.reported & _Run.ENDED:
            vassal.reported = _Run.PREPARING | _Run.STARTING
            yield Event.STARTING, _why_started(vassal, facts), {}


def _reported_before(state: UnitState) -> _Run:
    """Return which events of a run must have happened before a unit is in this state."""
    if state.active in _UP:
        return _Run.STARTING | _Run.RUNNING
    if state.active in _DOWN or state.sub in _PAUSES:
        return _ALL_REPORTED
    return _Run.STARTING | (_Run.RUNNING | _Run.ORDERED if state.active == "deactivating" else _Run(0))


def _begins_to_wait(vassal: _VassalState) -> bool:
    before, vassal.waiting = vassal.waiting, vassal.socket == "listening" and vassal.active in _DOWN
    return vassal.waiting and not before and not vassal.is_leaving


def _why_started(vassal: _VassalState, facts: _Facts) -> str:
    if facts.restarts:
        return f"started again; restart {facts.restarts}"
    woken, vassal.woken = vassal.woken, False
    return "woken by a connection" if woken else "started"


def _reloaded(vassal: _VassalState, facts: _Facts) -> Iterator[tuple[Event, str, Mapping[str, str]]]:
    was_reloading = bool(vassal.reported & _Run.RELOADING)
    is_reloading = facts.active == "reloading"
    vassal.reported = vassal.reported | _Run.RELOADING if is_reloading else vassal.reported & ~_Run.RELOADING
    if was_reloading and facts.active == "active":
        yield Event.RELOADED, "read its config again", {}


def _ended(vassal: _VassalState, facts: _Facts, *, has_ended: bool) -> Iterator[tuple[Event, str, Mapping[str, str]]]:
    vassal.reported |= _Run.ENDED
    if not has_ended and facts.result == "success":
        yield Event.STOPPED, "ended; the bridge could not see how", {}
        return
    ending = Ending(
        result=facts.result,
        status=facts.status if has_ended and facts.code == _EXITED else None,
        killed_by=facts.status if has_ended and facts.code != _EXITED else None,
        was_ready=bool(vassal.reported & _Run.RUNNING),
        was_stopped=bool(vassal.reported & _Run.ORDERED),
    )
    if ending.event in _PAUSED_AFTER:
        vassal.reported |= _Run.FAILED
    yield ending.event, ending.text, ending.fields


@dataclass(frozen=True, kw_only=True, slots=True)
class _Facts:
    """The values that matter, from both signals of a pair."""

    active: str
    sub: str
    job: int
    result: str
    began: int
    was_ready: bool
    has_ended: bool
    is_down: bool
    code: int
    status: int
    restarts: int

    @classmethod
    def of(cls, own: Mapping[str, Any], unit: Mapping[str, Any]) -> _Facts:
        began = own.get("ExecMainStartTimestampMonotonic", 0)
        code = own.get("ExecMainCode", 0)
        return cls(
            active=unit.get("ActiveState", "inactive"),
            sub=unit.get("SubState", "dead"),
            job=unit.get("Job", (0, "/"))[0],
            result=own.get("Result", "success"),
            began=began,
            was_ready=0 < began <= unit.get("ActiveEnterTimestampMonotonic", 0),
            has_ended=code != 0 and own.get("ExecMainExitTimestampMonotonic", 0) >= began > 0,
            # The signal about a new process comes first, still with the unit's old state.
            is_down=unit.get("ActiveState") in _DOWN and not own.get("MainPID"),
            code=code,
            status=own.get("ExecMainStatus", 0),
            restarts=own.get("NRestarts", 0),
        )
