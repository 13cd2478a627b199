"""Builders of data for tests, and a small world that plans are carried out in: unit files, links and a systemd."""

from __future__ import annotations

import functools
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.config.paths import Paths
from bridge.host import second_process
from bridge.model.address import Address, parse_address
from bridge.model.unit import Ownership, UnitFile, UnitState
from bridge.model.unit_names import TARGET, boot_target, is_bridge_name, label_of, unit_label
from bridge.model.vassal import (
    CONFIG_OPTIONS,
    ConfigFile,
    Owner,
    RejectedVassal,
    ResolvedVassal,
    SocketAccess,
    SpawnSpec,
    Vassal,
    Way,
)
from bridge.reconcile.actual import ActualState
from bridge.reconcile.apply import PlanExecutor
from bridge.reconcile.conflicts import find_conflicts
from bridge.reconcile.desired import Desired
from bridge.reconcile.findings import ConflictResult, Drift
from bridge.reconcile.plan import DesiredUnits, gone_vassals, make_plan
from bridge.reconcile.removal_guard import spare
from bridge.reconcile.stops import LateVassals
from bridge.state.lock import Lock, Pending
from bridge.state.pauses import PauseNotes
from bridge.units.directory import UnitDirectory, installed_vassals
from bridge.units.marker import read_mark
from bridge.units.render import RenderContext, make_templates, render, render_common

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    import pytest

    from bridge.reconcile.steps import Plan


ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "templates"
BOOT = boot_target(user_manager=False)
BOOT_LINK = f"{BOOT}.wants/{TARGET}"
UNITS = "/etc/systemd/system"

LISTENING = UnitState(load="loaded", active="active", sub="listening")
RUNNING = UnitState(load="loaded", active="active", sub="running")
DEAD = UnitState(load="loaded", active="inactive", sub="dead")
STOPPING = UnitState(load="loaded", active="deactivating", sub="stop-sigterm")
FAILED = UnitState(load="loaded", active="failed", sub="failed")


def as_is(address: Address) -> Address:
    return address


def quiet(stage: str, done: int, total: int) -> None:
    """Stand in for a progress bar."""
    del stage, done, total


def make_vassal(name: str = "app.ini", *, folder: str = "/v", owner: Owner | None = None) -> Vassal:
    return Vassal(
        name=name,
        config=ConfigFile(f"{folder}/{name}", owner or Owner()),
        monitor=f"dir://{folder}",
        directory=folder,
        label=unit_label(name.rpartition(".")[0]),
    )


def make_resolved(
    name: str = "app.ini", address: str = "", *more: str, folder: str = "/v", access: SocketAccess | None = None
) -> ResolvedVassal:
    """Return a vassal that waits at ``address``, and ``more`` of its own, or runs always if that is empty."""
    vassal = make_vassal(name, folder=folder)
    parsed = tuple(parse_address(one, base=folder) for one in (address, *more) if one)
    return ResolvedVassal(
        vassal=vassal,
        addresses=parsed,
        canonical_addresses=parsed,
        way=Way.OWN if more else Way.FD_0,
        access=access or SocketAccess(),
        spawn=SpawnSpec(argv=("/usr/bin/uwsgi", CONFIG_OPTIONS["." + name.rpartition(".")[2]], name)),
    )


def refuse(resolved: ResolvedVassal) -> RejectedVassal:
    return RejectedVassal(vassal=resolved.vassal, mode=resolved.mode, addresses=resolved.addresses)


def make_desired(
    *resolved: ResolvedVassal, refused: Iterable[ResolvedVassal] = (), unreachable: Iterable[str] = ()
) -> Desired:
    return Desired(resolved=resolved, rejections=tuple(refuse(s) for s in refused), unreachable=frozenset(unreachable))


