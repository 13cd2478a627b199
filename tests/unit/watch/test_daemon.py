"""The daemon's loop and its runs, with a reconciler and a service manager of the test's own."""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from bridge.config.settings import Settings
from bridge.diagnostics import BridgeError, Diagnostic
from bridge.model.unit import UnitChange, UnitState
from bridge.reconcile.run import Scope
from bridge.reconcile.stops import LateVassal
from bridge.state.cache import CachedVassal, VassalCache
from bridge.watch import configuration, timing
from bridge.watch.configuration import LoadedConfig
from bridge.watch.daemon import Daemon
from bridge.watch.feeders import Feeders

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from bridge.reconcile.run import RunOptions

PROBLEM = Diagnostic(code="port-taken", message="it is wrong")
TIME_LIMIT = 20.0
RUNNING = UnitState(load="loaded", active="active", sub="running")


class FolderMonitor:
    """Every file ``NAME.ini`` in one folder is a vassal with the key ``NAME``."""

    id = "folder"

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)

    def key_at(self, path: str) -> str | None:
        folder, _, name = path.rpartition("/")
        return name.removesuffix(".ini") if folder == self._folder and name.endswith(".ini") else None

    def holds(self, path: str) -> bool:
        return path.rpartition("/")[0] == self._folder

    def watch(self, watch_list: Any) -> None:
        watch_list.contents(self._folder)


class World:
    """What happens, in its order; and what a test has happen after each run."""

    def __init__(self, folder: Path, toml: Path) -> None:
        self.folder, self.toml = folder, toml
        self.log: list[str] = []
        self.steps: list[Callable[[], None]] = []
        self.removed: dict[str, str] = {}
        self.starts = 0
        self.problems: list[tuple[Diagnostic, ...] | Exception] = []
        """How each run ends; the runs after the last of them end well."""
        self.scopes: list[Scope] = []
        self.options: list[RunOptions] = []
        self.loads = 0
        self.reconciler: Any = None
        self.included: set[str] = set()
        self.settings = Settings()
        self.changes: list[UnitChange] = []
        self.records: dict[str, CachedVassal] = {}
        self.running: set[str] = set()
        """Services that are active."""
        self.late: dict[str, LateVassal] = {}
        self.was_reloaded = self.has_lost = False
        self.while_waiting: Callable[[], None]
        self.feeders_alive: Callable[[], None]
        self.wake: socket.socket
        """Whoever writes to it wakes the daemon as the service manager does."""

    def load(self) -> LoadedConfig:
        self.loads += 1
        self.reconciler = FakeReconciler(self, self.loads)
        return LoadedConfig(self.reconciler, self.settings, (str(self.toml),))

    def next_step(self) -> None:
        self.steps.pop(0)()


class FakeReconciler:
    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self._number = number
        self.monitors = (FolderMonitor(world.folder),)
        self.cache = VassalCache(world.records)
        self.cache.included.update(world.included)
        self.late = world.late

    @contextmanager
    def hold(self, alive: Callable[[], None]) -> Iterator[None]:
        alive()
        self._world.log.append("lock")
        yield
        self._world.log.append("unlock")

    def plan(self, _manager: object, options: RunOptions) -> Any:
        assert options.scope is not None
        self._world.log.append("plan")
        self._world.options.append(options)
        self._world.scopes.append(options.scope)
        return SimpleNamespace(
            scope=options.scope,
            desired=SimpleNamespace(resolved=(), rejections=()),
            conflicts=SimpleNamespace(accepted=()),
            actual=SimpleNamespace(installed={}, states={}),
            plan=SimpleNamespace(start=["unit"] * self._world.starts),
            removed=self._world.removed,
        )

    def apply(self, _manager: object, planned: object) -> tuple[object, tuple[Diagnostic, ...]]:
        self._world.log.append("apply")
        problems = self._world.problems.pop(0) if self._world.problems else ()
        if isinstance(problems, Exception):
            self._world.next_step()
            raise problems
        return planned, problems

    def close(self) -> None:
        self._world.log.append(f"close {self._number}")


