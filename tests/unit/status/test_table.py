"""The rows of ``status``, from an assessment, a manager's answers and histories as data."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bridge.diagnostics import Diagnostic, Severity
from bridge.lifecycle.history import UNKNOWN, Histories, History
from bridge.model.address import parse_address
from bridge.model.unit import DOWN, Listening, UnitState
from bridge.model.vassal import Mode
from bridge.status.table import Row, State, table, with_history, with_unit_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LISTENING = UnitState(load="loaded", active="active", sub="listening")
TRIGGERED = UnitState(load="loaded", active="active", sub="running")
RUNNING = UnitState(load="loaded", active="active", sub="running")
PAUSES = UnitState(load="loaded", active="deactivating", sub="stop-post")
NINE, TEN = 1_000_000_000_000_000, 1_000_000_001_000_000


class Manager:
    """Answers what ``table`` asks."""

    def __init__(self, **values: dict[str, Any]) -> None:
        self._values = values

    def properties(self, units: Iterable[str], interface: str, name: str) -> Mapping[str, Any]:
        assert interface in {"Unit", "Service"}
        return {unit: value for unit, value in self._values.get(name, {}).items() if unit in units}


def installed(label: str, address: str = "", *, config: str = "") -> Any:
    return SimpleNamespace(
        label=label,
        key=f"dir:///v:{label}.ini",
        name=f"{label}.ini",
        monitor="dir:///v",
        config=config or f"/v/{label}.ini",
        addresses=(parse_address(address, base="/v"),) if address else (),
        service=f"vassal-{label}.service",
    )


def rejected(label: str, mode: Mode | None = Mode.ALWAYS, address: str = "") -> Any:
    vassal = installed(label)
    vassal.config = SimpleNamespace(path=vassal.config)
    return SimpleNamespace(vassal=vassal, mode=mode, addresses=(parse_address(address, base="/v"),) if address else ())


def problem(key: str | None, message: str, **more: Any) -> Diagnostic:
    return Diagnostic(code="x", message=message, key=key, **more)


def rows(
    *vassals: Any,
    states: Mapping[str, UnitState] | None = None,
    manager: Manager | None = None,
    histories: Histories | None = None,
    rejections: Iterable[Any] = (),
    diagnostics: Iterable[Diagnostic] = (),
    listening: Mapping[str, Listening] | None = None,
    lost: Iterable[str] = (),
) -> list[Row]:
    known = dict(states or {})
    actual = SimpleNamespace(
        installed={one.label: one for one in vassals},
        states=known,
        state=lambda unit: known.get(unit, DOWN),
        listening=listening or {},
    )
    assessment: Any = SimpleNamespace(actual=actual, rejections=tuple(rejections), diagnostics=tuple(diagnostics))
    asked: Any = manager or Manager()
    return table(assessment, asked, histories or Histories(), frozenset(lost))


def test_one_that_waits_and_one_that_runs() -> None:
    states = {
        "vassal-a.socket": LISTENING,
        "vassal-b.socket": TRIGGERED,
        "vassal-b.service": RUNNING,
    }
    manager = Manager(
        MainPID={"vassal-b.service": 7},
        StateChangeTimestamp={"vassal-a.socket": NINE, "vassal-b.service": TEN},
    )
    waits, runs = rows(installed("b", "@b"), installed("a", "@a"), states=states, manager=manager)
    assert (waits.vassal, waits.state, waits.mode, waits.socket, waits.pid) == (
        "a.ini", State.LISTENING, Mode.ON_DEMAND, "@a", None,
    )  # fmt: skip
    assert (runs.vassal, runs.state, runs.pid) == ("b.ini", State.RUNNING, 7)
    assert waits.since is not None
    assert runs.since is not None
    assert waits.since < runs.since


def test_one_that_runs_always_and_is_not_loaded_is_stopped() -> None:
    (row,) = rows(installed("a"))
    assert (row.state, row.mode, row.socket, row.wakes) == (State.STOPPED, Mode.ALWAYS, None, 0)


def test_a_pause_after_a_failure_is_a_failure() -> None:
    histories = Histories(
        by_service={"vassal-a.service": History(last_failure=NINE, failure="why", last_wake=1)}, since=TEN
    )
    (row,) = rows(installed("a"), states={"vassal-a.service": PAUSES}, histories=histories)
    assert row.state is State.FAILED
    assert row.note.endswith(" why")
    assert row.history_since is not None


def test_the_problem_of_an_installed_vassal_and_its_row_stay_together() -> None:
    """A config may have moved: the vassal is known by its key, not by the path."""
    found = rows(
        installed("a", config="/old/a.ini"),
        rejections=[rejected("a")],
        diagnostics=[problem("dir:///v:a.ini", "why", config="/v/a.ini")],
    )
    assert [(row.vassal, row.state, row.problem) for row in found] == [("a.ini", State.STOPPED, "why")]


@pytest.mark.parametrize("mode", [Mode.ALWAYS, Mode.ON_DEMAND, None])
def test_a_rejected_vassal_has_a_row(mode: Mode | None) -> None:
    (row,) = rows(rejections=[rejected("a", mode, "@a")], diagnostics=[problem("dir:///v:a.ini", "why")])
    assert (row.state, row.mode, row.socket, row.problem) == (State.REFUSED, mode, "@a", "why")
    assert (row.unit, row.config) == ("vassal-a.service", "/v/a.ini")


def test_a_config_that_can_be_no_vassal_has_a_row() -> None:
    diagnostics = [
        problem("dir:///v:a:b.ini", "why", vassal="a:b.ini", config="/v/a:b.ini"),
        problem("dir:///v:w.ini", "only a warning", severity=Severity.WARNING),
        problem(None, "not of a vassal"),
    ]
    (row,) = rows(diagnostics=diagnostics)
    assert (row.vassal, row.config, row.unit, row.problem) == ("a:b.ini", "/v/a:b.ini", None, "why")


def test_a_row_takes_over_its_units_states() -> None:
    (row,) = rows(installed("a", "@a"), states={"vassal-a.socket": LISTENING})
    states = {"vassal-a.socket": TRIGGERED, "vassal-a.service": RUNNING}
    runs = with_unit_state(row, states, {"vassal-a.service": TEN}, {"vassal-a.service": 7})
    assert (runs.state, runs.pid) == (State.RUNNING, 7)
    waits = with_unit_state(runs, {**states, "vassal-a.service": DOWN, "vassal-a.socket": LISTENING}, {}, {})
    assert (waits.state, waits.since) == (State.LISTENING, runs.since)


def test_a_vassal_without_entries_has_an_empty_history() -> None:
    assert Histories().of("vassal-a.service") == Histories().of(None) == UNKNOWN


def test_one_that_pauses_has_failed_whatever_its_socket_says() -> None:
    activating = UnitState(load="loaded", active="activating", sub="start")
    failed = UnitState(load="loaded", active="failed", sub="failed")
    states = {
        "vassal-a.service": failed,
        "vassal-a.socket": TRIGGERED,
        "pause-vassal-a.service": activating,
        "vassal-b.service": DOWN,
        "vassal-b.socket": TRIGGERED,
        "vassal-c.socket": failed,
        "pause-vassal-c.service": activating,
    }
    found = rows(*(installed(label, f"@{label}") for label in "abc"), states=states)
    # The second waits for what it is ordered after.
    assert [row.state for row in found] == [State.FAILED, State.STARTING, State.FAILED]


def test_where_a_drop_in_has_a_socket_listen_is_shown() -> None:
    moved = Listening(addresses=(parse_address("@x", base="/"), parse_address(":80", base="/")), drop_ins=("/d.conf",))
    states = {"vassal-a.socket": LISTENING, "vassal-b.socket": LISTENING}
    one, other = rows(installed("a", "@a"), installed("b", "@b"), states=states, listening={"a": moved})
    assert (one.socket, one.state) == ("@x and 0.0.0.0:80", State.LISTENING)
    assert other.socket == "@b"


def test_a_socket_that_the_kernel_does_not_have_does_not_listen() -> None:
    states = {"vassal-a.socket": LISTENING, "vassal-b.socket": LISTENING}
    lost, good = rows(installed("a", "@a"), installed("b", "@b"), states=states, lost={"a"})
    assert (lost.state, good.state) == (State.FAILED, State.LISTENING)
    assert lost.problem is not None
    assert lost.problem.startswith("nobody listens on @a")
    assert good.problem is None


def test_of_several_problems_the_first_is_shown_and_the_others_are_counted() -> None:
    key = installed("a").key
    found = [problem(key, "first"), problem(key, "hint", severity=Severity.WARNING), problem(key, "second")]
    [row] = rows(rejections=[rejected("a")], diagnostics=found)
    assert row.problem == "first (and 1 problem more: see emperor-bridge check)"
    [row] = rows(rejections=[rejected("a")], diagnostics=found[:2])
    assert row.problem == "first"


@pytest.mark.parametrize("at", [2**40 * 1_000_000, -(2**62), 2**62])
def test_a_time_that_no_date_has_is_none(at: int) -> None:
    # Whoever may write into a socket's folder can give its file any time.
    row = Row(vassal="a", config="/v/a", unit=None, socket=None, mode=None, state=State.STOPPED, last_wake="before")
    assert with_history(row, History(last_wake=at)).last_wake is None
