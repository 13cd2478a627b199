"""The reconciler's two phases: what a plan covers, what applying it leaves for the next run, and removal."""

from __future__ import annotations

import json
import os
import pickle
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.config.settings import Settings
from bridge.diagnostics import BridgeError, Diagnostic
from bridge.model.change import Verb
from bridge.model.unit_names import COMMON, TARGET, brake_of
from bridge.reconcile import incremental
from bridge.reconcile.by_name import render
from bridge.reconcile.removal import plan_whole_removal
from bridge.reconcile.run import RunOptions, Scope, ScopeTooSmallError
from bridge.state import fingerprint
from bridge.state.last_run import LastRunFile
from bridge.state.lock import Lock, Pending
from tests.unit.build import DEAD, LISTENING, RUNNING, note_children
from tests.unit.reconcile.site import Site, verbs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from typing import Any

    from bridge.reconcile.desired import Desired
    from bridge.reconcile.reconciler import Reconciler
    from bridge.reconcile.run import PlannedRun

NOTHING = Scope.of(())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "units").mkdir()
    site = Site(tmp_path)
    for name in ("a", "b"):
        site.write(name, name)
    site.write("always")
    site.age()
    yield site
    site.manager.close()


@pytest.fixture
def daemon(site: Site) -> Iterator[Reconciler]:
    """Return a reconciler that lives on, after its first run of all vassals."""
    with site.reconciler() as reconciler:
        assert run(site, reconciler, scope=Scope.all()).scope.is_all
        yield reconciler


def run(site: Site, reconciler: Reconciler, **options: Any) -> PlannedRun:
    """Do one run as the daemon does."""
    site.manager.calls.clear()
    with reconciler.hold():
        planned = reconciler.plan(site.manager, RunOptions(leave_stopped=True, **options))
        assert reconciler.apply(site.manager, planned)[1] == ()
    return planned


def stop_by_hand(site: Site, *units: str) -> None:
    site.manager.stop(units, timeout=0, progress=lambda *_: None)


def pending(site: Site) -> Pending:
    lock = Lock(site.paths.lock, site.paths.run_note)
    with lock.hold(lambda: None):
        return lock.pending()


def stamp(site: Site) -> int:
    lock = Lock(site.paths.lock, site.paths.run_note)
    with lock.hold(lambda: None):
        return lock.stamp()


# Planning.


def test_a_plan_changes_nothing(site: Site, tmp_path: Path) -> None:
    with site.reconciler() as reconciler, reconciler.hold():
        planned = reconciler.plan(site.manager)
        assert len(planned.plan.start) == 4
    assert list((tmp_path / "units").iterdir()) == []
    assert os.listdir(tmp_path / "lock.d") == ["lock"]
    assert not [call for call in site.manager.calls if not call.startswith(("units", "property"))]


def test_without_the_lock_or_a_manager_the_plan_is_of_all_vassals(site: Site) -> None:
    site.sync()
    with site.reconciler() as reconciler:
        assert reconciler.plan(site.manager).scope.is_all
        assert reconciler.plan(site.manager, RunOptions(scope=NOTHING)).scope.is_all
        read: list[Desired] = []
        assert reconciler.plan(None, RunOptions(with_configs=read.append)).scope.is_all
        assert set(read[0].configs) == {site.key("a"), site.key("b"), site.key("always")}
        assert reconciler.plan(None).desired.configs == {}
        with reconciler.hold():
            assert reconciler.plan(site.manager).scope == NOTHING


def test_without_a_manager_what_is_installed_is_taken_to_listen(site: Site) -> None:
    site.sync()
    with site.reconciler() as reconciler:
        assert reconciler.plan(None).diagnostics == ()


def test_the_callers_scope_counts_after_a_run_of_its_own(site: Site, daemon: Reconciler) -> None:
    scope = Scope.of({site.write("a", "elsewhere")})
    planned = run(site, daemon, scope=scope)
    assert (planned.scope, verbs(planned)) == (scope, {"a.ini": Verb.CHANGED})
    assert (planned.vassals, planned.context.is_callers_scope, planned.context.sees_sockets) == (3, True, False)
    assert run(site, daemon, scope=NOTHING).scope == NOTHING
    assert site.is_done()


