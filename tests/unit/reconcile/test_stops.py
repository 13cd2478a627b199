"""A vassal that does not end when it is told to keeps nobody waiting."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bridge.host.signals import Handling
from bridge.model.unit_names import pause_of
from bridge.reconcile.findings import ConflictResult
from bridge.reconcile.reloads import DeafService
from bridge.reconcile.run import Scope
from bridge.reconcile.stops import AGAIN, GRACE, MEMORY, PATIENCE, SOON, LateVassal, LateVassals, Stopper, unkillable
from bridge.state.lock import NOTHING, Pending
from tests.unit.build import (
    LISTENING,
    RUNNING,
    STOPPING,
    InterruptedRunError,
    World,
    WorldManager,
    make_desired,
    make_resolved,
    quiet,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from bridge.model.vassal import ResolvedVassal

OLD, NEW = make_resolved("bad.ini", "@old"), make_resolved("bad.ini", "@new")
ALWAYS = make_resolved("bad.ini")
VICTIM, MOVED = make_resolved("victim.ini", "@victim"), make_resolved("victim.ini", "@moved")
BAD = "vassal-bad.service"


def running(*resolved: ResolvedVassal, waits: bool) -> World:
    """Return a world in which all these run, and ``bad`` does not end when it is told to."""
    world = World(waits_for_late=waits)
    world.sync(make_desired(*resolved))
    for one in resolved:
        world.connect(one.vassal.service)
    world.calls.clear()
    world.stubborn.add(BAD)
    return world


def told(world: World) -> list[str]:
    return [" ".join((name, *units)) for name, units in world.calls if name != "properties"]


@pytest.mark.parametrize("waits", [True, False])
def test_others_in_the_same_batch_are_done_before_anybody_is_waited_for(*, waits: bool) -> None:
    world = running(OLD, VICTIM, waits=waits)
    world.sync(make_desired(NEW, MOVED))
    calls = told(world)
    assert calls[:3] == [
        "stop vassal-bad.service vassal-bad.socket vassal-victim.service vassal-victim.socket",
        "daemon-reload",
        "start vassal-victim.socket",
    ]
    assert "ListenStream=@moved" in world.running["vassal-victim.socket"]
    if waits:
        killed = calls.index("kill vassal-bad.service")
        assert set(calls[3:killed]) == {"stop vassal-bad.service"}
        assert calls[-2:] == ["daemon-reload", "start vassal-bad.socket"]
        assert GRACE <= world.clock < GRACE + 1
        assert world.pending == NOTHING
    else:
        assert len(calls) == 3
        assert world.clock < PATIENCE + 1
        assert world.pending.restart == {BAD, "vassal-bad.socket"}
        assert "ListenStream=@old" in world.files["vassal-bad.socket"]


@pytest.mark.parametrize("waits", [True, False])
def test_whoever_gets_the_address_of_a_late_one_waits_for_it_and_nobody_else_does(*, waits: bool) -> None:
    heir, third = make_resolved("victim.ini", "@old"), make_resolved("third.ini", "@third")
    world = running(OLD, VICTIM, third, waits=waits)
    after = make_desired(NEW, heir, make_resolved("third.ini", "@victim"))
    world.sync(after)
    calls = told(world)
    assert calls[2] == "start vassal-third.socket"
    if not waits:
        assert "start vassal-victim.socket" not in calls
        assert {"vassal-bad.socket", "vassal-victim.socket"} <= world.pending.restart
        world.stubborn.clear()
        world.clock += GRACE
        world.sync(after)
    assert "ListenStream=@old" in world.running["vassal-victim.socket"]
    assert "ListenStream=@new" in world.running["vassal-bad.socket"]
    assert world.pending == NOTHING


def test_one_that_waits_for_a_late_one_is_run_for_with_it() -> None:
    late = LateVassals(lambda: 5.0)
    late.add({"bad"}, 7.0)
    late.have_wait({"victim": "bad"})
    installed = {label: SimpleNamespace(label=label, key=f"dir:{label}") for label in ("bad", "victim", "other")}
    conflicts = SimpleNamespace(kept=frozenset())
    facts: dict[str, Any] = {"installed": installed}
    done: Any = SimpleNamespace(
        actual=SimpleNamespace(**facts), deferred=frozenset(), conflicts=conflicts, scope=Scope.all()
    )
    assert late.by_key(done, {}) == {"dir:bad": LateVassal("bad", 7.0), "dir:victim": LateVassal("bad", 7.0)}
    late.drop({"bad"})
    assert late.by_key(done, {}) == {}
    # So is one that has only just started. A run for others does not put it off.
    done.deferred = frozenset({"victim"})
    starts = {"dir:victim": LateVassal("victim", 5.0 + SOON)}
    assert late.by_key(done, {}) == starts
    assert late.by_key(done, {"dir:victim": LateVassal("victim", 5.5)}) == {"dir:victim": LateVassal("victim", 5.5)}
    assert late.by_key(done, {"dir:victim": LateVassal("victim", 5.0)}) == starts
    late.deaf = {
        unit: DeafService(1, Handling.IGNORED, -95.0) for unit in ("vassal-victim.service", "vassal-o.service")
    }
    assert late.by_key(done, {}) == {"dir:victim": LateVassal("victim", 15.0)}
    assert late.deaf.keys() == {"vassal-victim.service"}
    # One that came due while others were run for is run for next. A run for it puts it off.
    came_due = {"dir:victim": LateVassal("victim", 4.0)}
    for scope, known in ((Scope.of({"dir:other"}), came_due), (Scope.of({"dir:victim"}), starts)):
        done.scope, late.deaf = scope, {}
        assert late.by_key(done, came_due) == known
    conflicts.kept = done.deferred
    assert (late.by_key(done, {}), late.deaf) == ({}, {})


@pytest.mark.parametrize(
    ("before", "after"),
    [((OLD,), (NEW,)), ((OLD,), ()), ((OLD,), (ALWAYS,)), ((ALWAYS,), (OLD,)), ((ALWAYS,), ())],
    ids=["moved", "removed", "always", "on-demand", "removed-always"],
)
@pytest.mark.parametrize("ends", ["by itself", "killed"])
def test_a_late_vassal_is_dealt_with_once_it_ends(
    before: tuple[ResolvedVassal, ...], after: tuple[ResolvedVassal, ...], ends: str
) -> None:
    world = running(*before, VICTIM, waits=False)
    desired = make_desired(*after, VICTIM)
    world.sync(desired)
    assert world.states[BAD] == STOPPING
    # Another run before its end takes no time.
    clock = world.clock
    world.sync(desired)
    assert world.clock == clock
    assert set(world.late.due) == {"bad"}
    assert not any(call.startswith("kill") for call in told(world))
    if ends == "killed":
        world.clock = world.late.due["bad"]
    else:
        world.stubborn.clear()
        world.take_down(BAD)
    world.sync(desired)
    assert any(call.startswith("kill") for call in told(world)) == (ends == "killed")
    assert world.late.due == {}
    assert world.pending == NOTHING
    fresh = World()
    fresh.sync(desired)
    fresh.connect("vassal-victim.service")
    assert world.facts == fresh.facts


def test_a_new_definition_reaches_a_service_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.build.STOPPING", RUNNING)
    world = running(ALWAYS, VICTIM, waits=False)
    world.files[BAD] = world.files[BAD].replace("KillMode=mixed", "KillMode=process")
    desired = make_desired(ALWAYS, VICTIM)
    world.sync(desired)
    assert told(world) == ["daemon-reload", f"stop {BAD}"]
    world.clock = world.late.due["bad"]
    world.calls.clear()
    world.sync(desired)
    assert f"kill {BAD}" in told(world)
    assert told(world)[-1] == f"start {BAD}"
    assert "KillMode=mixed" in world.running[BAD]
    assert world.pending == NOTHING


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("steps", range(30))
def test_a_run_that_is_killed_anywhere_is_continued(steps: int, *, waits: bool) -> None:
    world = running(OLD, VICTIM, waits=waits)
    world.steps_left = steps
    desired = make_desired(NEW, MOVED)
    with suppress(InterruptedRunError):
        world.sync(desired)
    world.steps_left = None
    world.stubborn.clear()
    world.late = LateVassals(lambda: world.clock)
    for _ in range(2):
        world.sync(desired)
    assert world.states["vassal-bad.socket"] == world.states["vassal-victim.socket"] == LISTENING
    assert "ListenStream=@new" in world.running["vassal-bad.socket"]
    assert BAD not in world.running
    assert world.pending == NOTHING


class Undead(WorldManager):
    """Kills nobody."""

    def kill(self, units: Collection[str]) -> None:
        self._call("kill", units)


def test_what_even_a_kill_does_not_end_is_reported_and_left_alone_for_a_while() -> None:
    world = running(OLD, VICTIM, waits=True)
    stopper = Stopper(Undead(world), quiet, world.late)
    units = [BAD, "vassal-bad.socket", "vassal-victim.service"]
    late = stopper.stop(units)
    assert late == {"bad"}
    assert stopper.finish(units, late) == {"bad"}
    assert world.late.killed == {"bad"}
    assert world.late.due["bad"] == pytest.approx(world.clock + MEMORY, abs=1)
    clock = world.clock
    assert stopper.stop(units) == {"bad"}
    assert world.clock == clock


def test_who_was_late_is_not_waited_for_again() -> None:
    world = running(OLD, VICTIM, waits=True)
    stopper = Stopper(WorldManager(world), quiet, world.late)
    stopper.finish([BAD], stopper.stop([BAD]))
    world.connect(BAD)
    world.stubborn.add(BAD)
    clock = world.clock
    assert stopper.stop([BAD]) == {"bad"}
    assert world.clock == clock
    stopper.finish([BAD], {"bad"})
    assert world.late.due == {}
    world.connect(BAD)
    world.stubborn.add(BAD)
    world.clock += MEMORY
    clock = world.clock
    assert stopper.stop([BAD]) == {"bad"}
    assert world.clock == pytest.approx(clock + PATIENCE, abs=0.1)


def test_the_pause_that_follows_a_kill_is_ended() -> None:
    world = running(OLD, waits=True)
    pause = pause_of(BAD)

    class Pausing(WorldManager):
        def kill(self, units: Collection[str]) -> None:
            self._call("kill", units)
            world.states[pause] = RUNNING

        def stop(self, units: Collection[str], **named: object) -> None:
            super().stop(units, **named)  # type: ignore[arg-type]
            if pause in units:
                world.stubborn.clear()

    stopper = Stopper(Pausing(world), quiet, world.late)
    assert stopper.finish([BAD], stopper.stop([BAD])) == frozenset()
    assert world.states[pause].is_down


def test_a_pause_that_begins_while_its_vassal_is_told_to_stop_is_ended() -> None:
    world = running(OLD, VICTIM, waits=False)
    pause = pause_of(BAD)

    class Failing(WorldManager):
        def stop(self, units: Collection[str], **named: object) -> None:
            if pause in units:
                world.stubborn.clear()
            elif BAD in units:
                world.states[pause] = RUNNING
            super().stop(units, **named)  # type: ignore[arg-type]

    units = [BAD, "vassal-bad.socket", "vassal-victim.service"]
    assert Stopper(Failing(world), quiet, world.late).stop(units) == frozenset()
    assert world.states[pause].is_down
    assert world.late.due == {}


def test_late_vassals_are_known_by_their_keys() -> None:
    world = running(OLD, waits=False)
    late = LateVassals(lambda: 100.0)
    late.add(["bad", "nobody"], 105.0)
    late.add(["bad"], 200.0)
    facts = {"actual": world.observe(), "late": frozenset({"bad"}), "deferred": frozenset()}
    done = type("Done", (), facts | {"conflicts": ConflictResult(), "scope": Scope.all()})()
    assert late.by_key(done, {}) == {OLD.vassal.key: LateVassal("bad", 105.0)}
    late.resist(["bad"])
    assert late.by_key(done, {})[OLD.vassal.key].due == 100.0 + MEMORY
    (problem,) = unkillable(done, late.killed)
    assert (problem.code, problem.key) == ("not-stopped", OLD.vassal.key)
    late.drop(["bad"])
    late.add(["bad"], 99.0)
    assert late.by_key(done, {})[OLD.vassal.key].due == 100.0 + AGAIN
    late.retain(set())
    assert late.due == {}


def test_pending_units_are_parted_and_joined() -> None:
    one, other = Pending(frozenset("a"), frozenset("b")), Pending(frozenset("c"))
    assert one | other == Pending(frozenset("ac"), frozenset("b"))
    assert (one | other).part(lambda unit: unit == "c") == other
