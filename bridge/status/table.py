"""The state of every vassal, in the words of ``emperor-bridge status``."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from bridge.diagnostics import errors
from bridge.model.address import UnixAddress
from bridge.model.vassal import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bridge.diagnostics import Diagnostic
    from bridge.lifecycle.history import Histories, History
    from bridge.model.unit import UnitState
    from bridge.model.vassal import RejectedVassal
    from bridge.reconcile.actual import ActualState
    from bridge.systemd.manager import Manager


class State(StrEnum):
    """What a vassal does now."""

    LISTENING = "listening"
    STARTING = "starting"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One vassal's line in the table; the fields are those of ``--json``."""

    vassal: str
    config: str
    unit: str | None
    socket: str | None
    mode: Mode | None
    state: State
    pid: int | None = None
    since: str | None = None
    """When it came into this state, in ISO 8601."""
    problem: str | None = None
    """Why its config, as it is now, is not in force."""
    last_wake: str | None = None
    """When it last became ready, since boot."""
    last_idle_exit: str | None = None
    """When it last ended by itself and well, since boot."""
    wakes: int | None = None
    """How often it became ready, since boot."""
    last_failure: str | None = None
    """When it last failed, since boot."""
    failure: str | None = None
    """How it failed then."""
    history_since: str | None = None
    """From when on the past is known, if the journal says too much since boot to read it all."""

    @property
    def note(self) -> str:
        """What an admin should know: why its config is not in force, or a failure that no wake has made good since."""
        if self.problem:
            return self.problem
        if self.failure and self.last_failure and self.last_failure >= (self.last_wake or ""):
            return f"{self.last_failure[11:19]} {self.failure}"
        return ""


def table(
    actual: ActualState,
    rejections: Iterable[RejectedVassal],
    diagnostics: Iterable[Diagnostic],
    manager: Manager,
    histories: Histories,
) -> list[Row]:
    """Return a row for each installed vassal and each refused one, ordered by name.

    ``rejections`` and ``diagnostics`` are those of a look at the sources, ``histories`` those of services by name.
    Raises nothing: what cannot be asked is null.
    """
    problems = _problems(diagnostics)
    decisive = {
        label: _decisive_unit(installed.service, actual.states, waits=installed.address is not None)
        for label, installed in actual.installed.items()
    }
    since = _since(actual, decisive, manager, histories)
    alive = [i.service for i in actual.installed.values() if not actual.state(i.service).is_down]
    pids = manager.properties(alive, "Service", "MainPID")
    rows = [
        told(
            Row(
                vassal=installed.name, config=installed.config, unit=installed.service,
                socket=str(installed.address) if installed.address else None,
                mode=Mode.ON_DEMAND if installed.address else Mode.ALWAYS,
                state=_state(actual.states.get(decisive[label])),
                pid=pids.get(installed.service) or None,
                since=_iso(since.get(decisive[label])),
                problem=problems.pop(installed.config, None),
                history_since=_iso(histories.since),
            ),
            histories.of(installed.service),
        )
        for label, installed in actual.installed.items()
    ]  # fmt: skip
    installed_configs = {row.config for row in rows}
    rows += [
        Row(
            vassal=rejection.vassal.name, config=rejection.vassal.config, unit=rejection.vassal.service,
            socket=str(rejection.address) if rejection.address else None, mode=rejection.mode, state=State.REFUSED,
            problem=problems.pop(rejection.vassal.config, None),
        )
        for rejection in rejections if rejection.vassal.config not in installed_configs
    ]  # fmt: skip
    rows += [
        Row(vassal=config.rpartition("/")[2], config=config, unit=None, socket=None, mode=None, state=State.REFUSED,
            problem=problem)
        for config, problem in problems.items()
    ]  # fmt: skip
    return sorted(rows, key=lambda row: row.vassal)


def _since(actual: ActualState, decisive: Mapping[str, str], manager: Manager, histories: Histories) -> dict[str, int]:
    """Return since when each decisive unit is in its state, in µs since the epoch.

    Of a vassal that waits at a path, its socket's file and the journal tell: to ask systemd of each takes seconds.
    """
    found: dict[str, int] = {}
    asked = []
    for label, unit in decisive.items():
        installed = actual.installed[label]
        if isinstance(installed.address, UnixAddress) and actual.state(unit).sub == "listening":
            history = histories.of(installed.service)
            with suppress(OSError):
                bound = os.lstat(installed.address.path).st_mtime_ns // 1000
                found[unit] = max(bound, history.last_idle_exit or 0, history.last_failure or 0)
                continue
        asked.append(unit)
    return found | manager.properties(sorted(set(asked)), "Unit", "StateChangeTimestamp")


def _problems(diagnostics: Iterable[Diagnostic]) -> dict[str, str]:
    """Return why configs are refused, by config; a message about a file beside the config counts for the config."""
    return {d.config: d.message for d in errors(diagnostics) if d.config}


def told(row: Row, history: History) -> Row:
    """Return a row that tells a history."""
    return replace(
        row,
        last_wake=_iso(history.last_wake),
        last_idle_exit=_iso(history.last_idle_exit),
        wakes=history.wakes,
        last_failure=_iso(history.last_failure),
        failure=history.failure,
    )


def refreshed(
    row: Row, states: Mapping[str, UnitState], since: Mapping[str, int], pids: Mapping[str, int | None]
) -> Row:
    """Return an installed vassal's row as its units are now; what ``since`` and ``pids`` do not tell stays."""
    service = row.unit or ""
    unit = _decisive_unit(service, states, waits=row.socket is not None)
    return replace(
        row,
        state=_state(states.get(unit)),
        since=_iso(since[unit]) if unit in since else row.since,
        pid=pids.get(service, row.pid) or None,
    )


def _decisive_unit(service: str, states: Mapping[str, UnitState], *, waits: bool) -> str:
    """Return the unit whose state is the vassal's: its service while that lives, else what waits for it."""
    state = states.get(service)
    lives = state is not None and not state.is_down
    return service if lives or not waits else f"{service.removesuffix('.service')}.socket"


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


def _iso(microseconds: int | None) -> str | None:
    if not microseconds:
        return None
    return datetime.fromtimestamp(microseconds / 1e6, tz=UTC).astimezone().isoformat(timespec="seconds")
