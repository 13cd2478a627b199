"""A vassal whose config changed is reloaded, but not while it is only just starting."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from bridge.host.signals import Handling
from bridge.model.unit import UnitState
from bridge.reconcile.drift import DriftDetector
from bridge.reconcile.reloads import EXECUTING, LOADING, MUTE, STEADY, DeafService, Reloads
from bridge.reconcile.run import RunContext
from bridge.state.last_run import LastRun
from tests.unit.build import DEAD, make_desired, make_resolved

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

NOW = 1000.0
UNIT = "vassal-a.service"
PID = 77


class Manager:
    """One service; times are on the test's clock."""

    def __init__(self, active: str, *, began: float, ready: float = 0.0) -> None:
        self.active, self.began, self.ready = active, began, ready
        self.clock = NOW
        self.becomes_ready: float | None = None
        self.hears_from = 0.0
        """When it catches SIGHUP."""
        self.before = Handling.IGNORED
        """What it does with SIGHUP until then."""
        self.told: list[tuple[str, float]] = []

    def now(self) -> float:
        return self.clock

    def sleep(self, seconds: float) -> None:
        self.clock += seconds
        if self.becomes_ready is not None and self.clock >= self.becomes_ready:
            self.active, self.ready = "active", self.becomes_ready

    def units(self, only: Collection[str]) -> dict[str, UnitState]:
        return {unit: UnitState(load="loaded", active=self.active, sub="") for unit in only}

    def properties(self, units: Sequence[str], _interface: str, name: str) -> dict[str, Any]:
        if name == "MainPID":
            return dict.fromkeys(units, PID)
        values = {
            "ActiveEnterTimestampMonotonic": self.ready,
            "InactiveExitTimestampMonotonic": self.began,
        }
        return {unit: int(values[name] * 1e6) for unit in units}

    def handling(self, pid: int, number: int) -> Handling:
        assert (pid, number) == (PID, signal.SIGHUP)
        return Handling.CAUGHT if self.clock >= self.hears_from else self.before

    def reload_units(self, units: Collection[str]) -> dict[str, str]:
        assert list(units) == [UNIT]
        self.told.append(("reload", self.clock))
        return {}

    def hang_up(self, units: Collection[str]) -> None:
        assert list(units) == [UNIT]
        self.told.append(("hang-up", self.clock))


def reloads(manager: Any, deaf: dict[str, DeafService] | None = None) -> Reloads:
    return Reloads(manager, deaf, clock=manager.now, sleep=manager.sleep, handling=manager.handling)


@pytest.mark.parametrize(
    ("manager", "told", "left"),
    [
        (Manager("active", began=NOW - 9, ready=NOW - 8), ["reload"], None),
        (Manager("active", began=NOW - 9, ready=NOW - 0.25), [], STEADY - 0.25),
        (Manager("activating", began=NOW - 0.5), [], 1.0),
        (Manager("activating", began=NOW - MUTE + 0.5), [], 0.5),
        (Manager("activating", began=NOW - MUTE), ["hang-up"], None),
        (Manager("failed", began=NOW - 0.5), ["reload"], None),
    ],
)
def test_who_is_told_at_once(manager: Manager, told: list[str], left: float | None) -> None:
    young = reloads(manager).tell([UNIT])
    assert [what for what, _ in manager.told] == told
    assert young == ({} if left is None else {UNIT: pytest.approx(left)})


@pytest.mark.parametrize(("becomes_ready", "told"), [(NOW + 2, ("reload", NOW + 3)), (None, ("hang-up", NOW + MUTE))])
def test_a_command_waits_until_it_can_be_told(becomes_ready: float | None, told: tuple[str, float]) -> None:
    manager = Manager("activating", began=NOW)
    manager.becomes_ready = becomes_ready
    one = reloads(manager)
    one.tell_in_time(one.tell([UNIT]))
    assert [what for what, _ in manager.told] == [told[0]]
    assert manager.told[0][1] == pytest.approx(told[1], abs=1.1)


@pytest.mark.parametrize("before", [Handling.IGNORED, Handling.DEFAULT])
def test_one_that_executes_itself_is_told_once_it_catches_the_signal(before: Handling) -> None:
    manager = Manager("active", began=NOW - 9, ready=NOW - 8)
    manager.before, manager.hears_from = before, NOW + 0.05
    one = reloads(manager)
    young = one.tell([UNIT])
    assert (manager.told, list(young)) == ([], [UNIT])
    assert one.tell_in_time(young) == frozenset()
    assert [what for what, _ in manager.told] == ["reload"]
    assert manager.told[0][1] == pytest.approx(NOW + 0.1)


