"""Plans: state in, plan out; and a model in which plans are carried out, interrupted, and taken up again."""

from __future__ import annotations

import itertools
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bridge.model.change import Verb
from bridge.model.unit import Mark, UnitState
from bridge.model.unit_names import COMMON, SOCKETS, STARTER, TARGET, link_path
from bridge.reconcile.conflicts import find_conflicts
from bridge.reconcile.plan import plan_removal
from bridge.reconcile.shared import with_their_addresses
from bridge.reconcile.steps import Plan
from bridge.state.lock import Pending
from bridge.units.marker import marked
from tests.unit.build import (
    BOOT_LINK,
    DEAD,
    FAILED,
    LISTENING,
    RUNNING,
    InterruptedRunError,
    World,
    common_texts,
    make_desired,
    make_resolved,
    texts_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.model.vassal import ResolvedVassal
    from bridge.reconcile.desired import Desired

SOCKET_LINK = link_path("vassal-a.socket")
SERVICE_LINK = "vassals-services.target.wants/vassal-a.service"
ON_DEMAND = make_resolved("a.ini", "/run/a")
MOVED = make_resolved("a.ini", "/run/b")
ALWAYS = make_resolved("a.ini")


def synced(*resolved: ResolvedVassal, **more: object) -> World:
    world = World()
    world.sync(make_desired(*resolved))
    for name, fact in more.items():
        setattr(world, name, fact)
    return world


def removal(world: World) -> Plan:
    return plan_removal(world.observe(), {}, boot_link=BOOT_LINK)


def told(plan: Plan) -> list[tuple[str, Verb, str]]:
    return [(c.vassal, c.verb, c.detail) for c in plan.changes]


def test_the_first_plan() -> None:
    plan = World().plan(make_desired(ON_DEMAND))
    assert plan == Plan(
        link={SOCKET_LINK: "../vassal-a.socket", BOOT_LINK: f"../{TARGET}"},
        write={**texts_of(ON_DEMAND), **common_texts()},
        start=("vassal-a.socket", TARGET),
        changes=plan.changes,
    )
    assert told(plan) == [("a.ini", Verb.ADDED, "on demand at /run/a")]
    assert "vassal-a.service" not in plan.start


def test_one_that_runs_always_is_started() -> None:
    plan = World().plan(make_desired(ALWAYS))
    assert plan.link[SERVICE_LINK] == "../vassal-a.service"
    assert plan.start == ("vassal-a.service", TARGET)
    assert told(plan) == [("a.ini", Verb.ADDED, "runs always")]


@pytest.mark.parametrize("resolved", [ON_DEMAND, ALWAYS])
def test_an_unchanged_vassal_is_no_work(resolved: ResolvedVassal) -> None:
    world = synced(resolved)
    assert world.plan(make_desired(resolved)).is_empty
    world.states["vassal-a.service"] = RUNNING
    plan = world.plan(make_desired(resolved))
    assert plan.is_empty
    assert plan.changes == ()


def test_a_new_vassal_touches_no_other() -> None:
    plan = synced(make_resolved("b.ini", "@b")).plan(make_desired(make_resolved("b.ini", "@b"), ON_DEMAND))
    assert plan == Plan(
        link={SOCKET_LINK: "../vassal-a.socket"},
        write=texts_of(ON_DEMAND),
        start=("vassal-a.socket",),
        changes=plan.changes,
    )


@pytest.mark.parametrize("woken", [False, True])
def test_a_changed_address(woken: bool) -> None:
    world = synced(ON_DEMAND)
    if woken:
        world.connect("vassal-a.service")
    plan = world.plan(make_desired(MOVED))
    assert plan.stop == (("vassal-a.service",) if woken else ()) + ("vassal-a.socket",)
    assert plan.start == ("vassal-a.socket",)
    assert set(plan.write) == {"vassal-a.service", "vassal-a.socket"}
    assert (plan.link, plan.unlink, plan.remove) == ({}, (), ())
    assert told(plan) == [("a.ini", Verb.CHANGED, "on demand at /run/b (before: at /run/a)")]


def test_from_on_demand_to_always() -> None:
    plan = synced(ON_DEMAND).plan(make_desired(ALWAYS))
    assert plan.stop == ("vassal-a.socket",)
    assert plan.remove == ("vassal-a.socket",)
    assert plan.unlink == (SOCKET_LINK,)
    assert plan.link == {SERVICE_LINK: "../vassal-a.service"}
    assert set(plan.write) == {"vassal-a.service"}
    assert plan.start == ("vassal-a.service",)
    assert told(plan) == [("a.ini", Verb.CHANGED, "runs always (before: at /run/a)")]


def test_from_always_to_on_demand() -> None:
    plan = synced(ALWAYS).plan(make_desired(ON_DEMAND))
    assert plan.stop == ("vassal-a.service",)
    assert plan.remove == ()
    # Left behind, this link would start the vassal at the next boot without a connection.
    assert plan.unlink == (SERVICE_LINK,)
    assert plan.link == {SOCKET_LINK: "../vassal-a.socket"}
    assert plan.start == ("vassal-a.socket",)
    assert told(plan) == [("a.ini", Verb.CHANGED, "on demand at /run/a (before: ran always)")]


def test_only_the_service_changed() -> None:
    world = synced(ON_DEMAND)
    world.connect("vassal-a.service")
    world.files["vassal-a.service"] += "# another template\n"
    plan = world.plan(make_desired(ON_DEMAND))
    assert (plan.stop, plan.renew) == ((), ("vassal-a.service",))
    assert plan.start == ()
    assert set(plan.write) == {"vassal-a.service"}
    assert told(plan) == [("a.ini", Verb.CHANGED, "its units are new")]


def test_an_always_vassals_changed_service_is_started_again() -> None:
    world = synced(ALWAYS)
    world.files["vassal-a.service"] += "# another template\n"
    plan = world.plan(make_desired(ALWAYS))
    assert (plan.stop, plan.renew, plan.start) == ((), ("vassal-a.service",), ("vassal-a.service",))


def test_a_removed_vassal() -> None:
    world = synced(ON_DEMAND, make_resolved("b.ini"))
    world.connect("vassal-a.service")
    plan = world.plan(make_desired(make_resolved("b.ini")))
    assert plan == Plan(
        stop=("vassal-a.service", "vassal-a.socket"),
        unlink=(SOCKET_LINK,),
        remove=("vassal-a.service", "vassal-a.socket"),
        link={},
        write={},
        changes=plan.changes,
    )
    assert told(plan) == [("a.ini", Verb.REMOVED, "was at /run/a")]


def test_a_removed_vassal_that_is_down_is_not_stopped() -> None:
    plan = synced(ALWAYS, states={TARGET: LISTENING, "vassal-a.service": FAILED}).plan(make_desired())
    assert plan.stop == ()
    assert plan.remove == ("vassal-a.service",)


def test_a_refused_vassal_that_an_interrupted_run_stopped_is_started_as_it_was() -> None:
    world = synced(ON_DEMAND)
    world.take_down("vassal-a.socket")
    world.pending = Pending(restart=frozenset({"vassal-a.socket"}))
    plan = world.plan(make_desired(refused=[MOVED]))
    assert plan.start == ("vassal-a.socket",)
    assert not plan.write


@pytest.mark.parametrize("steps", range(20))
def test_a_refused_vassal_is_not_started_again_where_another_listens_now(steps: int) -> None:
    world = synced(ON_DEMAND)
    world.steps_left = steps
    with suppress(InterruptedRunError):
        world.sync(make_desired(make_resolved("a.xml", "/run/b"), make_resolved("b.ini", "/run/a")))
    world.steps_left = None
    final = make_desired(make_resolved("a.xml", "/run/a"), make_resolved("b.ini", "/run/a"))
    world.sync(final)
    assert_settled(world, final)


def test_a_refused_vassal_keeps_its_units() -> None:
    world = synced(ON_DEMAND)
    assert world.plan(make_desired(refused=[MOVED])).is_empty


def test_an_unreachable_monitors_vassals_stay() -> None:
    world = synced(ON_DEMAND, make_resolved("b.ini", folder="/w"))
    plan = world.plan(make_desired(unreachable=["dir:///v"]))
    assert told(plan) == [("b.ini", Verb.REMOVED, "")]


def test_foreign_units_are_never_touched() -> None:
    foreign = {"vassal-a.socket": "[Socket]\n", "vassal-x.service": "[Service]\n"}
    world = synced(make_resolved("b.ini"), files={**synced(make_resolved("b.ini")).files, **foreign})
    for desired in (make_desired(ON_DEMAND, make_resolved("b.ini")), make_desired(make_resolved("b.ini"))):
        assert world.plan(desired).is_empty
    assert not set(foreign) & set(removal(world).remove)


@pytest.mark.parametrize("unit", ["vassal-a.socket", "vassal-a.service"])
@pytest.mark.parametrize("installed", [True, False])
def test_a_masked_unit_freezes_its_vassal(unit: str, installed: bool) -> None:
    world = synced(ON_DEMAND)
    if installed:
        del world.files[unit]
    else:
        world = synced()
    world.masked.add(unit)
    for desired in (make_desired(ON_DEMAND), make_desired(MOVED)):
        plan = world.plan(desired)
        assert plan.is_empty
        assert [d.code for d in plan.diagnostics] == ["masked"]


def test_a_masked_vassal_that_is_gone_loses_its_other_unit() -> None:
    world = synced(ON_DEMAND)
    del world.files["vassal-a.service"]
    world.masked.add("vassal-a.service")
    assert world.plan(make_desired()).remove == ("vassal-a.socket",)


def test_two_swap_their_addresses_in_one_plan() -> None:
    world = synced(ON_DEMAND, make_resolved("b.ini", "/run/b"))
    desired = make_desired(MOVED, make_resolved("b.ini", "/run/a"))
    plan = world.plan(desired)
    assert set(plan.stop) == set(plan.start) == {"vassal-a.socket", "vassal-b.socket"}
    world.apply(plan)
    assert "ListenStream=/run/b" in world.running["vassal-a.socket"]
    assert "ListenStream=/run/a" in world.running["vassal-b.socket"]


def test_an_outdated_vassal_is_reloaded() -> None:
    world = synced(ON_DEMAND, outdated=frozenset({"a"}))
    world.connect("vassal-a.service")
    plan = world.plan(make_desired(ON_DEMAND))
    assert plan == Plan(link={}, write={}, reload=("vassal-a.service",), changes=plan.changes)
    assert told(plan) == [("a.ini", Verb.RELOADED, "its config changed")]


def test_a_changed_vassal_is_not_reloaded_too() -> None:
    world = synced(ON_DEMAND, outdated=frozenset({"a"}))
    world.connect("vassal-a.service")
    assert world.plan(make_desired(MOVED)).reload == ()


def test_a_vassal_that_gave_up_is_tried_again_once_its_config_changed() -> None:
    world = synced(ALWAYS)
    world.fail("vassal-a.service")
    assert world.plan(make_desired(ALWAYS)).is_empty
    world.outdated = frozenset({"a"})
    plan = world.plan(make_desired(ALWAYS))
    assert (plan.start, plan.reload) == (("vassal-a.service",), ())
    assert told(plan) == [("a.ini", Verb.STARTED, "runs always")]


@pytest.mark.parametrize("resolved", [ON_DEMAND, ALWAYS])
def test_what_was_stopped_is_started(resolved: ResolvedVassal) -> None:
    unit = "vassal-a.socket" if resolved.addresses else "vassal-a.service"
    world = synced(resolved)
    world.states[unit] = DEAD
    assert world.plan(make_desired(resolved)).start == (unit,)
    del world.states[unit]
    assert world.plan(make_desired(resolved)).start == (unit,)


def test_a_failed_socket_is_started() -> None:
    world = synced(ON_DEMAND)
    world.fail("vassal-a.socket")
    assert world.plan(make_desired(ON_DEMAND)).start == ("vassal-a.socket",)


def test_what_an_interrupted_run_left_is_stopped_read_and_started_again() -> None:
    world = synced(
        ON_DEMAND, pending=Pending(restart=frozenset({"vassal-a.service", "vassal-a.socket", "vassal-gone.service"}))
    )
    world.connect("vassal-a.service")
    plan = world.plan(make_desired(ON_DEMAND))
    assert plan.stop == ("vassal-a.service", "vassal-a.socket")
    assert plan.start == ("vassal-a.socket",)
    assert plan.reread == ("vassal-a.service", "vassal-a.socket")


def test_a_stale_unit_in_memory_alone_is_read_again() -> None:
    """Written before the run was killed, and remembered by its socket: the next connection must not start the old."""
    world = synced(ON_DEMAND, pending=Pending(restart=frozenset({"vassal-a.service"})))
    assert world.states["vassal-a.service"] == DEAD
    plan = world.plan(make_desired(ON_DEMAND))
    assert plan.reread == ("vassal-a.service",)
    assert not plan.is_empty


def test_dead_links_of_the_bridges_are_dropped() -> None:
    world = synced(ON_DEMAND)
    dead = link_path("vassal-x.socket")
    others = {
        "vassals-services.target.wants/vassal-y.socket": "../vassal-y.socket",
        "vassals-services.target.wants/vassal-z.service": "/srv/vassal-z.service",
    }
    world.links |= {dead: "../vassal-x.socket", **others}
    assert world.plan(make_desired(ON_DEMAND)).unlink == (dead,)


OLD_TARGET, OLD_LINK = "vassals-sockets@.target", "vassals-sockets@c.target.wants/vassal-a.socket"


def with_old_links() -> World:
    """Return what an earlier version left, which started the sockets in shares."""
    world = synced(ON_DEMAND)
    world.links[OLD_LINK] = world.links.pop(SOCKET_LINK)
    world.files[OLD_TARGET] = marked("[Unit]\n", Mark(unit=OLD_TARGET, format="5"))
    return world


@pytest.mark.parametrize("desired", [make_desired(ON_DEMAND), make_desired(refused=[MOVED]), make_desired(MOVED)])
def test_links_of_earlier_versions_are_moved_also_those_of_refused_vassals(desired: Desired) -> None:
    world = with_old_links()
    plan = world.plan(desired)
    assert (plan.link, plan.unlink, plan.remove) == ({SOCKET_LINK: "../vassal-a.socket"}, (OLD_LINK,), (OLD_TARGET,))
    world.sync(desired)
    assert (world.links[SOCKET_LINK], OLD_LINK in world.links) == ("../vassal-a.socket", False)
    assert OLD_TARGET not in world.files
    assert world.plan(desired).is_empty


@pytest.mark.parametrize("is_removal", [False, True])
def test_links_of_earlier_versions_go_with_their_vassals(is_removal: bool) -> None:
    world = with_old_links()
    plan = removal(world) if is_removal else world.plan(make_desired())
    assert (plan.unlink[0], plan.link) == (OLD_LINK, {})
    assert OLD_TARGET in plan.remove
    world.apply(plan)
    assert OLD_LINK not in world.links


def test_wherever_an_upgrade_is_killed_each_vassal_starts_at_boot() -> None:
    """Either by the earlier version's links and its starter, or by the new ones."""
    new = common_texts()[STARTER]
    for kill in itertools.count():
        world = with_old_links()
        world.files[STARTER] = old = marked("[Service]\n", Mark(unit=STARTER, format="5"))
        is_killed = interrupt(world, make_desired(ON_DEMAND), kill)
        starter, links = world.files[STARTER], world.links
        by_old = starter == old and OLD_TARGET in world.files and OLD_LINK in links
        assert by_old or (starter == new and SOCKETS in world.files and SOCKET_LINK in links)
        if not is_killed:
            break
    assert kill > 4


def test_a_link_elsewhere_is_put_right() -> None:
    world = synced(ON_DEMAND)
    world.links[SOCKET_LINK] = "/dev/null"
    assert world.plan(make_desired(ON_DEMAND)).link == {SOCKET_LINK: "../vassal-a.socket"}


def test_the_admin_may_disable_the_target() -> None:
    world = synced(ON_DEMAND)
    del world.links[BOOT_LINK]
    assert world.plan(make_desired(ON_DEMAND)).is_empty
    assert world.plan(make_desired(MOVED)).link == {}


def test_a_stopped_target_is_started() -> None:
    world = synced(ON_DEMAND)
    world.states[TARGET] = DEAD
    assert world.plan(make_desired(ON_DEMAND)).start == (TARGET,)


def test_removal_takes_all_of_the_bridges_and_nothing_else() -> None:
    world = synced(ON_DEMAND, make_resolved("b.ini"))
    slice_state = UnitState(load="loaded", active="active", sub="active")
    world.states |= {"vassals-2a.slice": slice_state, "vassals.slice": slice_state, "vassals-backup.service": RUNNING}
    world.files["vassal-x.service"] = "[Service]\n"
    plan = removal(world)
    assert set(plan.remove) == {"vassal-a.service", "vassal-a.socket", "vassal-b.service", *COMMON}
    assert {unit for unit in plan.stop if not world.states[unit].is_down} == {
        "vassal-a.socket", "vassal-b.service", "vassals-2a.slice", "vassals.slice", TARGET,
    }  # fmt: skip
    world.apply(plan)
    assert world.files == {"vassal-x.service": "[Service]\n"}
    assert world.links == {}
    world.pending = Pending()
    assert removal(world).is_empty


def test_removal_where_nothing_is() -> None:
    assert removal(World()).is_empty
    foreign = World(files={TARGET: "[Unit]\n"}, links={BOOT_LINK: f"../{TARGET}"})
    assert removal(foreign).is_empty


def test_changes_are_told_in_the_order_of_names() -> None:
    plan = synced(make_resolved("c.ini")).plan(make_desired(make_resolved("b.ini"), make_resolved("a.ini")))
    assert [c.vassal for c in plan.changes] == ["a.ini", "b.ini", "c.ini"]


# The model.

ADDRESSES = st.sampled_from(["", "/run/1", "/run/2", ":80", "127.0.0.1:80", "[::]:80", "@x"])
FOLDERS = {"a.ini": "/v", "a.xml": "/v", "b.ini": "/v", "c.ini": "/w", "d.ini": "/w"}


@st.composite
def wishes(draw: st.DrawFn) -> Desired:
    """Draw what monitors, rules and configs might ask for; now and then a config is refused or a folder not there."""
    drawn = draw(st.dictionaries(st.sampled_from(sorted(FOLDERS)), st.tuples(ADDRESSES, st.integers(0, 9))))
    gone = draw(st.sampled_from(["", "", "", "/w"]))
    wanted = [
        (make_resolved(name, address, folder=FOLDERS[name]), luck)
        for name, (address, luck) in sorted(drawn.items())
        if FOLDERS[name] != gone
    ]
    return make_desired(
        *(resolved for resolved, luck in wanted if luck),
        refused=(resolved for resolved, luck in wanted if not luck),
        unreachable=[f"dir://{gone}"] if gone else [],
    )


def assert_settled(world: World, desired: Desired) -> None:
    """See that nothing is left to do, and that what is up was started from the files as they are."""
    assert world.plan(desired).is_empty
    for unit, text in world.running.items():
        assert text == world.files.get(unit, text), f"{unit} runs with an old text"
        assert unit in world.files or unit in COMMON
    for unit, text in world.memory.items():
        if unit in world.files:
            assert text == world.files[unit], f"systemd remembers an old text of {unit}"
    for path, target in world.links.items():
        assert target == f"../{path.rpartition('/')[2]}"
        assert path.rpartition("/")[2] in world.files
    assert len(streams(world)) == len(set(streams(world)))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(wishes(), st.sets(st.sampled_from("abcd"))), min_size=1, max_size=4))