@pytest.mark.parametrize("suffix", ["", ".socket"])
def test_a_change_that_a_run_left_out_counts_in_the_next(site: Site, daemon: Reconciler, suffix: str) -> None:
    """Somebody writes or replaces a file of a running vassal, and others have all vassals reconciled meanwhile."""
    path = f"{site.folder}/a.ini"
    site.manager.states["vassal-a.service"] = RUNNING
    run(site, daemon, scope=Scope.all())
    site.write("a", "a", "[uwsgi]\nmaster = true\nprocname-master = new\n")
    planned = run(site, daemon, scope=Scope.all(), unfinished=frozenset({path + suffix}))
    assert (planned.plan.reload, planned.desired.unfinished) == ((), (path,))
    assert stamp(site) < os.stat(path).st_ctime_ns
    # The file is finished without a further change.
    for scope in (Scope.of({site.key("a")}), Scope.all()):
        with daemon.hold():
            assert daemon.plan(site.manager, RunOptions(scope=scope)).plan.reload == ("vassal-a.service",)
    run(site, daemon, scope=Scope.all())
    assert stamp(site) > os.stat(path).st_ctime_ns


def test_what_a_run_in_another_process_remembered_counts_as_this_ones(site: Site) -> None:
    with site.reconciler() as child:
        run(site, child, scope=Scope.all())
        child.cache.drop_files()
        packed = pickle.dumps(child.memory(), pickle.HIGHEST_PROTOCOL)
    with site.reconciler() as daemon:
        daemon.prepare()
        daemon.recall(pickle.loads(packed))  # noqa: S301 - packed above
        scope = Scope.of({site.write("a", "elsewhere")})
        planned = run(site, daemon, scope=scope, only_scope=True)
    assert (planned.scope, verbs(planned), planned.vassals) == (scope, {"a.ini": Verb.CHANGED}, 3)


def test_a_run_that_may_cover_only_its_scope_says_so_where_it_must_cover_all(site: Site, daemon: Reconciler) -> None:
    site.write("b", "there")
    site.age()
    site.sync()
    scope = Scope.of({site.write("a", "elsewhere")})
    with pytest.raises(ScopeTooSmallError):
        run(site, daemon, scope=scope, only_scope=True)
    run(site, daemon, scope=Scope.all())
    contender = Scope.of({site.write("c", "elsewhere")})
    with pytest.raises(ScopeTooSmallError):
        run(site, daemon, scope=contender, only_scope=True)


def test_after_a_run_of_another_process_the_callers_scope_is_not_enough(site: Site, daemon: Reconciler) -> None:
    site.write("b", "there")
    site.age()
    site.sync()
    scope = Scope.of({site.write("a", "elsewhere")})
    assert run(site, daemon, scope=scope).scope.is_all
    # That run was its own again.
    assert run(site, daemon, scope=scope).scope == scope


def test_a_first_run_takes_no_callers_scope(site: Site) -> None:
    with site.reconciler() as reconciler:
        assert run(site, reconciler, scope=Scope.of({site.key("a")})).scope.is_all


def test_after_an_interrupted_run_all_vassals_are_planned(site: Site, daemon: Reconciler) -> None:
    lock = Lock(site.paths.lock, site.paths.run_note)
    with lock.hold(lambda: None):
        lock.begin(Pending(reread=frozenset({"vassal-a.service"})))
    for _ in range(2):
        with daemon.hold():
            planned = daemon.plan(site.manager, RunOptions(scope=NOTHING))
        assert planned.scope.is_all
        assert planned.drift.unread == {"vassal-a.service"}
    assert run(site, daemon, scope=NOTHING).scope.is_all
    assert run(site, daemon, scope=NOTHING).scope == NOTHING


def test_without_a_note_of_the_last_run_all_vassals_are_planned(site: Site, daemon: Reconciler) -> None:
    stop_by_hand(site, "vassal-a.socket")
    os.unlink(site.paths.last_run)
    planned = run(site, daemon, scope=NOTHING)
    # It is unknown whether the socket was up, so it is started.
    assert (planned.scope.is_all, verbs(planned)) == (True, {"a.ini": Verb.STARTED})


@pytest.mark.parametrize("address", ["b", "elsewhere"])
def test_a_vassal_that_contends_with_one_outside_has_all_planned(site: Site, daemon: Reconciler, address: str) -> None:
    scope = Scope.of({site.write("new", address)})
    planned = run(site, daemon, scope=scope)
    assert planned.scope.is_all == (address == "b")
    codes = [d.code for d in planned.diagnostics]
    assert codes == (["address-conflict"] if address == "b" else [])
    assert "vassal-b.socket" not in planned.plan.stop


def test_a_name_that_another_has_has_all_planned(site: Site, daemon: Reconciler) -> None:
    (site.folder / "a.xml").write_text("<uwsgi/>")
    planned = run(site, daemon, scope=Scope.of({f"dir://{site.folder}:a.xml"}))
    assert planned.scope.is_all
    assert [(d.vassal, d.code) for d in planned.diagnostics] == [("a.xml", "name-conflict")]


