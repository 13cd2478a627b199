"""The rows of ``emperor-bridge status``: the state of every vassal, as data."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from bridge.diagnostics import count, errors
from bridge.model.address import UnixAddress
from bridge.model.unit_names import pause_of, vassal_unit
from bridge.model.vassal import Mode

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from bridge.diagnostics import Diagnostic
    from bridge.lifecycle.history import Histories, History
    from bridge.model.address import Address
    from bridge.model.unit import UnitState
    from bridge.model.vassal import RejectedVassal
    from bridge.reconcile.actual import ActualState
    from bridge.reconcile.run import Assessment
    from bridge.systemd.protocol import Manager


class State(StrEnum):
    """The state of a vassal now."""

    LISTENING = "listening"
    STARTING = "starting"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    REFUSED = "refused"


class Row(NamedTuple):
    """One vassal's line in the table. ``--json`` prints these fields. There may be thousands."""

    vassal: str
    config: str
    unit: str | None
    socket: str | None
    mode: Mode | None
    """None: the rule could not be read."""
    state: State
    pid: int | None = None
    since: str | None = None
    """When it entered this state, in ISO 8601."""
    problem: str | None = None
    """Why its config in its present form is not in force, or why systemd cannot start it."""
    last_wake: str | None = None
    """When it last became ready, since boot."""
    last_idle_exit: str | None = None
    """When it last exited by itself with status 0, since boot."""
    wakes: int | None = None
    """How often it became ready, since boot."""
    last_failure: str | None = None
    """When it last failed, since boot."""
    failure: str | None = None
    """How it failed then."""
    history_since: str | None = None
    """The time at which its history begins, if the journal has too many entries since boot to read them all."""
    monitor: str | None = None
    """The id of the monitor that it comes from. None: unknown."""
    as_of: str | None = None
    """When a database or broker last said what it has, for a vassal that comes from one."""
    unreachable_since: str | None = None
    """Since when that database or broker cannot be asked. None: it can."""
    unreachable: str | None = None
    """Why it cannot be asked."""
    sockets: tuple[str, ...] = ()
    """All addresses that it waits on; ``socket`` is the first."""

    @property
    def note(self) -> str:
        """What an admin should know: why its config is not in force, or its last failure unless it ran again since."""
        if self.problem:
            return self.problem
        if self.failure and self.last_failure and self.last_failure >= (self.last_wake or ""):
            return f"{self.last_failure[11:19]} {self.failure}"
        return ""


def table(
    assessment: Assessment, manager: Manager, histories: Histories, lost: Collection[str] = frozenset()
) -> list[Row]:
    """Return a row for each installed vassal and each rejected one, ordered by name.

    ``lost`` are the labels of vassals whose socket systemd takes for active, while no client can reach it. Raises
    nothing: a value that cannot be asked for is None.
    """
    actual = assessment.actual
    problems: dict[str, list[Diagnostic]] = {}
    for problem in errors(assessment.diagnostics):
        if problem.key:
            problems.setdefault(problem.key, []).append(problem)
    reasons = {key: _reason(found) for key, found in problems.items()}
    rows = [_with_loss(row, actual, lost) for row in _installed_rows(actual, manager, histories, reasons)]
    known = {installed.key for installed in actual.installed.values()}
    for rejection in assessment.rejections:
        if (key := rejection.vassal.key) not in known:
            known.add(key)
            rows.append(_rejected_row(rejection, reasons.get(key)))
    rows += [_unusable_row(found[0]) for key, found in problems.items() if key not in known]
    return sorted(rows, key=lambda row: row.vassal)


def _reason(problems: list[Diagnostic]) -> str:
    more = len(problems) - 1
    return problems[0].message + (f" (and {count(more, 'problem')} more: see emperor-bridge check)" if more else "")


def _with_loss(row: Row, actual: ActualState, lost: Collection[str]) -> Row:
    """Return an installed vassal's row with where its socket really listens."""
    parts = vassal_unit(row.unit or "")
    label = parts[0] if parts else ""
    if found := actual.listening.get(label):
        row = row._replace(socket=str(found), sockets=tuple(map(str, found.addresses)))
    if label not in lost:
        return row
    problem = (
        f"nobody listens on {row.socket}, though systemd takes its socket for active: emperor-bridge sync mends it"
    )
    return row._replace(state=State.FAILED, problem=row.problem or problem)


def _installed_rows(
    actual: ActualState, manager: Manager, histories: Histories, reasons: Mapping[str, str]
) -> list[Row]:
    """Return the row of each installed vassal. ``reasons`` say, by key, why a config is not in force."""
    installed_vassals = actual.installed
    decisive = {
        label: _decisive_unit(installed.service, actual.states, waits=bool(installed.addresses))
        for label, installed in installed_vassals.items()
    }
    since = _since(actual, decisive, manager, histories)
    alive = [i.service for i in installed_vassals.values() if not actual.state(i.service).is_down]
    pids = manager.properties(alive, "Service", "MainPID")
    rows = []
    for label, installed in installed_vassals.items():
        row = Row(
            **_told(histories.of(installed.service)),
            vassal=installed.name,
            config=installed.config,
            unit=installed.service,
            socket=_first(installed.addresses),
            sockets=tuple(map(str, installed.addresses)),
            mode=Mode.ON_DEMAND if installed.addresses else Mode.ALWAYS,
            state=_state_of(installed.service, decisive[label], actual.states),
            pid=pids.get(installed.service) or None,
            since=iso_time(since.get(decisive[label])),
            problem=reasons.get(installed.key),
            history_since=iso_time(histories.since),
            monitor=installed.monitor,
        )
        rows.append(row)
    return rows