def test_a_second_plan_is_always_empty(history: list[tuple[Desired, set[str]]]) -> None:
    world = World()
    for desired, woken in history:
        world.sync(desired)
        assert_settled(world, desired)
        for label in woken & {s.vassal.label for s in desired.resolved}:
            world.connect(f"vassal-{label}.service")
        assert_settled(world, desired)


def admissible(desired: Desired) -> Desired:
    """Leave out who is refused or cannot be asked: what those keep depends on how far the last run came."""
    return replace(desired, rejections=(), unreachable=frozenset())


@settings(max_examples=150, deadline=None)
@given(wishes(), wishes(), wishes(), st.lists(st.integers(0, 40), min_size=1, max_size=3), st.booleans())
def test_from_any_interruption_the_next_plan_reaches_the_same_end(
    before: Desired, meant: Desired, final: Desired, kills: list[int], woken: bool
) -> None:
    world = World()
    world.sync(before)
    if woken:
        for label in {s.vassal.label for s in before.resolved}:
            world.connect(f"vassal-{label}.service")
    final = admissible(final)
    for kill, desired in zip(kills, [meant, final, final], strict=False):
        interrupt(world, desired, kill)
    world.sync(final)
    assert_settled(world, final)
    fresh = World()
    if not find_conflicts(final, fresh.observe()).rejections:
        # Where no two want the same, all histories end alike.
        fresh.sync(final)
        assert (world.files, world.links) == (fresh.files, fresh.links)