# Applying.


def test_a_run_of_some_keeps_the_time_of_the_last_run_of_all(site: Site, daemon: Reconciler) -> None:
    """The caller did not see how the other vassals' files were when this run began."""
    before = stamp(site)
    run(site, daemon, scope=Scope.of({site.write("a", "elsewhere")}))
    assert stamp(site) == before
    planned = run(site, daemon, scope=Scope.all())
    assert stamp(site) == planned.context.began > before


def test_a_run_of_some_leaves_the_cache_on_disk_to_its_fingerprints(site: Site, daemon: Reconciler) -> None:
    before = Path(site.paths.cache).read_text("utf-8")
    moved = site.write("a", "elsewhere")
    run(site, daemon, scope=Scope.of({moved}))
    assert Path(site.paths.cache).read_text("utf-8") == before
    assert daemon.cache.records[moved].addresses == (f"@{site.name}-elsewhere",)
    site.age()
    # For another process that vassal has changed since.
    assert site.sync().scope == Scope.of({moved})
    assert site.sync().scope == NOTHING


def test_the_files_of_a_vassal_are_noted_on_disk(site: Site, daemon: Reconciler) -> None:
    assert daemon.cache.records[site.key("a")].is_clean
    noted = json.loads(Path(site.paths.cache).read_text("utf-8"))["vassals"][site.key("a")]
    assert [f"{site.folder}/a.ini", f"{site.folder}/a.ini.socket"] in noted


def test_what_an_admin_stopped_is_noted_before_anything_is_done(site: Site, daemon: Reconciler) -> None:
    stop_by_hand(site, "vassal-a.socket")
    site.write("b", "elsewhere")

    def refuse(units: Collection[str], **_: object) -> None:
        raise BridgeError(Diagnostic(code="manager", message=f"systemd refuses StopUnit of {sorted(units)}"))

    stop, site.manager.stop = site.manager.stop, refuse  # type: ignore[method-assign]
    with pytest.raises(BridgeError):
        run(site, daemon, scope=Scope.all())
    site.manager.stop = stop  # type: ignore[method-assign]
    last = LastRunFile(site.paths.last_run).read()
    assert last is not None
    assert last.stopped_by_admin == {"vassal-a.socket"}
    assert pending(site).restart == {"vassal-b.service", "vassal-b.socket"}
    # The next run knows it, though the last did not end.
    planned = run(site, daemon, scope=Scope.all())
    assert planned.drift.stopped_by_admin == {"vassal-a.socket"}
    assert verbs(planned)["b.ini"] is Verb.CHANGED
    assert "a.ini" not in verbs(planned)
    assert site.manager.states["vassal-a.socket"] == DEAD


def test_a_run_of_some_keeps_what_is_noted_of_the_others(site: Site, daemon: Reconciler) -> None:
    stop_by_hand(site, "vassal-a.socket", "vassal-b.socket", TARGET)
    run(site, daemon, scope=Scope.all())
    noted = {"vassal-a.socket", "vassal-b.socket", TARGET}
    assert daemon._state.last_run().stopped_by_admin == noted
    run(site, daemon, scope=Scope.of({site.key("always")}))
    assert daemon._state.last_run().stopped_by_admin == noted
    site.manager.start(["vassal-a.socket"], timeout=0, progress=lambda *_: None)
    run(site, daemon, scope=Scope.of({site.key("a")}))
    assert daemon._state.last_run().stopped_by_admin == noted - {"vassal-a.socket"}
    # Nobody stopped anything, as far as a sync is concerned.
    assert verbs(site.sync()) == {"b.ini": Verb.STARTED}
    assert daemon._state.last_run().stopped_by_admin == set()


def test_who_failed_is_noted_by_key(site: Site, daemon: Reconciler) -> None:
    def start(units: Collection[str], **_: object) -> None:
        site.manager.states |= dict.fromkeys(units, DEAD)

    works, site.manager.start = site.manager.start, start  # type: ignore[method-assign]
    moved, other = site.write("a", "elsewhere"), site.write("b", "elsewhere too")
    for keys in ({moved}, {other}):
        with daemon.hold():
            planned = daemon.plan(site.manager, RunOptions(scope=Scope.of(keys), leave_stopped=True))
            _, (problem,) = daemon.apply(site.manager, planned)
        assert (problem.code, {problem.key}) == ("not-listening", keys)
    assert daemon._state.last_run().failed == {moved, other}
    assert not daemon.cache.records[moved].is_clean
    site.manager.start = works  # type: ignore[method-assign]
    # They are down by accident: nobody stopped them.
    assert verbs(run(site, daemon, scope=Scope.of({moved}))) == {"a.ini": Verb.STARTED}
    assert daemon._state.last_run().failed == {other}