class FakeManager:
    def __init__(self, world: World) -> None:
        self._world = world
        self._receiver, world.wake = socket.socketpair()
        self._receiver.setblocking(False)

    def fileno(self) -> int:
        return self._receiver.fileno()

    def due(self) -> None:
        """No change was dropped."""

    def while_waiting(self, call: Callable[[], None]) -> None:
        self._world.while_waiting = call

    def was_reloaded(self) -> bool:
        was, self._world.was_reloaded = self._world.was_reloaded, False
        return was

    def listen(self) -> None:
        self._world.log.append("listen")

    def units(self, only: Collection[str] | None = None) -> dict[str, UnitState]:
        if only is None:
            self._world.log.append("units")
        return {unit: RUNNING for unit in only or () if unit in self._world.running}

    def begin_units(self, only: Collection[str] | None = None) -> Callable[[], dict[str, UnitState]]:
        found = self.units(only)
        return lambda: found

    def changes(self) -> Iterator[UnitChange]:
        with suppress(BlockingIOError):
            self._receiver.recv(64)
        while self._world.changes:
            yield self._world.changes.pop(0)


class FakeNotifier:
    summary = "0 vassals"

    def summary_after(self, _planned: object, _problems: object) -> str:
        return self.summary

    def __init__(self, world: World) -> None:
        self._world = world

    def follow(self, _states: object) -> None:
        self._world.log.append("follow")

    def will_remove(self, labels: dict[str, str]) -> None:
        self._world.log += [f"expect end of {label}" for label in labels]

    def unit_changed(self, change: UnitChange) -> None:
        self._world.log.append(f"changed {change.unit}")

    def done(self, _planned: object, problems: tuple[Diagnostic, ...]) -> None:
        self._world.log.append(f"done {len(problems)}")
        self._world.next_step()

    def due(self) -> None:
        """Nothing waits."""

    def flush(self) -> None:
        """Nothing waits."""

    def failed(self, problem: Diagnostic) -> None:
        self._world.log.append(f"failed {problem.code}")


class TimeLimit:
    """Ends a test that would wait for ever."""

    def __init__(self) -> None:
        self._at = time.monotonic() + TIME_LIMIT
        self._pipe = os.pipe()

    def fileno(self) -> int:
        return self._pipe[0]

    def due(self) -> float | None:
        return self._at

    def read(self) -> None:
        raise TimeoutError

    def close(self) -> None:
        for end in self._pipe:
            os.close(end)


@pytest.fixture
def world(tmp_path: Path) -> World:
    folder = tmp_path / "vassals"
    folder.mkdir()
    toml = tmp_path / "bridge.toml"
    toml.touch()
    return World(folder, toml)


