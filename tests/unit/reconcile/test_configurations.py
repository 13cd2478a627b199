"""Two configurations on one machine: each owns the vassals that it made, and none takes what another has."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.model.change import Verb
from bridge.model.unit_names import COMMON, TARGET
from bridge.reconcile.actual import ActualReader
from bridge.reconcile.conflicts import find_conflicts
from bridge.reconcile.plan import plan_removal
from bridge.reconcile.removal import plan_whole_removal
from bridge.reconcile.run import RunOptions, Scope
from bridge.units.directory import UnitDirectory
from bridge.units.marker import read_mark
from bridge.units.render import render
from tests.unit.build import (
    BOOT_LINK,
    DEAD,
    LISTENING,
    RUNNING,
    World,
    as_is,
    context,
    make_desired,
    make_paths,
    make_resolved,
    plan_for,
)
from tests.unit.reconcile.site import Site, verbs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.config.paths import Paths
    from bridge.model.vassal import ResolvedVassal
    from bridge.reconcile.actual import ActualState
    from bridge.reconcile.run import PlannedRun
    from bridge.reconcile.steps import Plan

OTHER = "/etc/other.toml"


# Paths.


def test_the_usual_configuration_has_no_name(tmp_path: Path) -> None:
    paths = make_paths(tmp_path)
    assert paths.configuration == ""
    assert paths.for_configuration(paths.config) is paths
    assert paths.for_configuration(f"{tmp_path}/x/../bridge.toml") is paths
    assert paths.for_configuration("/dev/null") is paths


def test_another_configuration_has_state_of_its_own_under_the_same_lock(tmp_path: Path) -> None:
    paths = make_paths(tmp_path)
    other = paths.for_configuration(OTHER)
    own = {"run_note", "last_run", "cache", "mirrors", "take_over", "configuration"}
    changed = {name for name in paths.__dataclass_fields__ if getattr(paths, name) != getattr(other, name)}
    assert changed == own
    assert other.configuration == OTHER
    # Beside the lock, and each distinct.
    files = (other.run_note, other.last_run, other.cache)
    assert {os.path.dirname(path) for path in files} == {os.path.dirname(paths.lock)}
    assert len({paths.lock, paths.last_run, paths.cache, *files}) == 6
    assert paths.for_configuration(OTHER) == other
    third = paths.for_configuration("/etc/third.toml")
    assert not {third.run_note, third.last_run, third.cache} & set(files)


def test_a_link_to_the_usual_bridge_toml_is_the_usual_one(tmp_path: Path) -> None:
    (tmp_path / "bridge.toml").touch()
    (tmp_path / "link.toml").symlink_to("bridge.toml")
    paths = make_paths(tmp_path)
    assert paths.for_configuration(f"{tmp_path}/link.toml") is paths
    assert replace(paths, config=f"{tmp_path}/link.toml").for_configuration(paths.config).configuration == ""


def test_a_relative_path_is_that_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = make_paths(tmp_path)
    assert paths.for_configuration("bridge.toml") is paths
    assert paths.for_configuration("other.toml") == paths.for_configuration(f"{tmp_path}/other.toml")
    assert paths.for_configuration(os.fsdecode(b"/etc/\xff.toml")).configuration == os.fsdecode(b"/etc/\xff.toml")


# The actual state and the plan.


def write_other(world: World, *resolved: ResolvedVassal) -> None:
    """Have another configuration have made these, and serve them."""
    other = replace(context(), configuration=OTHER)
    for one in resolved:
        texts = render(one, other)
        world.files |= texts
        primary = one.vassal.socket if one.addresses else one.vassal.service
        for unit in texts:
            world.bring_up(unit) if unit == primary else None


def observe(world: World, configuration: str = "") -> ActualState:
    """Return the actual state as a run under a configuration sees it."""
    actual = world.observe()
    own = {label: one for label, one in actual.installed.items() if one.configuration == configuration}
    return replace(actual, installed=own, of_others={k: v for k, v in actual.installed.items() if k not in own})


def test_the_actual_state_tells_the_vassals_of_others(tmp_path: Path) -> None:
    (tmp_path / "units").mkdir()
    paths = make_paths(tmp_path)
    directory = UnitDirectory(paths)
    directory.write(render(make_resolved("a.ini", "@a"), context()))
    directory.write(render(make_resolved("b.ini", "@b"), replace(context(), configuration=OTHER)))
    for found, own, others in ((paths, "a", "b"), (paths.for_configuration(OTHER), "b", "a")):
        actual = ActualReader(found, directory, as_is).read_all(None)
        assert (set(actual.installed), set(actual.of_others)) == ({own}, {others})
        assert actual.installed[own].configuration == found.configuration
        assert not actual.is_asked
    third = ActualReader(paths.for_configuration("/etc/third.toml"), directory, as_is).read_all(None)
    assert (set(third.installed), set(third.of_others)) == (set(), {"a", "b"})


def test_a_units_mark_names_the_configuration() -> None:
    for unit, text in render(make_resolved("a.ini", "@a"), replace(context(), configuration=OTHER)).items():
        mark = read_mark(unit, text)
        assert mark is not None
        assert mark.configuration == OTHER


A, B = make_resolved("a.ini", "/run/a"), make_resolved("b.ini", "/run/b")


@pytest.fixture
def world() -> World:
    """Return a world where vassal ``a`` is another configuration's, and ``b`` the usual one's."""
    world = World()
    world.sync(make_desired(B))
    write_other(world, A)
    return world


def plan(world: World, *resolved: ResolvedVassal, configuration: str = "") -> Plan:
    actual = observe(world, configuration)
    return plan_for(find_conflicts(make_desired(*resolved), actual), actual)


def test_a_vassal_of_another_configuration_is_never_removed(world: World) -> None:
    assert plan(world, B).is_empty
    assert plan(world).remove == ("vassal-b.service", "vassal-b.socket")
    assert plan(world, configuration=OTHER).remove == ("vassal-a.service", "vassal-a.socket")


def test_its_name_is_not_taken(world: World) -> None:
    found = plan(world, B, make_resolved("a.ini", "/run/new", folder="/w"))
    assert found.is_empty
    (problem,) = found.diagnostics
    assert (problem.code, problem.vassal) == ("name-conflict", "a.ini")
    assert "/v/a.ini" in problem.message


@pytest.mark.parametrize("address", ["/run/a", "/run/./a"])
def test_its_address_is_not_taken(world: World, address: str) -> None:
    found = plan(world, B, make_resolved("c.ini", address))
    assert found.is_empty
    (problem,) = found.diagnostics
    assert (problem.code, problem.vassal) == ("address-conflict", "c.ini")


def test_its_address_is_not_taken_while_it_is_down(world: World) -> None:
    world.take_down("vassal-a.socket")
    assert [d.code for d in plan(world, B, make_resolved("c.ini", "/run/a")).diagnostics] == ["address-conflict"]


def test_a_vassal_that_would_move_to_the_address_of_another_configuration_stays(world: World) -> None:
    found = plan(world, make_resolved("b.ini", "/run/a"))
    assert found.is_empty
    assert [d.code for d in found.diagnostics] == ["address-conflict"]
    actual = observe(world)
    assert find_conflicts(make_desired(make_resolved("b.ini", "/run/a")), actual).kept == {"b"}


def test_a_removal_leaves_the_other_configuration_and_what_all_share(world: World) -> None:
    for configuration, own in (("", "b"), (OTHER, "a")):
        found = plan_removal(observe(world, configuration), {}, boot_link=BOOT_LINK)
        assert set(found.remove) == {f"vassal-{own}.service", f"vassal-{own}.socket"}
        assert found.stop == (f"vassal-{own}.socket",)
        assert BOOT_LINK not in found.unlink


def test_the_last_configuration_removes_what_all_share(world: World) -> None:
    world.apply(plan_removal(observe(world), {}, boot_link=BOOT_LINK))
    assert {*COMMON} < world.files.keys()
    world.apply(plan_removal(observe(world, OTHER), {}, boot_link=BOOT_LINK))
    assert (world.files, world.links) == ({}, {})


# Units that name no configuration.


def as_version_0_1_0_made_it(world: World) -> None:
    for texts in (world.files, world.memory, world.running):
        for unit, text in texts.items():
            texts[unit] = re.sub(r'^(# )?(Format|Configuration)=".*"\n', "", text, flags=re.MULTILINE)


def test_a_configuration_adopts_what_version_0_1_0_made_for_its_monitors(tmp_path: Path) -> None:
    world = World()
    world.sync(make_desired(A, make_resolved("c.ini", "@c", folder="/w")))
    as_version_0_1_0_made_it(world)
    paths = make_paths(tmp_path)
    directory = UnitDirectory(paths)
    directory.write(world.files)
    for configuration, monitors, own in (
        (OTHER, {"dir:///v"}, {"a"}),
        (OTHER, {"dir:///x"}, set()),
        ("", {"dir:///v"}, {"a", "c"}),
        ("", set(), {"a", "c"}),
    ):
        found = paths.for_configuration(configuration) if configuration else paths
        actual = ActualReader(found, directory, as_is, frozenset(monitors)).read_all(None)
        assert actual.installed.keys() == own
        assert actual.of_others.keys() == {"a", "c"} - own


def test_what_another_configuration_made_is_not_adopted(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {OTHER, f"{tmp_path}/bridge.toml"}
    monkeypatch.setattr("os.path.lexists", lambda path: path in there)
    paths = make_paths(tmp_path)
    directory = UnitDirectory(paths)
    directory.write(world.files)
    third = paths.for_configuration("/etc/third.toml")

    def own(found: Paths, monitor: str = "dir:///v") -> set[str]:
        actual = ActualReader(found, directory, as_is, frozenset({monitor})).read_all(None)
        assert actual.installed.keys() | actual.of_others.keys() == {"a", "b"}
        return set(actual.installed)

    assert own(paths) == {"b"}
    assert own(third) == set()
    # What a bridge.toml made that is gone is nobody's. The usual one's is gone too where options name the vassals.
    there.remove(f"{tmp_path}/bridge.toml")
    assert (own(third), own(third, "dir:///w"), own(paths.for_configuration(OTHER))) == ({"b"}, set(), {"a", "b"})
    there.clear()
    assert (own(third), own(third, "dir:///w"), own(paths)) == ({"a", "b"}, set(), {"a", "b"})


def test_adopted_units_get_the_configurations_name_and_nothing_is_stopped(sites: tuple[Site, Site]) -> None:
    _, other = sites
    units = Path(other.paths.unit_directory)
    for path in units.glob("vassal-*.s*"):
        text = path.read_text("utf-8")
        path.write_text(re.sub(r'^(Format|Configuration)=".*"\n', "", text, flags=re.MULTILINE), "utf-8")
    planned = other.sync()
    assert len(planned.conflicts.accepted) == 2
    assert planned.conflicts.diagnostics == ()
    assert planned.plan.keep_running == {"vassal-b.service", "vassal-b.socket", "vassal-always.service"}
    assert (planned.plan.stop, planned.plan.renew, planned.plan.start) == ((), (), ())
    for path in units.glob("vassal-[b-z]*.s*"):
        mark = read_mark(path.name, path.read_text("utf-8"))
        assert mark is not None
        assert mark.configuration == other.paths.configuration


# Whole runs.


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[tuple[Site, Site]]:
    """Return a site of the usual configuration and one of another, on one machine."""
    (tmp_path / "units").mkdir()
    usual = Site(tmp_path)
    other = Site(tmp_path, "others")
    other.manager = usual.manager
    other.paths = usual.paths.for_configuration(f"{tmp_path}/other.toml")
    usual.write("a", "a")
    other.write("b", "b")
    other.write("always")
    for site in (usual, other):
        site.age()
        site.sync()
    yield usual, other
    usual.manager.close()


def try_sync(site: Site) -> PlannedRun:
    """Sync where vassals may be rejected."""
    with site.reconciler() as reconciler, reconciler.hold():
        planned = reconciler.plan(site.manager)
        reconciler.apply(site.manager, planned)
    return planned


def remove(site: Site) -> PlannedRun:
    with site.reconciler() as reconciler, reconciler.hold():
        planned = plan_whole_removal(reconciler.planner, site.manager)
        reconciler.apply(site.manager, planned)
        reconciler.forget()
    return planned


def test_each_runs_beside_the_other(sites: tuple[Site, Site]) -> None:
    states = dict(sites[0].manager.states)
    assert (states["vassal-a.socket"], states["vassal-b.socket"]) == (LISTENING, LISTENING)
    assert states["vassal-always.service"] == RUNNING
    for site, vassals in zip(sites, (1, 2), strict=True):
        assert site.is_done()
        planned = site.sync()
        assert (planned.plan.is_empty, planned.vassals) == (True, vassals)
    assert sites[0].manager.states == states


def test_each_has_only_its_own_vassals_removed(sites: tuple[Site, Site]) -> None:
    usual, other = sites
    (other.folder / "b.ini").unlink()
    assert usual.sync().plan.is_empty
    assert verbs(other.sync()) == {"b.ini": Verb.REMOVED}


def test_what_one_has_the_other_does_not_get(sites: tuple[Site, Site]) -> None:
    usual, other = sites
    usual.write("b", "new")
    usual.write("c", "b")
    planned = try_sync(usual)
    assert planned.plan.is_empty
    assert {(d.vassal, d.code) for d in planned.diagnostics} == {
        ("b.ini", "name-conflict"), ("c.ini", "address-conflict"),
    }  # fmt: skip
    assert other.sync().plan.is_empty


def test_one_that_is_killed_is_not_taken_up_by_the_other(sites: tuple[Site, Site]) -> None:
    usual, other = sites
    with other.reconciler() as reconciler, reconciler.hold():
        planned = reconciler.plan(other.manager)
        reconciler._state.begin(planned)
        executor = reconciler._executor(other.manager)
        executor.lock.begin(executor.lock.pending()._replace(restart=frozenset({"vassal-b.socket"})))
    planned = usual.sync()
    assert (planned.drift.interrupted, planned.plan.is_empty) == (frozenset(), True)
    assert other.sync().plan.stop == ("vassal-b.socket",)


def test_removing_one_leaves_the_other(sites: tuple[Site, Site], tmp_path: Path) -> None:
    usual, other = sites
    assert verbs(remove(other)) == dict.fromkeys(("b.ini", "always.ini"), Verb.REMOVED)
    units = set(os.listdir(tmp_path / "units"))
    assert {"vassal-a.service", "vassal-a.socket", *COMMON} <= units
    assert not {"vassal-b.service", "vassal-b.socket", "vassal-always.service"} & units
    assert usual.manager.states["vassal-a.socket"] == LISTENING
    assert usual.manager.states[TARGET] != DEAD
    assert not [name for name in os.listdir(tmp_path / "lock.d") if "-" in name and name != "last-run"]
    assert usual.sync().plan.is_empty
    remove(usual)
    assert list((tmp_path / "units").iterdir()) == []
    assert not (tmp_path / "lock.d").exists()


def test_removing_the_usual_one_leaves_another(sites: tuple[Site, Site], tmp_path: Path) -> None:
    usual, other = sites
    assert verbs(remove(usual)) == {"a.ini": Verb.REMOVED}
    assert {"vassal-b.service", *COMMON} <= set(os.listdir(tmp_path / "units"))
    assert other.manager.states["vassal-b.socket"] == LISTENING
    assert other.sync().plan.is_empty
    remove(other)
    assert list((tmp_path / "units").iterdir()) == []
    assert not (tmp_path / "lock.d").exists()


@pytest.mark.parametrize("is_down", [False, True])
def test_a_daemon_takes_no_address_of_another_configuration(sites: tuple[Site, Site], *, is_down: bool) -> None:
    usual, other = sites
    options = RunOptions(scope=Scope.all(), leave_stopped=True)
    with usual.reconciler() as reconciler:
        with reconciler.hold():
            reconciler.apply(usual.manager, reconciler.plan(usual.manager, options))
        if is_down:
            other.manager.stop(["vassal-b.socket"], timeout=0, progress=lambda *_: None)
        scope = Scope.of({usual.write("c", "b")})
        with reconciler.hold():
            planned = reconciler.plan(usual.manager, replace(options, scope=scope))
        assert planned.plan.is_empty
        assert [d.code for d in planned.diagnostics] == ["address-conflict"]
        assert f"b.ini of {other.paths.configuration}" in planned.diagnostics[0].message


def test_a_daemon_beside_another_configuration_still_runs_for_single_vassals(sites: tuple[Site, Site]) -> None:
    usual, _ = sites
    options = RunOptions(scope=Scope.all(), leave_stopped=True)
    with usual.reconciler() as reconciler:
        with reconciler.hold():
            reconciler.apply(usual.manager, reconciler.plan(usual.manager, options))
        scope = Scope.of({usual.write("a", "a", "[uwsgi]\nlisten = 7\n"), usual.write("c")})
        with reconciler.hold():
            planned = reconciler.plan(usual.manager, replace(options, scope=scope))
        assert planned.scope == scope
        assert verbs(planned) == {"a.ini": Verb.CHANGED, "c.ini": Verb.ADDED}


def test_a_sync_beside_another_configuration_processes_only_what_changed(sites: tuple[Site, Site]) -> None:
    usual, other = sites
    usual.sync()
    for name in ("new", "newer"):
        assert usual.sync().scope == Scope.of(())
        assert other.sync().scope == Scope.of(())
        # What is new of the other one is looked at once.
        other.write(name, name)
        other.sync()
        assert usual.sync().scope.is_all
        (other.folder / f"{name}.ini").unlink()
        other.sync()
        assert usual.sync().plan.is_empty


def test_whose_units_they_are_is_known_from_their_marks(sites: tuple[Site, Site]) -> None:
    for site, foreign in zip(sites, ({"b", "always"}, {"a"}), strict=True):
        directory = UnitDirectory(site.paths)
        assert {label for label in ("a", "b", "always") if directory.is_foreign(label)} == foreign
        assert directory.is_foreign("none")
        (Path(site.paths.unit_directory) / "vassal-made-by-hand.service").write_text("[Service]\n")
        assert not directory.is_foreign("made-by-hand")


def test_settings_that_hold_for_both_and_differ_are_told(sites: tuple[Site, Site]) -> None:
    usual, other = sites
    usual.sync()
    assert [d.code for d in other.sync().diagnostics] == []
    other.settings = replace(other.settings, emperor_throttle=7000)
    for number, site in enumerate((other, usual, other)):
        site.write(f"again{number}", f"again{number}")
        planned = site.sync()
        assert [d.code for d in planned.diagnostics] == ["shared-settings"]
        assert "vassals-" in str(planned.diagnostics[0].path)
    # An upgrade of the bridge rewrites them too.
    for script in (Path(usual.paths.unit_directory, unit) for unit in COMMON):
        script.write_text(re.sub('Format=".*"', 'Format="1"', script.read_text()))
    usual.write("more", "more")
    assert [d.code for d in usual.sync().diagnostics] == []
