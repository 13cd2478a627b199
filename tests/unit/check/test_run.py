"""The checks of all vassals, in this process and in one of their own."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from bridge.check import run
from bridge.check.run import VassalChecks, check_vassals
from bridge.config.settings import Settings
from bridge.diagnostics import BridgeError, Diagnostic
from bridge.reconcile.run import RunOptions, Scope
from bridge.vassals.spawn import spawn_defaults
from tests.unit.build import note_children
from tests.unit.reconcile.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge.reconcile.desired import Desired
    from bridge.reconcile.run import PlannedRun

CONFIG = "[uwsgi]\nplugin = python3\nwsgi-file = /nowhere/app.py\nidle = 60\ndie-on-idle = true\n"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    for name in "abc":
        site.write(name, name, CONFIG)
    return site


def plan(site: Site, checks: VassalChecks) -> list[Desired]:
    read: list[Desired] = []

    def with_configs(desired: Desired) -> None:
        read.append(desired)
        checks.begin(desired)

    with site.reconciler() as reconciler:
        reconciler.plan(None, RunOptions(with_configs=with_configs))
    return read


@pytest.mark.parametrize(("many", "processes"), [(3, 1), (4, 0)])
def test_of_many_vassals_the_same_is_found_in_another_process(
    site: Site, monkeypatch: pytest.MonkeyPatch, many: int, processes: int
) -> None:
    started = note_children(monkeypatch)
    monkeypatch.setattr(run, "_MANY", many)
    checks = VassalChecks(site.settings, site.paths)
    (desired,) = plan(site, checks)
    found = checks.found()
    assert len(started) == processes
    assert [problem.code for problem in found] == ["file-missing"] * 3
    assert found == list(check_vassals(desired, spawn_defaults(site.settings, user_manager=False), site.paths))


def test_without_a_plan_nothing_is_found(site: Site) -> None:
    assert VassalChecks(site.settings, site.paths).found() == []


@pytest.fixture
def many(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Enough vassals for a process of their own, which run."""

    @contextmanager
    def connected(_paths: object) -> Iterator[object]:
        yield site.manager

    monkeypatch.setattr(run, "_MANY", 3)
    monkeypatch.setattr(run, "connected", connected)
    site.age()
    site.sync()
    return site


def plan_beside(site: Site, *, covers_all: bool = False) -> tuple[PlannedRun, list[Diagnostic]]:
    """Do what ``check`` does."""
    with site.reconciler() as reconciler, closing(VassalChecks(site.settings, site.paths)) as checks:
        planned = reconciler.plan(site.manager, checks.options(reconciler, covers_all=covers_all))
        return planned, checks.found()


def test_the_configs_of_many_vassals_are_read_beside_a_plan_of_what_changed(
    many: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, found = plan_beside(many, covers_all=True)
    assert whole.scope.is_all
    assert [problem.code for problem in found] == ["file-missing"] * 3
    started = note_children(monkeypatch)
    planned, again = plan_beside(many)
    assert (planned.scope.keys, planned.vassals, again, len(started)) == (frozenset(), 3, found, 1)
    changed = many.write("a", "a", CONFIG + "procname-master = a\n")
    planned, again = plan_beside(many)
    assert planned.scope == Scope.of({changed})
    assert again == found
    assert planned.diagnostics == ()


def test_if_a_vassal_is_rejected_the_plan_is_of_all(many: Site) -> None:
    many.write("d", "a", CONFIG)
    planned, found = plan_beside(many)
    assert planned.scope.is_all
    assert [problem.code for problem in planned.diagnostics] == ["address-conflict"]
    assert [problem.code for problem in found] == ["file-missing"] * 4


def test_what_a_command_or_a_database_says_is_asked_once(many: Site) -> None:
    with many.reconciler() as reconciler:
        for settings in (Settings(emperor_on_demand_exec="/rule"), Settings(emperor=("zmq://tcp://127.0.0.1:1",))):
            checks = VassalChecks(settings, many.paths)
            assert checks.options(reconciler, covers_all=False) == RunOptions(with_configs=checks.begin)


def test_where_no_systemd_runs_the_configs_are_read_all_the_same(many: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def connected(_paths: object) -> None:
        raise BridgeError(Diagnostic(code="no-manager", message="there is none"))

    monkeypatch.setattr(run, "connected", connected)
    started = note_children(monkeypatch)
    with many.reconciler() as reconciler, closing(VassalChecks(many.settings, many.paths)) as checks:
        assert reconciler.plan(None, checks.options(reconciler, covers_all=False)).scope.is_all
        assert [problem.code for problem in checks.found()] == ["file-missing"] * 3
    assert len(started) == 1
