"""The state of every vassal, in the words of ``emperor-bridge status``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from bridge.diagnostics import errors
from bridge.vassal import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bridge.diagnostics import Diagnostic
    from bridge.observed import Installed, Observed, UnitState
    from bridge.systemd import Manager
    from bridge.vassal import Refusal


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


def table(
    observed: Observed, refusals: Iterable[Refusal], diagnostics: Iterable[Diagnostic], manager: Manager
) -> list[Row]:
    """Return a row for each installed vassal and each refused one, ordered by name.

    ``refusals`` and ``diagnostics`` are those of a look at the sources. Raises nothing: what cannot be asked is null.
    """
    problems = _problems(diagnostics)
    decisive = {label: _decisive_unit(installed, observed.states) for label, installed in observed.installed.items()}
    since = manager.properties(sorted(set(decisive.values())), "Unit", "StateChangeTimestamp")
    alive = [i.service for i in observed.installed.values() if not observed.state(i.service).is_down]
    pids = manager.properties(alive, "Service", "MainPID")
    rows = [
        Row(
            vassal=installed.name, config=installed.config, unit=installed.service,
            socket=str(installed.address) if installed.address else None,
            mode=Mode.ON_DEMAND if installed.address else Mode.ALWAYS,
            state=_state(installed, observed.states),
            pid=pids.get(installed.service) or None,
            since=_iso(since.get(decisive[label], 0)),
            problem=problems.pop(installed.config, None),
        )
        for label, installed in observed.installed.items()
    ]  # fmt: skip
    installed_configs = {row.config for row in rows}
    rows += [
        Row(
            vassal=refusal.vassal.name, config=refusal.vassal.config, unit=refusal.vassal.service,
            socket=str(refusal.address) if refusal.address else None, mode=refusal.mode, state=State.REFUSED,
            problem=problems.pop(refusal.vassal.config, None),
        )
        for refusal in refusals if refusal.vassal.config not in installed_configs
    ]  # fmt: skip
    rows += [
        Row(vassal=config.rpartition("/")[2], config=config, unit=None, socket=None, mode=None, state=State.REFUSED,
            problem=problem)
        for config, problem in problems.items()
    ]  # fmt: skip
    return sorted(rows, key=lambda row: row.vassal)


def _problems(diagnostics: Iterable[Diagnostic]) -> dict[str, str]:
    """Return why configs are refused, by config; a message about a file beside the config counts for the config."""
    return {d.config: d.message for d in errors(diagnostics) if d.config}


def _decisive_unit(installed: Installed, states: Mapping[str, UnitState]) -> str:
    """Return the unit whose state is the vassal's: its service while that lives, else what waits for it."""
    service = states.get(installed.service)
    lives = service is not None and not service.is_down
    return installed.service if lives or not installed.address else installed.socket


def _state(installed: Installed, states: Mapping[str, UnitState]) -> State:
    state = states.get(_decisive_unit(installed, states))
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


def _iso(microseconds: int) -> str | None:
    if not microseconds:
        return None
    return datetime.fromtimestamp(microseconds / 1e6, tz=UTC).astimezone().isoformat(timespec="seconds")
