"""Runs of all vassals are made in a child process, and the daemon remembers what the child found."""

from __future__ import annotations

import os
import select
import socket
import time
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.host.child import ChildFailedError
from bridge.reconcile.run import RunOptions, Scope, ScopeTooSmallError
from bridge.systemd.listing import UnitLists
from bridge.watch import runner as module
from bridge.watch.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROBLEM = Diagnostic(code="some-code", message="something is wrong")
ALL = RunOptions(scope=Scope.all())


class Parts:
    """All that a runner works with. What a child does with its copy is seen in what it hands back."""

    def __init__(self) -> None:
        self.here = os.getpid()
        self.receiver, self.sender = socket.socketpair()
        self.log: list[str] = []
        self.remembered: list[str] = []
        self.starts = 0
        self.lists = UnitLists(cast("Any", None))
        self.is_too_small = False
        self.problems: tuple[Diagnostic, ...] = ()
        self.fails: Callable[[], None] = lambda: None
        self.trouble: tuple[Diagnostic, ...] = ()
        self.monitors = [SimpleNamespace(mirror="")]
        self.cache = SimpleNamespace(drop_files=lambda: self.note("drop files"))
        self.summary = "summary"
        self.told: list[object] = []
        self.tell: Callable[[object], None] = self.told.append

    def note(self, what: str) -> None:
        where = "here" if os.getpid() == self.here else "child"
        self.log.append(f"{what} {where}")

    # The reconciler.

    def prepare(self) -> None:
        self.note("prepare")

    @contextmanager
    def hold(self, alive: object = None) -> Iterator[None]:
        del alive
        self.note("hold")
        yield

    def plan(self, manager: Parts, options: RunOptions) -> Any:
        if self.is_too_small and options.only_scope:
            raise ScopeTooSmallError
        manager.note(f"plan by {'another' if manager is not self else 'the'} connection,")
        plan = SimpleNamespace(start=[""] * self.starts)
        return SimpleNamespace(scope=options.scope, plan=plan, actual=SimpleNamespace(states={}), removed={})

    def apply(self, _manager: object, planned: object) -> tuple[object, tuple[Diagnostic, ...]]:
        self.fails()
        self.note("apply")
        return planned, self.problems

    # The reconciler, the watched paths and the notifier.

    def memory(self) -> object:
        return [*self.log]

    def recall(self, memory: list[str]) -> None:
        self.remembered = memory

    def update(self, _planned: object) -> tuple[Diagnostic, ...]:
        self.note("update")
        return ()

    def summary_after(self, _planned: object, problems: tuple[Diagnostic, ...]) -> str:
        return f"{len(problems)} problems"

    def follow(self, _states: object) -> None:
        self.note("follow")

    def will_remove(self, _labels: object) -> None:
        """Expect it."""

    def tell_by(self, tell: Callable[[object], None]) -> None:
        self.tell = tell

    def done(self, _planned: object, problems: tuple[Diagnostic, ...]) -> None:
        self.note("done")
        for problem in problems:
            self.tell(problem)

    def failed(self, problem: Diagnostic) -> None:
        self.told.append(problem)

    # The manager and the daemon's own service.

    def fileno(self) -> int:
        return self.receiver.fileno()

    def while_waiting(self, call: Callable[[], None]) -> None:
        call()

    def listen(self) -> None:
        self.note("listen")

    def units(self) -> dict[str, object]:
        self.note("units")
        return {}

    def changes(self) -> list[str]:
        self.receiver.setblocking(False)
        with suppress(BlockingIOError):
            return self.receiver.recv(64).decode().split()
        return []

    def status(self, text: str) -> None:
        self.note(text)

    def ready(self) -> None:
        self.note("ready")

    def alive(self) -> None:
        """It is."""

    def watch(self) -> tuple[set[str], tuple[Diagnostic, ...]]:
        self.note("watch")
        return {"/new"}, self.trouble


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def runner(parts: Parts) -> Runner:
    @contextmanager
    def connect() -> Iterator[Parts]:
        another = Parts()
        another.here, another.log = parts.here, parts.log
        another.lists.expect(16_000)
        yield another

    part = cast("Any", parts)
    return Runner(part, part, part, part, cast("Any", connect))


def run(runner: Runner, parts: Parts, options: RunOptions = ALL) -> Any:
    return runner.run(cast("Any", parts), options, parts.watch)