def test_a_plan_of_nothing_leaves_the_cache_alone(site: Site) -> None:
    site.sync()
    before = os.stat(site.paths.cache).st_ino
    assert site.sync().scope == NOTHING
    assert os.stat(site.paths.cache).st_ino == before


def test_an_exec_rule_leaves_no_cache(site: Site, tmp_path: Path) -> None:
    site.sync()
    assert os.path.exists(site.paths.cache)
    site.settings = Settings(emperor=site.settings.emperor, emperor_on_demand_exec=f"echo @{site.name}")
    for _ in range(2):
        with site.reconciler() as reconciler, reconciler.hold():
            # One address for all: nobody gets it.
            assert reconciler.plan(site.manager).scope.is_all
            with suppress(BridgeError):
                reconciler.apply(site.manager, reconciler.plan(site.manager))
        assert os.listdir(tmp_path / "lock.d").count("roll") == 0


# Assessing.


def test_an_assessment_reads_only_what_changed(site: Site) -> None:
    site.sync()
    with site.reconciler() as reconciler:
        assessment = reconciler.assess(site.manager)
        assert (assessment.desired.resolved, assessment.diagnostics) == ((), ())
        assert set(assessment.actual.installed) == {"a", "b", "always"}
        assert assessment.actual.states["vassal-a.socket"] == LISTENING
        site.write("new", "new")
        (resolved,) = reconciler.assess(site.manager).desired.resolved
        assert resolved.vassal.name == "new.ini"


