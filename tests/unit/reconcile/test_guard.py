"""Whatever goes wrong with one vassal refuses that vassal, and no other."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.model.change import Verb
from bridge.model.vassal import ResolvedVassal, Vassal
from bridge.reconcile import incremental, load, planner, sockets
from bridge.reconcile.desired import Desired
from bridge.reconcile.findings import ConflictResult
from bridge.reconcile.run import RunOptions, Scope
from bridge.vassals import on_demand, resolve
from bridge.vassals.guard import Guard
from tests.unit.build import World, WorldManager, make_desired, make_resolved

from .site import Site, verbs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge.reconcile.run import PlannedRun

KINDS = [errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG, errno.ESTALE]
UNEXPECTED = [
    PermissionError(errno.EACCES, "denied"),
    RecursionError("too deep"),
    UnicodeEncodeError("x", "y", 0, 1, "z"),
]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.manager.close()


def fail_for_bad(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, error: Exception) -> list[object]:
    """Have a function fail whenever an argument of it is about the vassal ``bad``; return these arguments."""
    real = getattr(module, name)
    failed: list[object] = []

    def instead(*given: Any, **named: Any) -> Any:
        if any(is_bad(one) for one in (*given, *named.values())):
            failed.append(given)
            raise error
        return real(*given, **named)

    monkeypatch.setattr(module, name, instead)
    return failed


def is_bad(argument: object) -> bool:
    """Tell whether an argument is about the vassal ``bad``: it may be its path, itself, or a collection with it."""
    if isinstance(argument, str):
        return "/vassals/bad" in argument
    if isinstance(argument, Desired):
        argument = argument.resolved
    elif isinstance(argument, ConflictResult):
        argument = argument.accepted
    return isinstance(argument, Vassal | ResolvedVassal | tuple) and "bad.ini" in repr(argument)


def plan(site: Site, scope: Scope | None = None) -> PlannedRun:
    with site.reconciler() as reconciler, reconciler.hold():
        planned = reconciler.plan(site.manager, RunOptions(scope=scope))
        reconciler.apply(site.manager, planned)
    return planned


def problems_of(planned: PlannedRun, key: str) -> list[Diagnostic]:
    return [problem for problem in planned.diagnostics if problem.key == key]


@pytest.mark.parametrize("name", ["stat", "lstat", "readlink", "open"])
@pytest.mark.parametrize("kind", KINDS, ids=errno.errorcode.get)
def test_an_error_of_any_system_call(site: Site, monkeypatch: pytest.MonkeyPatch, name: str, kind: int) -> None:
    site.write("good", "good")
    bad = site.write("bad", "bad")
    (site.folder / "bad.ini.socket").unlink()
    (site.folder / "bad.ini.socket").symlink_to("bad.rule")
    (site.folder / "bad.rule").write_text("@bad-address\n")
    assert verbs(plan(site)) == {"good.ini": Verb.ADDED, "bad.ini": Verb.ADDED}
    site.write("bad", None, "[uwsgi]\nmaster = false\n")
    site.write("good", "other")
    failed = fail_for_bad(monkeypatch, os, name, OSError(kind, os.strerror(kind)))
    planned = plan(site)
    assert failed
    assert verbs(planned)["good.ini"] is Verb.CHANGED
    assert "bad" in planned.names
    assert "removed" not in verbs(planned).values()
    assert all(problem.key == bad for problem in planned.diagnostics)


STEPS: list[tuple[Any, str]] = [
    (on_demand, "_by_extension"),
    (load, "resolve"),
    (resolve, "link_targets"),
    (planner, "render"),
    (planner, "find_conflicts"),
    (planner, "occupied_addresses"),
    (planner, "make_plan"),
]


@pytest.mark.parametrize("error", UNEXPECTED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("module", "name"), STEPS, ids=lambda one: getattr(one, "__name__", one))
def test_an_exception_that_nobody_expected(
    site: Site, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, error: Exception
) -> None:
    site.write("good", "good")
    bad = site.write("bad", "bad")
    site.write("new")
    failed = fail_for_bad(monkeypatch, module, name, error)
    planned = plan(site, Scope.all())
    assert failed
    assert verbs(planned)["new.ini"] is Verb.ADDED
    (problem,) = planned.diagnostics
    assert (problem.code, problem.key, problem.vassal) == ("internal", bad, "bad.ini")
    assert type(error).__name__ in problem.message
    assert "report it" in problem.hint
    assert "Traceback" in problem.detail
    assert {one.vassal.name for one in planned.rejections} == {"bad.ini"}
    assert "good" in planned.names


def test_a_socket_that_cannot_be_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.sync(make_desired(*(make_resolved(f"{one}.ini", f"/vassals/{one}") for one in ("bad", "good"))))

    def loss(path: str, *_: object, **__: object) -> bool:
        if path == "/vassals/bad":
            raise ValueError
        return True

    monkeypatch.setattr(sockets, "_loss_of", loss)
    guard = Guard()
    assert sockets.lost_sockets(world.observe(), WorldManager(world), guard) == {"good"}
    assert list(guard.problems) == ["dir:///v:bad.ini"]


@pytest.mark.parametrize(
    "error", [BridgeError(Diagnostic(code="manager", message="no")), MemoryError(), KeyboardInterrupt()]
)
def test_what_concerns_the_whole_run_ends_it(site: Site, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    site.write("bad", "bad")

    def fail(*_: object) -> None:
        raise error

    for module, name in ((load, "resolve"), (planner, "find_conflicts"), (planner, "render")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fail)
            with pytest.raises(type(error)):
                plan(site)


@pytest.mark.parametrize("error", UNEXPECTED, ids=lambda error: type(error).__name__)
def test_a_cache_that_cannot_be_kept_costs_no_run(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    site.write("good", "good")

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(incremental, "records_of", fail)
        assert verbs(plan(site)) == {"good.ini": Verb.ADDED}
    assert not os.path.exists(site.paths.cache)
    assert verbs(plan(site)) == {}
    assert os.path.exists(site.paths.cache)


def test_a_config_may_ask_about_a_file_that_cannot_exist(site: Site) -> None:
    (site.folder / "odd.json").write_text('{"uwsgi": {"if-exists": "\\ud800", "endif": ""}}')
    key = site.write("good", "good")
    planned = plan(site)
    assert verbs(planned)["good.ini"] is Verb.ADDED
    assert problems_of(planned, key) == []


def test_the_culprits_are_found_among_many() -> None:
    many = [make_resolved(f"{number}.ini") for number in range(100)]
    bad = {many[3], many[4], many[99]}
    calls: list[int] = []

    def work(some: Any) -> None:
        calls.append(len(some))
        if bad & set(some):
            raise ValueError

    guard = Guard()
    guard.find(work, many)
    assert set(guard.problems) == {one.vassal.key for one in bad}
    assert len(calls) < 50


def test_the_traceback_is_no_part_of_what_makes_problems_alike() -> None:
    one, other = (Diagnostic(code="internal", message="it", detail=text) for text in ("a", "b"))
    assert one == other
    assert {one} == {other}
    assert "Traceback" not in str(one)
