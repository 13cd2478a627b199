"""The lives of vassals: from what the manager tells of their units to the events of an app's story.

Pure. The manager sends ``PropertiesChanged`` for the unit's own kind first and for ``Unit`` right after it, each with
all values and not only what changed; the same values come many times over; and several transitions may arrive as one
(all seen on systemd 252, but the last, which its queue allows). So an event is told from facts that hold at the moment
(when the main process began, whether it was ready, how it ended), once for a run, and what a signal skipped is told in
its order. A run is known by the monotonic time at which its main process began.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, Any

from bridge.lifecycle.events import Ending, Event, LifecycleEvent, explain
from bridge.model.unit_names import vassal_unit

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
"""Sub-states in which a vassal that failed waits for its next attempt."""
_NO_PROCESS = frozenset({"resources", "start-limit-hit"})
"""Results of an attempt that did not come to a process."""
_PREFIX = "vassal-"


class _Told(IntFlag):
    """What was told of a run, and what has to be remembered of it until its end is told."""

    STARTING = 1
    RUNNING = 2
    ENDED = 4
    THROTTLED = 8
    PREPARING = 16
    """It has no main process yet."""
    ORDERED = 32
    """The manager was told to end it."""
    FAILED = 64
    """It ended in a way that a pause follows."""
    RELOADING = 128


_NOTHING_TO_TELL = _Told.STARTING | _Told.RUNNING | _Told.ENDED | _Told.THROTTLED
_PAUSED_AFTER = frozenset({Event.CRASHED, Event.FAILED_START, Event.OOM_KILLED})


class _VassalState:
    """What has to be remembered of one vassal; there may be thousands."""

    __slots__ = ("active", "result", "run", "socket", "told", "waiting", "woken")

    def __init__(self, run: int) -> None:
        self.run = run
        """When the main process of the last run began, in µs of the monotonic clock."""
        self.told = _NOTHING_TO_TELL
        self.active = "inactive"
        self.result = ""
        self.socket = ""
        """The sub-state of the socket unit; empty: none was seen."""
        self.waiting = self.woken = False


class LifecycleTracker:
    """Follows all vassals. Feed it the manager's signals in their order."""

    def __init__(self, *, now: int, pause: Callable[[str], float | None] = lambda _: None) -> None:
        """Begin to follow.

        Args:
            now: the monotonic clock in µs; a run that began before is not told as new.
            pause: tells, by a vassal's label, for how many seconds its next attempt is put off, if that is known.
        """
        self._now = now
        self._pause = pause
        self._lives: dict[str, _VassalState] = {}
        self._own: dict[str, Mapping[str, Any]] = {}
        """The first half of a signal, until the second is there."""

    def seed(self, states: Mapping[str, UnitState]) -> None:
        """Take the units as they are now: nothing is told of what was so before."""
        for unit, state in states.items():
            if (parts := vassal_unit(unit)) is None:
                continue
            label, kind = parts
            life = self._life(label)
            if kind == "socket":
                life.socket = sys.intern(state.sub)
            else:
                life.active, life.told = sys.intern(state.active), _told_before(state)
        for life in self._lives.values():
            life.waiting = life.socket == "listening" and life.active in _DOWN

    def forget(self, label: str) -> None:
        """Forget a vassal that is no more."""
        self._lives.pop(label, None)
        for kind in ("service", "socket"):
            self._own.pop(f"{_PREFIX}{label}.{kind}", None)

    def feed(self, unit: str, interface: str, changed: Mapping[str, object]) -> list[LifecycleEvent]:
        """Return what a signal tells, which most often is nothing.

        Args:
            unit: the unit's name; those of other units than vassals' may be fed too.
            interface: the interface whose properties changed, whole or its last word.
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
        life = self._life(label)
        facts = _Facts.of(own, changed)
        step = self._socket if kind == "socket" else self._service
        return [
            LifecycleEvent(label=label, unit=unit, event=event, text=text, fields=fields)
            for event, text, fields in step(label, life, facts)
        ] + [
            LifecycleEvent(
                label=label, unit=f"{_PREFIX}{label}.socket", event=Event.WAITING, text="waits for a connection"
            )
            for _ in range(_begins_to_wait(life))
        ]

    def _life(self, label: str) -> _VassalState:
        if (life := self._lives.get(label)) is None:
            life = self._lives[label] = _VassalState(self._now)
        return life

    def _socket(self, _: str, life: _VassalState, facts: _Facts) -> Iterator[tuple[Event, str, Mapping[str, str]]]:
        before, life.socket = life.socket, sys.intern(facts.sub)
        # Started by hand, the service is up before its socket notices.
        life.woken = facts.sub == "running" and (life.woken or (before != "running" and life.active in _DOWN))
        if facts.sub == "failed" and before != "failed":
            yield Event.SOCKET_FAILED, f"its socket failed: {explain(facts.result)}", {"UNIT_RESULT": facts.result}
        elif facts.sub == "dead" and before in {"listening", "running"}:
            yield Event.CLOSED, "its socket was closed: no connection wakes it", {}

    def _service(self, label: str, life: _VassalState, facts: _Facts) -> Iterator[tuple[Event, str, Mapping[str, str]]]:
        active_before, life.active = life.active, sys.intern(facts.active)
        result_before, life.result = life.result, sys.intern(facts.result)
        if facts.began > life.run:
            if not life.told & (_Told.ENDED | _Told.PREPARING):
                yield Event.STOPPED, "ended and was started again before it could be seen how", {}
            life.told = life.told & _Told.STARTING if life.told & _Told.PREPARING else _Told(0)
            life.run = facts.began
        elif 0 < facts.began < life.run == self._now:
            # The run that was there when we came.
            life.run = facts.began
        is_this_run = facts.began == life.run and not life.told & _Told.PREPARING

        if not life.told & _Told.STARTING:
            life.told |= _Told.STARTING
            yield Event.STARTING, _why_started(life, facts), {}
        if not life.told & _Told.RUNNING and (facts.active in _UP or (is_this_run and facts.was_ready)):
            life.told |= _Told.RUNNING
            yield Event.RUNNING, "ready", {}
        yield from _reloaded(life, facts)

        has_ended = is_this_run and facts.has_ended
        if facts.active == "deactivating" and facts.result == "success" and (facts.job or not has_ended):
            life.told |= _Told.ORDERED
        if not life.told & _Told.ENDED and (has_ended or facts.is_down):
            yield from _ended(life, facts, has_ended=has_ended)
        elif facts.active == "failed" and facts.result in _NO_PROCESS and (
            active_before != "failed" or result_before not in {"", facts.result}
        ):  # fmt: skip
            yield Event.FAILED_START, explain(facts.result), {"UNIT_RESULT": facts.result}
        if facts.sub in _PAUSES and life.told & _Told.FAILED and not life.told & _Told.THROTTLED:
            life.told |= _Told.THROTTLED
            seconds = self._pause(label)
            yield Event.THROTTLED, "next attempt " + ("after a pause" if seconds is None else f"in {seconds:g} s"), {}
        if facts.sub in _PREPARES and life.told & _Told.ENDED:
            life.told = _Told.PREPARING | _Told.STARTING
            yield Event.STARTING, _why_started(life, facts), {}


def _told_before(state: UnitState) -> _Told:
    """Return what of a run must have been told when a unit is found in this state."""
    if state.active in _UP:
        return _Told.STARTING | _Told.RUNNING
    if state.active in _DOWN or state.sub in _PAUSES:
        return _NOTHING_TO_TELL
    return _Told.STARTING | (_Told.RUNNING | _Told.ORDERED if state.active == "deactivating" else _Told(0))


def _begins_to_wait(life: _VassalState) -> bool:
    before, life.waiting = life.waiting, life.socket == "listening" and life.active in _DOWN
    return life.waiting and not before


def _why_started(life: _VassalState, facts: _Facts) -> str:
    if facts.restarts:
        return f"started again; restart {facts.restarts}"
    woken, life.woken = life.woken, False
    return "woken by a connection" if woken else "started"


def _reloaded(life: _VassalState, facts: _Facts) -> Iterator[tuple[Event, str, Mapping[str, str]]]:
    was_reloading = bool(life.told & _Told.RELOADING)
    is_reloading = facts.active == "reloading"
    life.told = life.told | _Told.RELOADING if is_reloading else life.told & ~_Told.RELOADING
    if was_reloading and facts.active == "active":
        yield Event.RELOADED, "was told to read its config again", {}


def _ended(life: _VassalState, facts: _Facts, *, has_ended: bool) -> Iterator[tuple[Event, str, Mapping[str, str]]]:
    life.told |= _Told.ENDED
    if not has_ended and facts.result == "success":
        yield Event.STOPPED, "ended; it could not be seen how", {}
        return
    ending = Ending(
        result=facts.result,
        status=facts.status if has_ended and facts.code == _EXITED else None,
        killed_by=facts.status if has_ended and facts.code != _EXITED else None,
        was_ready=bool(life.told & _Told.RUNNING),
        was_told=bool(life.told & _Told.ORDERED),
    )
    if ending.event in _PAUSED_AFTER:
        life.told |= _Told.FAILED
    yield ending.event, ending.text, ending.fields


@dataclass(frozen=True, kw_only=True, slots=True)
class _Facts:
    """The values that matter, from both halves of a signal."""

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
            # A process that has just begun comes first, with the state of before.
            is_down=unit.get("ActiveState") in _DOWN and not own.get("MainPID"),
            code=code,
            status=own.get("ExecMainStatus", 0),
            restarts=own.get("NRestarts", 0),
        )