def test_the_files_of_many_are_compared_in_another_process(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = note_children(monkeypatch)
    monkeypatch.setattr(incremental, "_MANY", 3)
    site.sync()
    assert len(begun) == 0
    with site.reconciler() as reconciler, reconciler.hold():
        assert reconciler.plan(site.manager).scope == NOTHING
        assert len(begun) == 1
        site.write("b", "b", "[uwsgi]\nmaster = true\n")
        site.write("new", "new")
        assert reconciler.plan(site.manager).scope == Scope.of({site.key("b"), site.key("new")})
        assert {one.vassal.name for one in reconciler.assess(site.manager).desired.resolved} == {"b.ini", "new.ini"}
        assert len(begun) == 3


def test_an_assessment_reads_who_listens_where_a_drop_in_says(site: Site) -> None:
    site.sync()
    folder = Path(site.paths.unit_path[-1], "vassal-.socket.d")
    folder.mkdir(parents=True)
    (folder / "mode.conf").write_text("[Socket]\nSocketMode=0600\n")
    with site.reconciler() as reconciler:
        assert reconciler.assess(site.manager).desired.resolved == ()
        (folder / "address.conf").write_text("[Socket]\nListenStream=\nListenStream=@elsewhere\n")
        assert {one.vassal.name for one in reconciler.assess(site.manager).desired.resolved} == {"a.ini", "b.ini"}


def test_an_assessment_asks_for_the_units_once_and_before_it_looks_at_files(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.sync()
    asked_before: list[int] = []

    def noted(files: Iterable[str]) -> int:
        asked_before.append(len(site.manager.calls))
        return digest(files)

    digest = fingerprint.digest
    with site.reconciler() as reconciler:
        site.manager.calls.clear()
        monkeypatch.setattr(fingerprint, "digest", noted)
        reconciler.assess(site.manager)
    assert site.manager.calls == ["units"]
    assert set(asked_before[1:]) == {1}


def test_an_assessment_sees_the_same_conflicts_as_a_plan(site: Site) -> None:
    site.sync()
    site.write("rival", "a")
    with site.reconciler() as reconciler:
        assessment, plan = reconciler.assess(site.manager), reconciler.plan(site.manager)
        assert [d.code for d in assessment.diagnostics] == [d.code for d in plan.diagnostics] == ["address-conflict"]
        assert {r.vassal.name for r in assessment.rejections} == {"rival.ini"}


def test_what_is_installed_is_known_without_any_monitor(site: Site) -> None:
    site.sync()
    site.settings = Settings()
    with site.reconciler() as reconciler:
        assessment = reconciler.assess(site.manager)
    assert set(assessment.actual.installed) == {"a", "b", "always"}
    assert (assessment.desired.resolved, assessment.rejections) == ((), ())


# Removal.


def remove(site: Site) -> PlannedRun:
    with site.reconciler() as reconciler, reconciler.hold():
        planned = plan_whole_removal(reconciler.planner, site.manager)
        assert reconciler.apply(site.manager, planned)[1] == ()
        reconciler.forget()
    return planned


@pytest.mark.parametrize("binary", ["", "/nowhere/uwsgi"])
def test_a_removal_leaves_nothing_and_needs_neither_uwsgi_nor_vassals(site: Site, tmp_path: Path, binary: str) -> None:
    site.sync()
    site.settings = Settings(binary_path=binary)
    planned = remove(site)
    assert verbs(planned) == dict.fromkeys(("a.ini", "b.ini", "always.ini"), Verb.REMOVED)
    assert planned.removed == {"a": "a.ini", "b": "b.ini", "always": "always.ini"}
    assert list((tmp_path / "units").iterdir()) == []
    assert not (tmp_path / "lock.d").exists()
    assert all(state.is_down for state in site.manager.states.values())
    with site.reconciler() as reconciler:
        assert plan_whole_removal(reconciler.planner, site.manager).plan.is_empty


def test_a_removal_ends_the_brakes_that_the_end_of_vassals_has_started(site: Site) -> None:
    site.sync()
    brake = brake_of("a")
    site.manager.states[brake] = RUNNING
    remove(site)
    assert site.manager.states[brake].is_down
    calls = site.manager.calls
    assert calls.index("stop vassal-a.socket") < calls.index(f"stop {brake}") < calls.index(f"reset {brake}")


def test_a_killed_removal_is_taken_up(site: Site, tmp_path: Path) -> None:
    site.sync()
    with site.reconciler() as reconciler, reconciler.hold():
        reconciler.apply(site.manager, plan_whole_removal(reconciler.planner, site.manager))
    assert set(COMMON).isdisjoint(os.listdir(tmp_path / "units"))
    assert (tmp_path / "lock.d").exists()
    remove(site)
    assert not (tmp_path / "lock.d").exists()


def test_what_was_removed_is_made_anew(site: Site) -> None:
    site.sync()
    remove(site)
    assert verbs(site.sync()) == dict.fromkeys(("a.ini", "b.ini", "always.ini"), Verb.ADDED)


# Rendering and retrying.


def test_units_are_rendered_by_any_name_of_a_vassal(site: Site) -> None:
    with site.reconciler() as reconciler:
        for name in ("a", "a.ini", f"{site.folder}/a.ini", "vassal-a.socket", site.key("a")):
            texts, problems = render(reconciler.planner, name)
            assert (set(texts), problems) == ({"vassal-a.service", "vassal-a.socket"}, ())
        assert render(reconciler.planner, "none") == ({}, ())
        site.write("bad", text="[uwsgi]\ninclude = /nowhere.ini\n")
        texts, (problem,) = render(reconciler.planner, "bad.ini")
        assert (texts, problem.code) == ({}, "config-unreadable")


def test_a_retry_starts_what_is_down_of_the_vassals_named(site: Site) -> None:
    site.sync()
    stop_by_hand(site, "vassal-a.socket", "vassal-b.socket")
    with site.reconciler() as reconciler, reconciler.hold():
        assert [str(one.verb) for one in reconciler.retry(site.manager, "a")] == ["retried"]
        assert reconciler.retry(site.manager, "none") == []
    assert site.manager.states["vassal-a.socket"] == LISTENING
    assert site.manager.states["vassal-b.socket"] == DEAD


def test_monitors_are_opened_once(site: Site) -> None:
    site.settings = replace(site.settings, emperor=(str(site.folder), f"{site.folder}/", str(site.folder.parent)))
    with site.reconciler() as reconciler:
        assert [monitor.id for monitor in reconciler.monitors] == [
            f"dir://{site.folder}",
            f"dir://{site.folder.parent}",
        ]


def test_a_config_that_changed_while_the_vassal_was_refused_is_reloaded_once_it_is_not(site: Site) -> None:
    site.write("a", "a")
    site.sync()
    site.manager.states["vassal-a.service"] = RUNNING
    site.age()
    site.write("a", text="[uwsgi]\nmaster = true\nprocesses = 2\n")
    rule = site.folder / "a.ini.socket"
    address = rule.read_text()
    rule.write_text("127.0.0.1:99999\n")
    for _ in range(2):
        assert [problem.code for problem in site.sync().diagnostics] == ["rule-invalid"]
        assert "reload vassal-a.service" not in site.manager.calls
    rule.write_text(address)
    assert verbs(site.sync()) == {"a.ini": Verb.RELOADED}
    assert site.manager.calls.count("reload vassal-a.service") == 1
    assert verbs(site.sync()) == {}
