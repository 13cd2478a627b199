"""Planning where somebody watches: lost sockets, exiles, units an admin stopped, most vassals gone at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.model.change import Verb
from bridge.model.unit import UnitState
from bridge.model.unit_names import TARGET, pause_of
from bridge.reconcile.conflicts import find_conflicts
from tests.unit.build import DEAD, LISTENING, World, make_desired, make_resolved, plan_for

if TYPE_CHECKING:
    from bridge.model.vassal import ResolvedVassal
    from bridge.reconcile.steps import Plan

ON_DEMAND = make_resolved("a.ini", "/run/a")
ALWAYS = make_resolved("a.ini")
PAUSING = UnitState(load="loaded", active="active", sub="running")


def synced(count: int = 1) -> World:
    world = World()
    world.sync(make_desired(*many(count)))
    return world


def many(count: int) -> list[ResolvedVassal]:
    return [ON_DEMAND, *(make_resolved(f"v{n}.ini", f"/run/v{n}") for n in range(1, count))]


def verbs(plan: Plan) -> list[Verb]:
    return [change.verb for change in plan.changes]


def test_a_lost_socket_is_made_anew() -> None:
    world = synced()
    world.connect("vassal-a.service")
    world.lost = frozenset({"a"})
    plan = world.plan(make_desired(ON_DEMAND))
    assert set(plan.stop) == {"vassal-a.service", "vassal-a.socket"}
    assert plan.start == ("vassal-a.socket",)
    assert (plan.write, verbs(plan)) == ({}, [Verb.MENDED])


def test_an_exile_stays_down_until_its_config_changes() -> None:
    world = synced()
    world.take_down("vassal-a.socket")
    world.exiled = frozenset({"a"})
    assert world.plan(make_desired(ON_DEMAND)).is_empty
    world.outdated = frozenset({"a"})
    plan = world.plan(make_desired(ON_DEMAND))
    assert (plan.start, plan.retry) == (("vassal-a.socket",), ("vassal-a.service",))
    assert verbs(plan) == [Verb.RETRIED]


def test_what_an_admin_stopped_stays_stopped_until_it_changes() -> None:
    world = synced()
    world.take_down("vassal-a.socket")
    world.take_down(TARGET)
    world.stopped_by_admin = frozenset({"vassal-a.socket", TARGET})
    assert world.plan(make_desired(ON_DEMAND)).is_empty
    plan = world.plan(make_desired(make_resolved("a.ini", "/run/b")))
    assert plan.start == ("vassal-a.socket",)


@pytest.mark.parametrize("resolved", [ON_DEMAND, ALWAYS], ids=["on demand", "always"])
def test_a_pause_ends_when_the_config_changes(resolved: ResolvedVassal) -> None:
    world = World()
    world.sync(make_desired(resolved))
    world.states["vassal-a.service"] = UnitState(load="loaded", active="deactivating", sub="stop-post")
    world.states[pause_of("vassal-a.service")] = PAUSING
    assert world.plan(make_desired(resolved)).is_empty
    world.outdated = frozenset({"a"})
    plan = world.plan(make_desired(resolved))
    assert (plan.retry, plan.reload) == (("vassal-a.service",), ())


@pytest.mark.parametrize(("there", "stay", "guarded"), [(10, 4, True), (10, 5, False), (9, 0, False), (12, 0, True)])
def test_most_vassals_gone_at_once_are_not_removed(there: int, stay: int, *, guarded: bool) -> None:
    world = synced(there)
    actual = world.observe()
    desired = make_desired(*many(there)[:stay])

    conflicts = find_conflicts(desired, actual)
    assert len(plan_for(conflicts, actual).remove) == 2 * (there - stay)
    careful = plan_for(conflicts, actual, is_guarded=True)
    assert careful.is_empty == guarded
    assert [d.code for d in careful.diagnostics] == (["mass-removal"] if guarded else [])


def test_a_socket_that_was_restarted_under_its_app_is_made_anew() -> None:
    world = synced()
    world.connect("vassal-a.service")
    world.states["vassal-a.socket"] = DEAD
    plan = world.plan(make_desired(ON_DEMAND))
    assert (plan.stop, plan.start) == (("vassal-a.service",), ("vassal-a.socket",))
    assert verbs(plan) == [Verb.MENDED]
    world.apply(plan)
    assert world.states["vassal-a.socket"] == LISTENING
    assert world.plan(make_desired(ON_DEMAND)).is_empty


def test_a_socket_that_an_admin_stopped_under_its_app_stays_stopped_while_the_daemon_watches() -> None:
    world = synced()
    world.connect("vassal-a.service")
    world.states["vassal-a.socket"] = DEAD
    world.stopped_by_admin = frozenset({"vassal-a.socket"})
    assert world.plan(make_desired(ON_DEMAND)).is_empty
