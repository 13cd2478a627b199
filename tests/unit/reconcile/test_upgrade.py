"""Units that another version of the bridge made: new texts alone stop no app, another socket or user does."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.model.change import Verb
from bridge.model.unit_names import COMMON, TARGET, vassal_unit
from bridge.units.marker import FORMAT
from tests.unit.build import DEAD, LISTENING, RUNNING, InterruptedRunError, World, make_desired, make_resolved, texts_of
from tests.unit.reconcile.test_plan import admissible, wishes

if TYPE_CHECKING:
    from bridge.model.vassal import ResolvedVassal
    from bridge.reconcile.desired import Desired
    from bridge.reconcile.steps import Plan

ON_DEMAND = make_resolved("a.ini", "/run/a")
MOVED = make_resolved("a.ini", "/run/b")
ALWAYS = make_resolved("b.ini")
OTHER = make_resolved("c.ini", "@c")
MARK = re.compile(r'^(# )?Format=".*"\n', re.MULTILINE)


def as_user(resolved: ResolvedVassal, user: str) -> ResolvedVassal:
    return replace(resolved, spawn=replace(resolved.spawn, user=user))


def older(text: str) -> str:
    """Return the text that version 0.1.0 would have rendered: no format in its mark, and a line that is gone since."""
    return MARK.sub("", text) + "# a line of another version\n"


def age(world: World) -> World:
    """Have another version of the bridge have made all of it."""
    for texts in (world.files, world.memory, world.running):
        for unit, text in texts.items():
            texts[unit] = older(text)
    world.calls.clear()
    return world


def synced(*resolved: ResolvedVassal) -> World:
    world = World()
    world.sync(make_desired(*resolved))
    return world


def stopped(world: World) -> set[str]:
    return {unit for name, units in world.calls if name == "stop" for unit in units}


def started(world: World) -> set[str]:
    return {unit for name, units in world.calls if name == "start" for unit in units}


def assert_written_and_read(world: World, *resolved: ResolvedVassal) -> None:
    """See that files and manager have the new texts, and that nothing is left to do."""
    assert world.plan(make_desired(*resolved)).is_empty
    assert {u: t for u, t in world.files.items() if u not in COMMON} == {
        u: t for one in resolved for u, t in texts_of(one).items()
    }
    assert all(f'Format="{FORMAT}"' in text for text in world.files.values())
    assert all(world.memory[unit] == world.files[unit] for unit in world.memory)


def test_new_texts_are_written_and_nothing_is_stopped() -> None:
    world = age(synced(ON_DEMAND, ALWAYS))
    world.connect("vassal-a.service")
    running = dict(world.running)
    plan = world.sync(make_desired(ON_DEMAND, ALWAYS))
    assert plan.write.keys() == {"vassal-a.service", "vassal-a.socket", "vassal-b.service", *COMMON}
    assert plan.keep_running == plan.write.keys()
    assert (plan.stop, plan.renew, plan.start, plan.reload, plan.retry) == ((), (), (), (), ())
    assert {change.verb for change in plan.changes} == {Verb.CHANGED}
    assert {change.detail for change in plan.changes} == {"its units are new"}
    assert (stopped(world), started(world)) == (set(), set())
    assert [name for name, _ in world.calls].count("daemon-reload") == 1
    # What runs has the text that it was started with, until its next start.
    assert world.running == running
    assert_written_and_read(world, ON_DEMAND, ALWAYS)


def test_a_failed_unit_stays_failed_under_its_new_text() -> None:
    world = age(synced(ALWAYS))
    world.fail("vassal-b.service")
    world.sync(make_desired(ALWAYS))
    assert started(world) == set()
    assert not any(name == "reset-failed" for name, _ in world.calls)


@pytest.mark.parametrize(("resolved", "unit"), [(ON_DEMAND, "vassal-a.socket"), (ALWAYS, "vassal-b.service")])
def test_what_an_admin_stopped_stays_stopped(resolved: ResolvedVassal, unit: str) -> None:
    world = age(synced(resolved))
    world.take_down(unit)
    world.stopped_by_admin = frozenset({unit})
    plan = world.sync(make_desired(resolved))
    assert unit in plan.write
    assert (plan.start, plan.renew, plan.stop) == ((), (), ())
    assert world.states[unit] == DEAD


def test_an_exile_stays_exiled() -> None:
    world = age(synced(ON_DEMAND))
    world.take_down("vassal-a.socket")
    world.exiled = frozenset({"a"})
    assert world.sync(make_desired(ON_DEMAND)).start == ()


def test_what_is_down_by_accident_is_started() -> None:
    world = age(synced(ON_DEMAND))
    world.take_down("vassal-a.socket")
    plan = world.sync(make_desired(ON_DEMAND))
    assert (plan.start, plan.stop) == (("vassal-a.socket",), ())
    assert world.running["vassal-a.socket"] == texts_of(ON_DEMAND)["vassal-a.socket"]


def test_an_outdated_config_is_reloaded_as_ever() -> None:
    world = age(synced(ALWAYS))
    world.outdated = frozenset({"b"})
    plan = world.sync(make_desired(ALWAYS))
    assert (plan.reload, plan.renew, plan.stop) == (("vassal-b.service",), (), ())


def test_a_changed_address_stops_it() -> None:
    world = age(synced(ON_DEMAND, OTHER))
    world.connect("vassal-a.service")
    plan = world.sync(make_desired(MOVED, OTHER))
    assert set(plan.stop) == {"vassal-a.service", "vassal-a.socket"}
    assert plan.keep_running == {"vassal-c.service", "vassal-c.socket", *COMMON}
    assert plan.start == ("vassal-a.socket",)
    assert stopped(world) == {"vassal-a.service", "vassal-a.socket"}
    assert "ListenStream=/run/b" in world.running["vassal-a.socket"]
    assert_written_and_read(world, MOVED, OTHER)


def test_another_user_stops_the_service_and_leaves_the_socket() -> None:
    world = age(synced(ON_DEMAND))
    world.connect("vassal-a.service")
    plan = world.sync(make_desired(as_user(ON_DEMAND, "www-data")))
    assert (plan.stop, plan.renew) == ((), ("vassal-a.service",))
    assert world.states["vassal-a.socket"] == LISTENING
    assert stopped(world) == {"vassal-a.service"}
    assert_written_and_read(world, as_user(ON_DEMAND, "www-data"))


def test_another_user_of_what_runs_always_is_in_force_at_once() -> None:
    world = age(synced(ALWAYS))
    world.sync(make_desired(as_user(ALWAYS, "www-data")))
    assert world.states["vassal-b.service"] == RUNNING
    assert "User=www-data" in world.running["vassal-b.service"]


def test_in_the_same_format_a_new_text_stops_the_service() -> None:
    world = synced(ON_DEMAND)
    world.connect("vassal-a.service")
    for texts in (world.files, world.memory, world.running):
        texts["vassal-a.service"] += "# another template\n"
    plan = world.plan(make_desired(ON_DEMAND))
    assert (plan.renew, plan.keep_running) == (("vassal-a.service",), frozenset())


def test_a_lost_socket_is_repaired_all_the_same() -> None:
    world = age(synced(ON_DEMAND))
    world.lost = frozenset({"a"})
    plan = world.sync(make_desired(ON_DEMAND))
    assert (plan.stop, plan.start) == (("vassal-a.socket",), ("vassal-a.socket",))
    world.lost = frozenset()
    assert_written_and_read(world, ON_DEMAND)


def interrupt(world: World, desired: Desired, kill: int) -> bool:
    world.steps_left = kill
    try:
        world.sync(desired)
    except InterruptedRunError:
        return True
    finally:
        world.steps_left = None
    return False


def assert_every_interruption_ends_alike(start: World, desired: Desired) -> set[str]:
    """Kill the run after each of its steps; return all units that any of those runs, or the next ones, stopped."""
    whole = deepcopy(start)
    whole.sync(desired)
    seen = stopped(whole)
    for kill in range(300):
        world = deepcopy(start)
        if not interrupt(world, desired, kill):
            return seen
        world.sync(desired)
        assert world.facts == whole.facts
        assert world.plan(desired).is_empty
        assert all(world.memory[unit] == world.files[unit] for unit in world.memory if unit in world.files)
        seen |= stopped(world)
    pytest.fail("a plan of so few vassals has fewer steps")


def test_a_killed_upgrade_never_stops_what_only_has_a_new_text() -> None:
    start = synced(ON_DEMAND, ALWAYS, OTHER, make_resolved("d.ini"))
    for label in "ac":
        start.connect(f"vassal-{label}.service")
    age(start)
    desired = make_desired(MOVED, ALWAYS, OTHER, as_user(make_resolved("d.ini"), "www-data"), make_resolved("e.ini"))
    assert assert_every_interruption_ends_alike(start, desired) == {
        "vassal-a.service", "vassal-a.socket", "vassal-d.service",
    }  # fmt: skip


def test_a_killed_upgrade_starts_nothing_that_an_admin_stopped() -> None:
    start = synced(ON_DEMAND, ALWAYS)
    for unit in ("vassal-a.socket", "vassal-b.service"):
        start.take_down(unit)
    start.stopped_by_admin = frozenset({"vassal-a.socket", "vassal-b.service"})
    age(start)
    assert assert_every_interruption_ends_alike(start, make_desired(ON_DEMAND, ALWAYS)) == set()
    for kill in range(30):
        world = deepcopy(start)
        interrupt(world, make_desired(ON_DEMAND, ALWAYS), kill)
        world.sync(make_desired(ON_DEMAND, ALWAYS))
        assert started(world) <= {TARGET}


def labels(plan: Plan) -> set[str]:
    return {parts[0] for unit in (*plan.stop, *plan.renew) if (parts := vassal_unit(unit))}


@settings(max_examples=40, deadline=None)
@given(wishes(), wishes(), st.booleans())
def test_every_interruption_of_an_upgrade(before: Desired, desired: Desired, woken: bool) -> None:
    start = World()
    start.sync(before)
    if woken:
        for label in {s.vassal.label for s in before.resolved}:
            start.connect(f"vassal-{label}.service")
    age(start)
    desired = admissible(desired)
    expected = labels(start.plan(desired))
    seen = assert_every_interruption_ends_alike(start, desired)
    assert {parts[0] for unit in seen if (parts := vassal_unit(unit))} <= expected
