"""The checks of all vassals, in this process and in one of their own."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.check import run
from bridge.check.run import VassalChecks
from bridge.diagnostics import BridgeError, Diagnostic
from bridge.reconcile.run import Scope
from tests.unit.build import note_children
from tests.unit.reconcile.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.reconcile.run import PlannedRun

CONFIG = "[uwsgi]\nplugin = python3\nwsgi-file = /nowhere/app.py\nidle = 60\ndie-on-idle = true\n"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    for name in "abc":
        site.write(name, name, CONFIG)
    return site


def check(site: Site, *, covers_all: bool = False) -> tuple[PlannedRun, list[Diagnostic]]:
    """Do what ``check`` does."""
    with site.reconciler() as reconciler, closing(VassalChecks(site.settings, site.paths)) as checks:
        planned = reconciler.plan(site.manager, checks.options(reconciler, covers_all=covers_all))
        return planned, checks.found(reconciler, site.manager)


def test_the_vassals_of_a_command_are_read_once_and_checked_in_another_process(
    many: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, found = check(many)
    started = note_children(monkeypatch)
    asked = many.folder.parent / "asked"
    rule = f"sh -c 'cat \"$1.socket\"; echo >>{asked}' sh"
    many.settings = replace(many.settings, emperor_on_demand_extension="", emperor_on_demand_exec=rule)
    planned, again = check(many)
    assert planned.scope.is_all
    assert again == found
    assert len(started) == 1
    assert asked.read_text() == "\n" * 3


def test_few_vassals_are_checked_in_this_process(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    started = note_children(monkeypatch)
    planned, found = check(site)
    assert (planned.scope.is_all, started) == (True, [])
    assert [problem.code for problem in found] == ["file-missing"] * 3


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


def test_the_configs_of_many_vassals_are_read_beside_a_plan_of_what_changed(
    many: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, found = check(many, covers_all=True)
    assert whole.scope.is_all
    assert [problem.code for problem in found] == ["file-missing"] * 3
    started = note_children(monkeypatch)
    planned, again = check(many)
    assert (planned.scope.keys, planned.vassals, again, len(started)) == (frozenset(), 3, found, 1)
    changed = many.write("a", "a", CONFIG + "procname-master = a\n")
    planned, again = check(many)
    assert planned.scope == Scope.of({changed})
    assert again == found
    assert planned.diagnostics == ()


def test_a_vassal_with_a_drop_in_that_has_its_socket_listen_elsewhere_is_planned_for(many: Site) -> None:
    """The kernel still has the socket where it was, for nobody has restarted it."""
    drop_ins = Path(many.paths.unit_path[1]) / "vassal-a.socket.d"
    drop_ins.mkdir(parents=True)
    (drop_ins / "elsewhere.conf").write_text("[Socket]\nListenStream=\nListenStream=@elsewhere\n")
    planned, _ = check(many)
    assert planned.scope == Scope.of({many.key("a")})


def test_if_a_vassal_is_rejected_the_plan_is_of_all(many: Site) -> None:
    many.write("d", "a", CONFIG)
    planned, found = check(many)
    assert planned.scope.is_all
    assert [problem.code for problem in planned.diagnostics] == ["address-conflict"]
    assert [problem.code for problem in found] == ["file-missing"] * 4


def test_what_vassals_of_both_processes_have_in_common_is_found(many: Site) -> None:
    for name in "abc":
        many.write(name, name, CONFIG + "pidfile = /run/one.pid\n")
    _, found = check(many)
    assert [problem.code for problem in found].count("pidfile-clash") == 3


def test_what_a_database_says_is_asked_once(many: Site) -> None:
    many.settings = replace(many.settings, emperor=(*many.settings.emperor, "zmq://tcp://127.0.0.1:1"))
    with many.reconciler() as reconciler, closing(VassalChecks(many.settings, many.paths)) as checks:
        assert not checks.options(reconciler, covers_all=False).covers_changes


def test_where_no_systemd_runs_the_configs_are_read_all_the_same(many: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def connected(_paths: object) -> None:
        raise BridgeError(Diagnostic(code="no-manager", message="there is none"))

    monkeypatch.setattr(run, "connected", connected)
    started = note_children(monkeypatch)
    with many.reconciler() as reconciler, closing(VassalChecks(many.settings, many.paths)) as checks:
        assert reconciler.plan(None, checks.options(reconciler, covers_all=False)).scope.is_all
        assert [problem.code for problem in checks.found(reconciler, None)] == ["file-missing"] * 3
    assert len(started) == 1