def test_a_run_of_all_is_made_in_a_child_and_the_daemon_listens(runner: Runner, parts: Parts) -> None:
    outcome = run(runner, parts)
    assert (outcome.is_ok, outcome.is_whole, outcome.new_folders, outcome.changes) == (True, True, {"/new"}, [])
    assert parts.log == ["prepare here", "listen here", "0 problems here", "ready here", "watch here"]
    assert parts.lists.longest == 16_000
    assert parts.remembered == [
        "prepare here",
        "hold child",
        "plan by another connection, child",
        "follow child",
        "apply child",
        "update child",
        "done child",
        "drop files child",
    ]


def test_changes_of_units_are_read_while_the_child_works(runner: Runner, parts: Parts) -> None:
    """Without a reader the bus would keep them all. The child waits here until the daemon has read the first."""

    def change() -> None:
        parts.sender.send(b"one ")
        while select.select([parts.receiver], [], [], 0)[0]:
            time.sleep(0.001)
        parts.sender.send(b"two ")

    parts.fails = change
    assert run(runner, parts).changes == ["one", "two"]


def test_if_many_units_start_the_daemon_listens_after_it(runner: Runner, parts: Parts) -> None:
    parts.starts = 500
    run(runner, parts)
    assert parts.log == ["prepare here", "0 problems here", "ready here", "listen here", "watch here"]
    assert parts.remembered[-4:] == ["done child", "units child", "follow child", "drop files child"]


def test_the_daemon_listens_once(runner: Runner, parts: Parts) -> None:
    run(runner, parts)
    run(runner, parts)
    runner.follow(parts.units)  # type: ignore[arg-type]
    assert parts.log.count("listen here") == 1
    assert "follow child" not in parts.remembered[parts.remembered.index("watch here") :]


def test_what_a_child_has_to_tell_the_daemon_writes(runner: Runner, parts: Parts) -> None:
    parts.problems = (PROBLEM,)
    assert not run(runner, parts).is_ok
    assert parts.told == [PROBLEM]


def test_a_kernel_that_allows_no_more_watches_is_told(runner: Runner, parts: Parts) -> None:
    parts.trouble = (PROBLEM,)
    assert not run(runner, parts).is_ok
    assert parts.told == [PROBLEM]


def test_why_a_run_in_a_child_failed_is_raised(runner: Runner, parts: Parts) -> None:
    def fail() -> None:
        raise BridgeError(PROBLEM, PROBLEM)

    parts.fails = fail
    with pytest.raises(BridgeError) as caught:
        run(runner, parts)
    assert caught.value.diagnostics == (PROBLEM, PROBLEM)


def test_what_a_run_that_failed_has_learned_is_remembered(runner: Runner, parts: Parts) -> None:
    def fail() -> None:
        raise BridgeError(PROBLEM)

    parts.fails = fail
    with pytest.raises(BridgeError):
        run(runner, parts)
    assert parts.remembered[-1] == "follow child"
    # The child follows the units already.
    parts.fails = lambda: None
    run(runner, parts)
    assert parts.log.count("listen here") == 1
    assert "follow child" not in parts.remembered


@pytest.mark.parametrize("when", ["before", "after"])
def test_if_the_child_fails_the_daemon_makes_the_run(runner: Runner, parts: Parts, when: str) -> None:
    def fail() -> None:
        if os.getpid() != parts.here:
            os._exit(1)

    if when == "before":
        parts.fails = fail
    else:
        parts.cache.drop_files = fail
    outcome = run(runner, parts)
    assert (outcome.is_ok, outcome.is_whole) == (True, True)
    assert parts.log.count("listen here") == 1
    assert [entry for entry in parts.log if entry.startswith(("follow", "apply"))] == ["follow here", "apply here"]


def test_a_run_that_turns_out_to_be_of_all_is_made_in_a_child(runner: Runner, parts: Parts) -> None:
    parts.is_too_small = True
    assert run(runner, parts, RunOptions(scope=Scope.of({"a"}))).is_whole
    assert parts.log[:3] == ["hold here", "prepare here", "listen here"]


@pytest.mark.parametrize("why", ["some vassals", "a mirror", "no connection"])
def test_other_runs_are_made_here(runner: Runner, parts: Parts, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ChildFailedError

    monkeypatch.setattr(module, "in_child", refuse)
    options = ALL
    if why == "some vassals":
        options = RunOptions(scope=Scope.of({"a"}))
    elif why == "a mirror":
        parts.monitors = [SimpleNamespace(mirror=""), SimpleNamespace(mirror="/mirror")]
    else:
        part = cast("Any", parts)
        runner = Runner(part, part, part, part, None)
    outcome = run(runner, parts, options)
    assert outcome.is_whole == (why != "some vassals")
    assert parts.log[:5] == ["hold here", "plan by the connection, here", "listen here", "follow here", "apply here"]
    assert ("drop files here" in parts.log) == (why != "some vassals")
    assert "prepare here" not in parts.log
