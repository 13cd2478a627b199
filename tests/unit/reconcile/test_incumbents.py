"""Whoever has a name or an address keeps it, whatever others write beside it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bridge.model.vassal import ConfigFile, Owner
from bridge.reconcile.conflicts import find_conflicts
from bridge.reconcile.plan import gone_vassals
from tests.unit.build import LISTENING, InterruptedRunError, World, make_desired, make_resolved, plan_for

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bridge.model.vassal import ResolvedVassal
    from bridge.reconcile.findings import ConflictResult

ALICE, MALLORY = 4001, 4002


def of(
    uid: int | None, name: str, address: str = "", *, folder: str = "/v", monitor: str = "", label: str = ""
) -> ResolvedVassal:
    """Return a tenant's vassal; without a uid, root's where there is no tyrant mode."""
    one = make_resolved(name, address, folder=folder)
    vassal = replace(one.vassal, config=ConfigFile(f"{folder}/{name}", Owner(uid or 0, uid or 0)))
    if monitor:
        # A pattern's vassals are named by their whole path.
        vassal = replace(vassal, monitor=monitor, name=vassal.config.path)
    vassal = replace(vassal, label=label or vassal.label)
    return replace(one, vassal=vassal, spawn=replace(one.spawn, tenant=uid))


def served(*resolved: ResolvedVassal) -> World:
    world = World()
    world.sync(make_desired(*resolved))
    return world


def decide(world: World, *wanted: ResolvedVassal, refused: Iterable[ResolvedVassal] = ()) -> ConflictResult:
    return find_conflicts(make_desired(*wanted, refused=refused), world.observe())


def winners(world: World, *wanted: ResolvedVassal) -> list[str]:
    """Return the accepted vassals' configs; whatever their order, it must be the same."""
    one = sorted(s.vassal.config.path for s in decide(world, *wanted).accepted)
    assert one == sorted(s.vassal.config.path for s in decide(world, *reversed(wanted)).accepted)
    return one


VICTIM = of(ALICE, "v.ini", "/run/v")


@pytest.mark.parametrize(
    "newcomer",
    [
        of(MALLORY, "v.json", "/run/other"),
        of(MALLORY, "v.xml"),
        of(ALICE, "v.json", "/run/other"),
        of(MALLORY, "m.ini", "/run/v"),
        of(MALLORY, "v.json", "/run/v"),
        of(ALICE, "m.ini", "/run/v"),
        of(None, "m.ini", "/run/v"),
        # A link to the folder under a pattern: the same file again, and so the same owner.
        of(ALICE, "v.ini", "/run/v", folder="/home/mallory", monitor="glob:///home/*/*.ini", label="home-mallory-v"),
    ],
    ids=lambda one: f"{one.vassal.config.path} {one.spawn.tenant} {one.addresses}",
)
def test_a_newcomer_is_refused_and_the_incumbent_goes_on(newcomer: ResolvedVassal) -> None:
    world = served(VICTIM)
    assert winners(world, VICTIM, newcomer) == ["/v/v.ini"]
    conflicts = decide(world, VICTIM, newcomer)
    assert {r.vassal.config.path for r in conflicts.rejections} == {newcomer.vassal.config.path}
    assert "/v/v.ini" in conflicts.diagnostics[0].message
    assert plan_for(conflicts, world.observe()).is_empty


@pytest.mark.parametrize("address", [":9000", "127.0.0.1:9000", "[::]:9000"])
def test_an_address_that_overlaps_is_the_incumbents_too(address: str) -> None:
    incumbent = of(ALICE, "v.ini", "127.0.0.1:9000")
    assert winners(served(incumbent), incumbent, of(MALLORY, "m.ini", address)) == ["/v/v.ini"]
    wide = of(ALICE, "v.ini", ":9000")
    newcomers = [of(MALLORY, f"m{n}.ini", f"127.0.0.{n}:9000") for n in (1, 2)]
    assert winners(served(wide), wide, *newcomers) == ["/v/v.ini"]


def test_a_vassal_that_moves_to_a_neighbours_address_is_a_newcomer_there() -> None:
    mallorys = of(MALLORY, "m.ini", "/run/m")
    world = served(VICTIM, mallorys)
    moved = of(MALLORY, "m.ini", "/run/v")
    assert winners(world, VICTIM, moved) == ["/v/v.ini"]
    assert decide(world, VICTIM, moved).kept == {"m"}


def test_the_incumbent_is_changed_while_the_newcomer_is_there() -> None:
    world = served(VICTIM)
    moved, newcomer = of(ALICE, "v.ini", "/run/new"), of(MALLORY, "v.json", "/run/x")
    assert winners(world, moved, newcomer) == ["/v/v.ini"]


def test_a_config_is_known_when_its_monitor_has_another_id() -> None:
    again = replace(VICTIM, vassal=replace(VICTIM.vassal, name="/v/v.ini", monitor="glob:///v/*"))
    assert winners(served(VICTIM), again, of(MALLORY, "v.json", "/run/v")) == ["/v/v.ini"]