@pytest.mark.parametrize(
    ("active", "told"), [("active", "reload"), ("activating", "hang-up")], ids=["at a reload", "at its start"]
)
def test_one_that_loads_its_app_for_long_is_told_by_another_run(active: str, told: str) -> None:
    """systemd takes it for starting, or for active if it executes itself."""
    manager = Manager(active, began=NOW - 9, ready=NOW - 8)
    manager.hears_from = NOW + 60
    deaf: dict[str, DeafService] = {}
    one = reloads(manager, deaf)
    assert one.tell_in_time(one.tell([UNIT])) == {UNIT}
    assert NOW + MUTE + STEADY <= manager.clock < NOW + MUTE + STEADY + 0.2
    assert (manager.told, deaf) == ([], {UNIT: DeafService(PID, Handling.IGNORED, NOW)})
    manager.clock = NOW + 61
    assert reloads(manager, deaf).tell([UNIT]) == {}
    assert (manager.told, deaf) == ([(told, NOW + 61)], {})


def test_how_long_one_is_waited_for_begins_anew_with_another_process_or_handling() -> None:
    manager = Manager("active", began=NOW - 9, ready=NOW - 8)
    manager.hears_from = NOW + 9999
    deaf = {UNIT: DeafService(PID + 1, Handling.IGNORED, NOW - LOADING)}
    assert list(reloads(manager, deaf).tell([UNIT])) == [UNIT]
    assert deaf == {UNIT: DeafService(PID, Handling.IGNORED, NOW)}
    manager.clock += EXECUTING
    manager.before = Handling.DEFAULT
    assert list(reloads(manager, deaf).tell([UNIT])) == [UNIT]
    assert deaf == {UNIT: DeafService(PID, Handling.DEFAULT, NOW + EXECUTING)}


@pytest.mark.parametrize(("before", "patience"), [(Handling.IGNORED, LOADING), (Handling.DEFAULT, EXECUTING)])
def test_one_that_never_catches_the_signal_is_told_in_the_end(before: Handling, patience: float) -> None:
    """It has run for long. Each time it is to reload, it is waited for anew."""
    manager = Manager("active", began=NOW - 9999, ready=NOW - 9998)
    manager.before, manager.hears_from = before, NOW + 9999
    deaf: dict[str, DeafService] = {}
    for begins in (NOW, NOW + 2 * patience):
        for wait in (0, patience - 0.1):
            manager.clock = begins + wait
            assert list(reloads(manager, deaf).tell([UNIT])) == [UNIT]
        manager.clock = begins + patience
        assert reloads(manager, deaf).tell([UNIT]) == {}
    assert [what for what, _ in manager.told] == ["reload", "reload"]


@pytest.mark.parametrize(
    ("began", "ready", "changed_state", "is_outdated"),
    [(-9, -8, -8, True), (-2, 2, 2, True), (-2, 2, 3, False), (1, 2, 2, False)],
    ids=["changed while it ran", "changed while it started", "reloaded since", "started since"],
)
def test_a_config_that_changes_during_a_start_may_not_have_been_read(
    tmp_path: Path, began: int, ready: int, changed_state: int, *, is_outdated: bool
) -> None:
    """Times are in seconds after the config changed."""
    config = tmp_path / "a.ini"
    config.touch()
    when = config.stat().st_ctime_ns / 1e9
    times = {"InactiveExitTimestamp": began, "ActiveEnterTimestamp": ready, "StateChangeTimestamp": changed_state}

    class Times:
        def properties(self, units: Sequence[str], _interface: str, name: str) -> dict[str, int]:
            return {unit: int((when + times[name]) * 1e6) for unit in units}

    resolved = make_resolved("a.ini", "@a", folder=str(tmp_path))
    detector = DriftDetector(context=RunContext(last=LastRun()), exiled=frozenset())
    states = {UNIT: UnitState(load="loaded", active="active", sub="running")}
    actual: Any = type("Actual", (), {"installed": {}, "state": lambda _self, unit: states.get(unit, DEAD)})()
    manager: Any = Times()
    assert detector.outdated(make_desired(resolved), actual, manager) == ({"a"} if is_outdated else set())


@pytest.mark.parametrize("was_young", [True, False])
def test_one_that_was_too_young_is_reloaded_whatever_its_config_says(tmp_path: Path, *, was_young: bool) -> None:
    (tmp_path / "a.ini").touch()
    resolved = make_resolved("a.ini", "@a", folder=str(tmp_path))
    context = RunContext(last=LastRun(), stamp=2**62, untold=frozenset({UNIT} if was_young else ()))
    states = {UNIT: UnitState(load="loaded", active="active", sub="running")}
    actual: Any = type("Actual", (), {"installed": {}, "state": lambda _self, unit: states.get(unit, DEAD)})()
    manager: Any = type("Nobody", (), {"properties": lambda *_: {}})()
    found = DriftDetector(context=context, exiled=frozenset()).outdated(make_desired(resolved), actual, manager)
    assert found == ({"a"} if was_young else set())