def each_interruption(before: Desired, meant: Desired) -> Iterator[World]:
    """Yield a world for each step at which a run can be killed."""
    for kill in range(100):
        world = World()
        world.sync(before)
        if not interrupt(world, meant, kill):
            return
        yield world


def streams(world: World) -> list[str]:
    sockets = [text for unit, text in world.running.items() if unit.endswith(".socket")]
    return [line for text in sockets for line in text.splitlines() if line.startswith("ListenStream=")]


def test_an_address_that_an_interrupted_run_left_to_two_is_one_predecessors() -> None:
    before = make_desired(make_resolved("c.ini", "/run/2"), make_resolved("d.ini", "/run/1"))
    meant = make_desired(make_resolved("c.ini", "/run/1"))
    rivals = make_desired(make_resolved("a.ini"), make_resolved("a.xml", "/run/1"))
    doubled = 0
    for world in each_interruption(before, meant):
        files = [text for unit, text in world.files.items() if unit.endswith(".socket")]
        doubled += sum("ListenStream=/run/1\n" in text for text in files) > 1
        world.sync(rivals)
        assert_settled(world, rivals)
    assert doubled


def test_who_was_stopped_does_not_get_an_address_back_from_one_that_is_up() -> None:
    world = synced(make_resolved("c.ini", "/run/1"), make_resolved("d.ini", "/run/2"))
    actual = world.observe()
    c, d = actual.installed["c"], actual.installed["d"]
    both = replace(d, addresses=c.addresses, canonical_addresses=c.canonical_addresses)
    nothing = find_conflicts(make_desired(), actual)
    down = replace(actual, states={})
    assert list(with_their_addresses([d], [c, d], down, nothing)) == [d]
    assert list(with_their_addresses([both], [c, both], replace(down, states={c.socket: LISTENING}), nothing)) == []
    assert list(with_their_addresses([c, both], [c, both], down, nothing)) == [c]


