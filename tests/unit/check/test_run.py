"""The checks of all vassals, in this process and in one of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.check import run
from bridge.check.run import VassalChecks, check_vassals
from bridge.reconcile.run import RunOptions
from bridge.vassals.spawn import spawn_defaults
from tests.unit.build import note_children
from tests.unit.reconcile.site import Site

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.reconcile.desired import Desired

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