def note_children(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that has the work of each child process that is started from now on."""
    begun: list[object] = []

    def start(work: Callable[[], object]) -> tuple[int, int]:
        begun.append(work)
        return real(work)

    real = second_process._start
    monkeypatch.setattr(second_process, "_start", start)
    return begun


def make_paths(root: Path) -> Paths:
    return Paths(
        user_manager=False,
        unit_directory=f"{root}/units",
        unit_path=(f"{root}/units", f"{root}/run", f"{root}/lib"),
        runtime_units=f"{root}/run",
        lock=f"{root}/lock.d/lock",
        run_note=f"{root}/lock.d/lock",
        last_run=f"{root}/lock.d/last-run",
        cache=f"{root}/lock.d/roll",
        compiled=f"{root}/lock.d/templates",
        config=f"{root}/bridge.toml",
        pauses=f"{root}/lock.d/pauses",
        mirrors=f"{root}/mirrors",
        take_over=f"{root}/take-over.d/take-over",
        templates=(str(SHIPPED),),
    )


@functools.cache
def context() -> RenderContext:
    return RenderContext(templates=make_templates((str(SHIPPED),)))


@functools.cache
def common_texts() -> Mapping[str, str]:
    return render_common(context())


@functools.cache
def texts_of(resolved: ResolvedVassal) -> Mapping[str, str]:
    return render(resolved, context())


class InterruptedRunError(Exception):
    """The bridge was killed here."""


@dataclass
class World:
    """Unit files, links and a systemd that remembers what it loaded until it is told to read again."""

    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    states: dict[str, UnitState] = field(default_factory=dict)
    memory: dict[str, str] = field(default_factory=dict)
    """The text of each unit as the manager loaded it."""
    running: dict[str, str] = field(default_factory=dict)
    """The text each unit that is up was started with."""
    masked: set[str] = field(default_factory=set)
    elsewhere: dict[str, str] = field(default_factory=dict)
    outdated: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    exiled: frozenset[str] = frozenset()
    stopped_by_admin: frozenset[str] = frozenset()
    pending: Pending = field(default_factory=Pending)
    stubborn: set[str] = field(default_factory=set)
    """Services that do not end when they are told to stop."""
    clock: float = 0.0
    """Seconds; a call to the manager that waits in vain takes its whole time."""
    late: LateVassals = field(init=False)
    waits_for_late: bool = True
    calls: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    steps_left: int | None = None
    """Steps until the bridge is killed; None: it is not."""
    reload_works: bool = True
    is_loading: bool = False
    """The manager reads units, and lists the folder again for each of them if it has changed."""

    def __post_init__(self) -> None:
        self.late = LateVassals(self.now)

    def now(self) -> float:
        return self.clock

    def observe(self) -> ActualState:
        self.is_loading = False
        files = {name: _unit_file(name, text) for name, text in self.files.items() if is_bridge_name(name)}
        files |= {name: UnitFile(path=f"{UNITS}/{name}", ownership=Ownership.MASKED) for name in self.masked}
        return ActualState(
            files=files,
            elsewhere=dict(self.elsewhere),
            links=dict(self.links),
            installed=installed_vassals(files, as_is),
            states=dict(self.states),
        )

    @property
    def drift(self) -> Drift:
        return Drift(
            outdated=self.outdated | set(map(label_of, self.pending.reload)),
            sockets_lost=self.lost,
            exiled=self.exiled,
            stopped_by_admin=self.stopped_by_admin,
            interrupted=self.pending.restart,
            unread=self.pending.reread,
        )

    def plan(self, desired: Desired) -> Plan:
        actual = self.observe()
        return plan_for(find_conflicts(desired, actual), actual, self.drift)

    def apply(self, plan: Plan) -> None:
        """Apply a plan with the real executor; what is left to do stays noted."""
        self.pending = self.executor().apply(plan, self.observe().files)
        self.late.retain({label_of(unit) for unit in self.pending.restart})

    def executor(self) -> PlanExecutor:
        return PlanExecutor(
            directory=WorldDirectory(self),
            pauses=PauseNotes("/nonexistent"),
            manager=WorldManager(self),
            lock=WorldLock(self),
            progress=quiet,
            reason=lambda _: "",
            late=self.late,
            waits_for_late=self.waits_for_late,
        )

    def sync(self, desired: Desired) -> Plan:
        """Do what the reconciler does under its lock."""
        plan = self.plan(desired)
        if not plan.is_empty:
            self.apply(plan)
        else:
            self.pending = Pending()
        return plan

    def connect(self, unit: str) -> None:
        """Have a connection wake an on-demand vassal."""
        self.bring_up(unit)

    def fail(self, unit: str) -> None:
        self.take_down(unit)
        self.states[unit] = FAILED

    def step(self) -> None:
        if self.steps_left is not None:
            if self.steps_left == 0:
                raise InterruptedRunError
            self.steps_left -= 1

    def change_folder(self) -> None:
        assert not self.is_loading
        self.step()

    def bring_up(self, unit: str) -> None:
        if self.states.get(unit, DEAD).is_down and (text := self.memory.get(unit) or self.files.get(unit)):
            self.memory[unit] = self.running[unit] = text
            self.states[unit] = LISTENING if unit.endswith(".socket") else RUNNING
            if unit.endswith(".socket") and (service := unit.replace(".socket", ".service")) in self.files:
                # A socket triggers its service, so systemd loads that too.
                self.memory.setdefault(service, self.files[service])
                self.states.setdefault(service, DEAD)

    def take_down(self, unit: str) -> None:
        if unit in self.states:
            self.states[unit] = DEAD
        self.running.pop(unit, None)

    def read_again(self) -> None:
        if not self.reload_works:
            return
        for unit in list(self.memory):
            if unit in self.files:
                self.memory[unit] = self.files[unit]
            elif unit not in self.running:
                del self.memory[unit]
                self.states.pop(unit, None)

    @property
    def facts(self) -> tuple[object, ...]:
        """What must be the same whichever way it was reached."""
        up = {unit: state for unit, state in self.states.items() if not state.is_down}
        return self.files, self.links, up, self.running


def plan_for(
    conflicts: ConflictResult, actual: ActualState, drift: Drift | None = None, *, is_guarded: bool = False
) -> Plan:
    units = DesiredUnits(
        texts={s.vassal.key: texts_of(s) for s in conflicts.accepted}, common=common_texts(), boot_link=BOOT_LINK
    )
    served = Counter((one.monitor, one.tenant) for one in actual.installed.values())
    guard = spare(gone_vassals(conflicts, actual), served) if is_guarded else (frozenset[str](), ())
    return make_plan(conflicts, actual, drift or Drift(), units, guard)


def _unit_file(name: str, text: str) -> UnitFile:
    mark = read_mark(name, text)
    ownership = Ownership.OURS if mark else Ownership.FOREIGN
    return UnitFile(path=f"{UNITS}/{name}", ownership=ownership, text=text, mark=mark)


class WorldDirectory(UnitDirectory):
    """Changes the world's files one step at a time."""

    def __init__(self, world: World) -> None:
        self._world = world

    def write(self, texts: Mapping[str, str]) -> None:
        for unit, text in texts.items():
            self._world.change_folder()
            self._world.files[unit] = text

    @contextmanager
    def staged(self, texts: Mapping[str, str]) -> Iterator[Callable[[], None]]:
        yield lambda: self.write(texts)

    def end_staging(self) -> None:
        """Nothing is staged here."""

    def remove(self, units: Iterable[str]) -> None:
        for unit in units:
            self._world.change_folder()
            self._world.files.pop(unit, None)

    def link(self, links: Mapping[str, str]) -> None:
        for path, target in links.items():
            self._world.step()
            self._world.links.pop(path, None)
            self._world.step()
            self._world.links[path] = target

    def unlink(self, links: Iterable[str]) -> None:
        for path in links:
            self._world.step()
            self._world.links.pop(path, None)


class WorldLock(Lock):
    """Remembers what was begun."""

    def __init__(self, world: World) -> None:
        self._world = world

    @contextmanager
    def hold(self, waiting: Callable[[], None], alive: Callable[[], None] | None = None) -> Iterator[None]:
        del waiting, alive
        yield

    def begin(self, pending: Pending) -> None:
        self._world.step()
        self._world.pending = pending


class WorldManager:
    """The world's systemd, behind the bridge's own Protocol; writes down each call."""

    def __init__(self, world: World) -> None:
        self._world = world

    def units(self, only: Collection[str] | None = None) -> dict[str, UnitState]:
        return {unit: state for unit, state in self._world.states.items() if only is None or unit in only}

    def begin_units(self, only: Collection[str] | None = None) -> Callable[[], dict[str, UnitState]]:
        found = self.units(only)
        return lambda: found

    def own_properties(self, *names: str) -> dict[str, Any]:
        own = {"Environment": ["LANG=C.UTF-8", "PATH=/usr/bin:/bin"], "Version": "252.39-1"}
        return {name: value for name, value in own.items() if name in names}

    def properties(self, units: Sequence[str], interface: str, name: str) -> dict[str, Any]:
        self._call("properties", [f"{interface}.{name}", *units])
        if name != "NeedDaemonReload":
            return {}
        world = self._world
        return {unit: unit in world.memory and world.memory[unit] != world.files.get(unit) for unit in units}

    def start(self, units: Collection[str], *, timeout: float, progress: Callable[[int, int], None]) -> None:
        del timeout, progress
        if not units:
            return
        self._call("start", units)
        for unit in units:
            if unit == TARGET:
                self._world.states[TARGET] = UnitState(load="loaded", active="active", sub="active")
                for path in self._world.links:
                    if not path.startswith(BOOT):
                        self._world.bring_up(path.rpartition("/")[2])
            else:
                self._world.bring_up(unit)

    def stop(
        self,
        units: Collection[str],
        *,
        timeout: float,
        progress: Callable[[int, int], None],
        down: Collection[str] = (),
    ) -> None:
        del progress, down
        self._call("stop", units)
        world = self._world
        for unit in units:
            if world.states.get(unit, DEAD).is_down:
                continue
            if unit not in world.stubborn:
                world.take_down(unit)
            else:
                world.states[unit] = STOPPING
        if world.stubborn & {unit for unit in units if not world.states.get(unit, DEAD).is_down}:
            world.clock += timeout

    def kill(self, units: Collection[str]) -> None:
        self._call("kill", units)
        for unit in units:
            self._world.stubborn.discard(unit)

    def launch(self, units: Collection[str]) -> None:
        self.start(units, timeout=0, progress=lambda _done, _total: None)
        self._world.is_loading = True

    def await_loaded(self) -> None:
        self._world.is_loading = False

    def join(self, *, timeout: float, progress: Callable[[int, int], None]) -> None:
        del timeout, progress
        self._world.is_loading = False

    def reload_units(self, units: Collection[str]) -> dict[str, str]:
        self._call("reload", units)
        self._world.outdated = frozenset()
        return {}

    def hang_up(self, units: Collection[str]) -> None:
        self._call("hang-up", units)

    def reset_failed(self, units: Collection[str]) -> None:
        if units:
            self._call("reset-failed", units)
        for unit in units:
            self._world.states[unit] = DEAD

    def daemon_reload(self) -> None:
        self._call("daemon-reload", ())
        self._world.read_again()

    def _call(self, name: str, units: Iterable[str]) -> None:
        self._world.step()
        self._world.calls.append((name, tuple(units)))