def _rejected_row(rejection: RejectedVassal, problem: str | None) -> Row:
    """Return the row of a vassal that has no units because its config or rule was rejected."""
    vassal = rejection.vassal
    return Row(
        vassal=vassal.name,
        config=vassal.config.path,
        unit=vassal.service,
        socket=_first(rejection.addresses),
        sockets=tuple(map(str, rejection.addresses)),
        mode=rejection.mode,
        state=State.REFUSED,
        problem=problem,
        monitor=vassal.monitor,
    )


def _unusable_row(problem: Diagnostic) -> Row:
    """Return the row of a config that cannot be a vassal, such as one whose name no unit can have."""
    config = problem.config or problem.path or ""
    name = problem.vassal or config.rpartition("/")[2]
    return Row(
        vassal=name, config=config, unit=None, socket=None, mode=None, state=State.REFUSED, problem=problem.message
    )


def _first(addresses: Sequence[Address]) -> str | None:
    return str(addresses[0]) if addresses else None


def _since(actual: ActualState, decisive: Mapping[str, str], manager: Manager, histories: Histories) -> dict[str, int]:
    """Return when each decisive unit entered its state, in µs since the epoch.

    For a vassal that waits at a path, the socket's file and the journal say it. To ask systemd for each takes seconds.
    """
    found: dict[str, int] = {}
    asked = []
    for label, unit in decisive.items():
        installed = actual.installed[label]
        first = installed.addresses[0] if installed.addresses else None
        if isinstance(first, UnixAddress) and actual.state(unit).sub == "listening":
            history = histories.of(installed.service)
            with suppress(OSError):
                bound = os.lstat(first.path).st_mtime_ns // 1000
                found[unit] = max(bound, history.last_idle_exit or 0, history.last_failure or 0)
                continue
        asked.append(unit)
    return found | manager.properties(sorted(set(asked)), "Unit", "StateChangeTimestamp")


def with_history(row: Row, history: History) -> Row:
    """Return a row with the times and counts of a history."""
    return row._replace(**_told(history))


def iso_time(microseconds: int | None) -> str | None:
    """Return a time in ISO 8601; None for none."""
    return _iso_of(microseconds // 1_000_000) if microseconds else None


@lru_cache(maxsize=1024)
def _iso_of(seconds: int) -> str | None:
    """Return a time; None for one that no date has. Thousands of sockets were made in a few seconds."""
    # Whoever may write into the folder of a socket can give its file any time.
    with suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(seconds, tz=UTC).astimezone().isoformat(timespec="seconds")
    return None


def _told(history: History) -> dict[str, Any]:
    return {
        "last_wake": iso_time(history.last_wake),
        "last_idle_exit": iso_time(history.last_idle_exit),
        "wakes": history.wakes,
        "last_failure": iso_time(history.last_failure),
        "failure": history.failure,
    }


def with_unit_state(
    row: Row, states: Mapping[str, UnitState], since: Mapping[str, int], pids: Mapping[str, int | None]
) -> Row:
    """Return an installed vassal's row with its units' states. What ``since`` and ``pids`` lack stays as it was."""
    service = row.unit or ""
    unit = _decisive_unit(service, states, waits=row.socket is not None)
    return row._replace(
        state=_state_of(service, unit, states),
        since=iso_time(since[unit]) if unit in since else row.since,
        pid=pids.get(service, row.pid) or None,
    )


def _decisive_unit(service: str, states: Mapping[str, UnitState], *, waits: bool) -> str:
    """Return the unit whose state is the vassal's: its service unless that is down, else the socket if it has one."""
    state = states.get(service)
    is_up = state is not None and not state.is_down
    return service if is_up or not waits else f"{service.removesuffix('.service')}.socket"


def _state_of(service: str, decisive: str, states: Mapping[str, UnitState]) -> State:
    pause = states.get(pause_of(service)) if service else None
    if pause is not None and not pause.is_down:
        return State.FAILED
    found = states.get(decisive)
    if decisive != service and found is not None and (found.active, found.sub) == ("active", "running"):
        # Its socket has woken it, and what it is ordered after is still starting.
        return State.STARTING
    return _state(found)


def _state(state: UnitState | None) -> State:
    if state is None:
        return State.STOPPED
    if state.active == "active":
        return State.LISTENING if state.sub == "listening" else State.RUNNING
    if state.active == "activating":
        return State.FAILED if state.sub.startswith("auto-restart") else State.STARTING
    if state.active == "deactivating":
        # Between two attempts to start, an on-demand vassal pauses in its ExecStopPost=.
        return State.FAILED if state.sub == "stop-post" else State.RUNNING
    if state.active == "reloading":
        return State.RUNNING
    return State.FAILED if state.active == "failed" else State.STOPPED