def test_an_address_that_an_interrupted_run_left_to_two_is_resumed_once() -> None:
    c, d = make_resolved("c.ini", "/run/2"), make_resolved("d.ini", "/run/1")
    swapped = make_desired(make_resolved("c.ini", "/run/1"), make_resolved("d.ini", "/run/2"))
    for world in each_interruption(make_desired(c, d), swapped):
        refused = make_desired(refused=[c, d])
        world.sync(refused)
        assert len(streams(world)) == len(set(streams(world)))
        world.sync(swapped)
        assert_settled(world, swapped)
        assert sorted(streams(world)) == ["ListenStream=/run/1", "ListenStream=/run/2"]


@settings(max_examples=60, deadline=None)
@given(wishes(), wishes())
def test_every_single_interruption_point(before: Desired, desired: Desired) -> None:
    start = World()
    start.sync(before)
    desired = admissible(desired)
    # Which of two rivals is served depends on how far the last run came: the one with units keeps the address.
    assume(not find_conflicts(desired, World().observe()).rejections)
    whole = deepcopy(start)
    whole.sync(desired)
    for kill in range(200):
        world = deepcopy(start)
        if not interrupt(world, desired, kill):
            break
        world.sync(desired)
        assert_settled(world, desired)
        assert world.facts == whole.facts
    else:
        pytest.fail("a plan of so few vassals has fewer steps")


@settings(max_examples=60, deadline=None)
@given(wishes(), st.integers(0, 60))
def test_a_removal_takes_up_where_a_killed_run_stopped(desired: Desired, kill: int) -> None:
    world = World()
    interrupt(world, desired, kill)
    for left in (kill // 2, None):
        world.steps_left = left
        try:
            world.apply(removal(world))
        except InterruptedRunError:
            assert left is not None
    assert (world.files, world.links) == ({}, {})
    assert all(state.is_down for state in world.states.values())


def interrupt(world: World, desired: Desired, kill: int) -> bool:
    """Sync and be killed after so many steps; tell whether it came to that."""
    world.steps_left = kill
    try:
        world.sync(desired)
    except InterruptedRunError:
        return True
    finally:
        world.steps_left = None
    return False