# A file that was renamed.


@pytest.mark.parametrize("name", ["w.ini", "v.json"])
@pytest.mark.parametrize(
    "rival",
    [of(MALLORY, "m.ini", "/run/v"), of(MALLORY, "v.xml", "/run/v"), of(MALLORY, "v.yml", "/run/other")],
    ids=lambda one: f"{one.vassal.name} {one.addresses}",
)
def test_a_renamed_file_is_served_in_the_same_run(name: str, rival: ResolvedVassal) -> None:
    world = served(VICTIM)
    renamed = of(ALICE, name, "/run/v")
    assert renamed.vassal.config.path in winners(world, renamed, rival)
    plan = plan_for(decide(world, renamed, rival), world.observe())
    assert renamed.vassal.socket in plan.start
    world.sync(make_desired(renamed, rival))
    assert [text for text in world.running.values() if "ListenStream=/run/v\n" in text]


@pytest.mark.parametrize("kill", range(30))
def test_a_run_that_is_killed_does_not_lose_who_has_the_address(kill: int) -> None:
    world = served(VICTIM)
    desired = make_desired(of(ALICE, "w.ini", "/run/v"), of(MALLORY, "m.ini", "/run/v"))
    world.steps_left = kill
    with suppress(InterruptedRunError):
        world.sync(desired)
    world.steps_left = None
    world.sync(desired)
    assert world.states["vassal-w.socket"] == LISTENING
    assert "vassal-m.socket" not in world.files


def test_what_is_put_in_the_place_of_a_renamed_file_gets_nothing_of_it() -> None:
    world = served(VICTIM)
    renamed, impostor = of(ALICE, "w.ini", "/run/v"), of(MALLORY, "v.ini", "/run/v")
    assert winners(world, renamed, impostor) == ["/v/w.ini"]
    assert decide(world, renamed, impostor).kept == frozenset()


def test_what_another_tenant_puts_in_the_place_of_a_config_keeps_no_units() -> None:
    """They would run the other tenant's config as the first one."""
    world = served(VICTIM)
    for owner, kept in ((MALLORY, set()), (ALICE, {"v"}), (None, {"v"})):
        assert decide(world, refused=[of(owner, "v.ini", "/run/v")]).kept == kept


def test_a_renamed_file_that_is_refused_leaves_its_site_up() -> None:
    """Its new name is a neighbour's: what ran before goes on."""
    neighbours = of(MALLORY, "w.json", "/run/w")
    world = served(VICTIM, neighbours)
    renamed = of(ALICE, "w.ini", "/run/v")
    conflicts = decide(world, renamed, neighbours)
    assert [d.code for d in conflicts.diagnostics] == ["name-conflict"]
    assert conflicts.kept == {"v"}
    assert plan_for(conflicts, world.observe()).is_empty
    # The same if it is refused for itself.
    conflicts = decide(world, neighbours, refused=[renamed])
    assert conflicts.kept == {"v"}
    assert gone_vassals(conflicts, world.observe()) == []


def test_a_neighbour_who_is_refused_keeps_no_vassal_that_is_gone() -> None:
    world = served(VICTIM)
    conflicts = decide(world, refused=[of(MALLORY, "m.ini", "/run/v")])
    assert [one.label for one in gone_vassals(conflicts, world.observe())] == ["v"]


def test_two_files_of_one_tenant_that_replace_a_third_are_told_apart_by_nothing() -> None:
    world = served(VICTIM)
    conflicts = decide(world, of(ALICE, "1.ini", "/run/v"), of(ALICE, "2.ini", "/run/v"))
    assert [d.code for d in conflicts.diagnostics] == ["address-conflict"] * 2
    assert conflicts.kept == {"v"}


# Without units from before.


@pytest.mark.parametrize("rival", [of(MALLORY, "v.json", "@x"), of(MALLORY, "m.ini", "/run/v")])
def test_at_the_first_run_roots_config_comes_before_a_tenants(rival: ResolvedVassal) -> None:
    assert winners(World(), of(None, "v.ini", "/run/v"), rival) == ["/v/v.ini"]
    assert winners(World(), VICTIM, rival) == []


def test_at_the_first_run_a_config_comes_before_a_link_to_it(tmp_path: Path) -> None:
    (tmp_path / "alice").mkdir()
    (tmp_path / "mallory").symlink_to("alice")
    names = ("alice", "mallory")
    both = [of(ALICE, "v.ini", "/run/v", folder=f"{tmp_path}/{name}", label=name) for name in names]
    assert winners(World(), *both) == [f"{tmp_path}/alice/v.ini"]


def test_tyrant_mode_may_be_switched_on_beside_a_newcomer() -> None:
    before = of(None, "v.ini", "/run/v")
    assert winners(served(before), VICTIM, of(MALLORY, "v.json", "/run/v")) == ["/v/v.ini"]