@pytest.fixture
def start(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Yield a function that runs the daemon through steps, each after a run; after the last it stops."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGIO)
    before = {number: signal.getsignal(number) for number in numbers}
    descriptor = signal.set_wakeup_fd(-1)
    limit = TimeLimit()

    def run(*steps: Callable[[], None], stops: bool = True) -> None:
        manager, notifier = FakeManager(world), FakeNotifier(world)
        services = SimpleNamespace(while_waiting=lambda call: setattr(world, "feeders_alive", call))
        feeders = Feeders(cast("Any", services), is_users=False)
        daemon = Daemon(cast("Any", manager), world.load, cast("Any", notifier), feeders)
        world.steps = [*steps, *([daemon.stop] if stops else [])]
        daemon.register(limit)
        daemon.run()
        assert world.steps == []

    yield run
    limit.close()
    signal.set_wakeup_fd(descriptor)
    for number, handler in before.items():
        signal.signal(number, handler)


def nothing() -> None:
    """Let the run end."""


def test_the_first_run_is_of_all_and_units_are_followed_before_it(world: World, start: Callable[..., None]) -> None:
    start()
    assert world.scopes == [Scope.all()]
    assert world.options[0].leave_stopped
    assert world.log == ["lock", "plan", "listen", "follow", "apply", "unlock", "done 0"]


def test_whoever_waits_for_systemd_tells_the_watchdog(world: World, start: Callable[..., None]) -> None:
    start()
    assert world.while_waiting.__name__ == world.feeders_alive.__name__ == "alive"


def test_garbage_is_collected_once_all_is_loaded(start: Callable[..., None]) -> None:
    gc.disable()
    seen = []

    def look() -> None:
        seen.append(gc.isenabled())
        os.kill(os.getpid(), signal.SIGTERM)

    start(look, stops=False)
    assert [*seen, gc.isenabled()] == [False, True]


def test_where_many_units_start_they_are_followed_after_it(world: World, start: Callable[..., None]) -> None:
    world.starts = 500
    start()
    assert world.log == ["lock", "plan", "apply", "unlock", "done 0", "listen", "units", "follow"]


def test_vassals_that_are_removed_are_announced_before_it(world: World, start: Callable[..., None]) -> None:
    world.removed = {"app": "app.ini"}
    start()
    assert world.log.index("follow") < world.log.index("expect end of app") < world.log.index("apply")


def test_changes_that_a_run_caused_are_reported_after_it(world: World, start: Callable[..., None]) -> None:
    world.changes = [UnitChange("vassal-app.socket", "Unit", {"ActiveState": "failed"})]
    start()
    assert world.log[-2:] == ["done 0", "changed vassal-app.socket"]
    assert len(world.scopes) == 1


def test_a_changed_config_has_its_vassal_reconciled(world: World, start: Callable[..., None]) -> None:
    start((world.folder / "app.ini").touch, (world.folder / "app.ini").unlink)
    assert world.scopes == [Scope.all(), *[Scope.of(frozenset({"app"}))] * 2]


def test_a_changed_target_beside_its_link_has_all_vassals_reconciled(world: World, start: Callable[..., None]) -> None:
    skeleton, config = world.folder / "app.skel", world.folder / "one.ini"
    skeleton.touch()
    config.symlink_to(skeleton.name)
    world.included = {skeleton.name}
    start(lambda: skeleton.write_text("[uwsgi]\n"))
    assert world.scopes == [Scope.all()] * 2


def test_a_failed_socket_has_all_vassals_reconciled(world: World, start: Callable[..., None]) -> None:
    def fail() -> None:
        world.changes.append(UnitChange("vassal-app.socket", "Unit", {"ActiveState": "failed"}))
        world.wake.send(b"x")

    start(fail, fail)
    assert world.scopes == [Scope.all()] * 3
    assert world.log.count("changed vassal-app.socket") == 2


def test_after_a_reload_of_systemd_a_lost_socket_has_all_vassals_reconciled(
    world: World, start: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[bool] = []

    def lost(*_: object) -> bool:
        looked.append(world.has_lost)
        return world.has_lost

    monkeypatch.setattr(configuration, "has_lost", lost)

    def reload(*, loses: bool) -> None:
        world.was_reloaded, world.has_lost = True, loses
        world.wake.send(b"x")

    def lose() -> None:
        reload(loses=True)

    def touch() -> None:
        reload(loses=False)
        (world.folder / "app.ini").touch()

    start(lose, touch)
    assert world.scopes == [Scope.all(), Scope.all(), Scope.of({"app"})]
    assert looked == [True, False]


def test_a_run_that_fails_is_tried_again_and_one_of_some_vassals_does_not_cancel_that(
    world: World, start: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "RETRY_FIRST", 1.0)
    world.problems = [(PROBLEM,)]
    start((world.folder / "app.ini").touch, nothing)
    assert world.scopes == [Scope.all(), Scope.of(frozenset({"app"})), Scope.all()]


def test_a_run_that_breaks_off_is_reported_and_tried_again(
    world: World, start: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "RETRY_FIRST", 0.1)
    world.problems = [(), BridgeError(PROBLEM)]
    start((world.folder / "app.ini").touch, nothing)
    assert world.scopes == [Scope.all(), Scope.of(frozenset({"app"})), Scope.all()]
    assert "failed port-taken" in world.log


@pytest.mark.parametrize("error", [PermissionError(13, "denied"), RecursionError("too deep"), KeyError("x")])
@pytest.mark.parametrize("is_first", [True, False])
def test_an_exception_that_nobody_expected_is_reported_and_the_daemon_lives(
    world: World, start: Callable[..., None], monkeypatch: pytest.MonkeyPatch, error: Exception, *, is_first: bool
) -> None:
    monkeypatch.setattr(timing, "RETRY_FIRST", 0.1)
    world.problems = [error] if is_first else [(), error]
    start(*([] if is_first else [(world.folder / "app.ini").touch]), nothing)
    assert world.scopes[-1] == Scope.all()
    assert world.log.count("failed internal") == 1


def test_the_first_run_that_breaks_off_ends_the_daemon(world: World, start: Callable[..., None]) -> None:
    world.problems = [BridgeError(PROBLEM)]
    with pytest.raises(BridgeError):
        start(nothing)


def test_after_a_reload_the_new_reconciler_runs_and_the_old_one_is_closed(
    world: World, start: Callable[..., None]
) -> None:
    start(lambda: os.kill(os.getpid(), signal.SIGHUP))
    assert world.scopes == [Scope.all(), Scope.all()]
    assert world.loads == 2
    assert [entry for entry in world.log if entry.startswith("close")] == ["close 1"]
    assert world.log.index("close 1") < world.log.index("lock", 1)


def test_a_changed_configuration_is_loaded_without_a_signal(world: World, start: Callable[..., None]) -> None:
    start(world.toml.unlink)
    assert world.loads == 2
    assert world.scopes == [Scope.all(), Scope.all()]


def test_a_new_folder_that_holds_vassals_is_read_at_once(world: World, start: Callable[..., None]) -> None:
    world.folder.rmdir()
    start(world.folder.mkdir, nothing)
    assert world.scopes == [Scope.all()] * 3


def test_a_late_vassal_is_reconciled_when_its_unit_has_ended(world: World, start: Callable[..., None]) -> None:
    def be_late() -> None:
        world.late["app"] = LateVassal("app", time.monotonic() + 1000)
        world.changes.append(UnitChange("vassal-app.service", "Unit", {"ActiveState": "inactive"}))
        world.wake.send(b"x")

    start(be_late)
    assert world.scopes == [Scope.all(), Scope.of(frozenset({"app"}))]
    assert not any(options.waits_for_late for options in world.options)


def test_a_late_vassal_is_reconciled_when_its_time_is_over(world: World, start: Callable[..., None]) -> None:
    def be_late() -> None:
        world.late["app"] = LateVassal("app", time.monotonic() + 0.1)

    start(be_late)
    assert world.scopes == [Scope.all(), Scope.of(frozenset({"app"}))]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_daemon(world: World, start: Callable[..., None], number: int) -> None:
    start(lambda: os.kill(os.getpid(), number), stops=False)
    assert world.scopes == [Scope.all()]


def test_the_daemon_needs_no_list_of_files_to_compare(world: World, start: Callable[..., None]) -> None:
    world.records["app"] = CachedVassal(label="app", inputs=("/v/app.ini",), outputs=("/u/vassal-app.service",))
    start()
    record = world.reconciler.cache.records["app"]
    assert (record.inputs, record.outputs) == ((), ())


def test_vassals_that_go_one_after_the_other_are_counted_at_once(
    world: World, start: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``rm`` is held up among them, for longer than ends a burst."""
    configs = [world.folder / f"{name}.ini" for name in "abc"]
    for config in configs:
        config.touch()
        world.records[config.stem] = CachedVassal(label=config.stem)
    monkeypatch.setattr(timing, "SETTLED", TIME_LIMIT)
    monkeypatch.setattr(timing, "IMPATIENCE", 2.0)
    last = threading.Timer(0.3, configs[2].unlink)

    def remove() -> None:
        configs[0].unlink()
        configs[1].unlink()
        last.start()

    start(remove, lambda: os.kill(os.getpid(), signal.SIGTERM), stops=False)
    last.cancel()
    assert world.scopes[1] == Scope.of(frozenset("abc"))


@pytest.mark.parametrize("first", ["app.ini", "app.ini.socket"])
def test_a_renamed_vassal_is_one_burst_whichever_file_goes_first(
    world: World, start: Callable[..., None], monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """``mv`` is held up between the two, and a neighbour waits for the address."""
    world.settings = Settings(emperor_on_demand_extension=".socket")
    names = [first, *({"app.ini", "app.ini.socket"} - {first})]
    for name in names:
        (world.folder / name).touch()
    world.records["app"] = CachedVassal(label="app")
    monkeypatch.setattr(timing, "SETTLED", TIME_LIMIT)
    monkeypatch.setattr(timing, "IMPATIENCE", 2.0)

    def rename(name: str) -> None:
        (world.folder / name).rename(world.folder / name.replace("app", "new"))

    last = threading.Timer(0.3, rename, [names[1]])

    def begin() -> None:
        rename(names[0])
        last.start()

    start(begin, lambda: os.kill(os.getpid(), signal.SIGTERM), stops=False)
    last.cancel()
    assert world.scopes[1] == Scope.of(frozenset({"app", "new"}))


@pytest.mark.parametrize("is_running", [True, False])
def test_a_config_of_a_running_vassal_may_come_back(
    world: World, start: Callable[..., None], monkeypatch: pytest.MonkeyPatch, *, is_running: bool
) -> None:
    config = world.folder / "app.ini"
    config.touch()
    world.records["app"] = CachedVassal(label="app")
    world.running = {"vassal-app.service"} if is_running else set()
    monkeypatch.setattr(timing, "SETTLED", TIME_LIMIT)
    monkeypatch.setattr(timing, "HELD", 2.0)
    writer = threading.Timer(0.3, config.touch)
    was_there = []

    def replace() -> None:
        config.unlink()
        if is_running:
            writer.start()

    def look() -> None:
        was_there.append(config.exists())
        os.kill(os.getpid(), signal.SIGTERM)

    start(replace, look, stops=False)
    writer.cancel()
    assert was_there == [is_running]
    assert world.scopes[1] == Scope.of(frozenset({"app"}))
