"""A site for runs of the real reconciler: real files, real listening sockets, and a manager that notes its calls."""

from __future__ import annotations

import os
import re
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bridge.config.settings import Settings
from bridge.reconcile.reconciler import Reconciler
from bridge.state import fingerprint
from tests.unit.build import DEAD, LISTENING, RUNNING, make_paths, quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from bridge.model.change import Verb
    from bridge.model.unit import UnitState
    from bridge.reconcile.run import PlannedRun

CONFIG = "[uwsgi]\nmaster = true\n"


class Kernel:
    """A manager whose sockets listen, and that writes down what it is asked."""

    def __init__(self, units: Path) -> None:
        self.states: dict[str, UnitState] = {}
        self.calls: list[str] = []
        self._units = units
        self._sockets: dict[str, socket.socket] = {}

    def units(self, only: Collection[str] | None = None) -> dict[str, UnitState]:
        self.calls.append("units" if only is None else f"units {len(only)}")
        return {unit: state for unit, state in self.states.items() if only is None or unit in only}

    def begin_units(self, only: Collection[str] | None = None) -> Callable[[], dict[str, UnitState]]:
        found = self.units(only)
        return lambda: found

    def own_properties(self, *names: str) -> dict[str, Any]:
        own = {"Environment": ["LANG=C.UTF-8", "PATH=/usr/bin:/bin"], "Version": "252.39-1"}
        return {name: value for name, value in own.items() if name in names}

    def properties(self, units: Sequence[str], interface: str, name: str) -> dict[str, Any]:
        self.calls += [f"property {interface}.{name}" for _ in units]
        return {}

    def start(self, units: Collection[str], *, timeout: float, progress: Callable[[int, int], None]) -> None:
        del timeout, progress
        for unit in units:
            self.calls.append(f"start {unit}")
            self.states[unit] = LISTENING if unit.endswith(".socket") else RUNNING
            if unit.endswith(".socket"):
                text = (self._units / unit).read_text()
                self._sockets[unit] = bound = socket.socket(socket.AF_UNIX)
                bound.bind("\0" + re.findall(r"^ListenStream=@(.*)$", text, re.MULTILINE)[0])
                bound.listen()

    def stop(
        self,
        units: Collection[str],
        *,
        timeout: float,
        progress: Callable[[int, int], None],
        down: Collection[str] = (),
    ) -> None:
        del timeout, progress, down
        for unit in units:
            self.calls.append(f"stop {unit}")
            self.states[unit] = DEAD
            if bound := self._sockets.pop(unit, None):
                bound.close()

    def launch(self, units: Collection[str]) -> None:
        self.start(units, timeout=0, progress=lambda *_: None)

    def await_loaded(self) -> None:
        """Nothing is under way here."""

    def join(self, *, timeout: float, progress: Callable[[int, int], None]) -> None:
        del timeout, progress

    def reload_units(self, units: Collection[str]) -> dict[str, str]:
        self.calls += [f"reload {unit}" for unit in units]
        return {}

    def kill(self, units: Collection[str]) -> None:
        self.calls += [f"kill {unit}" for unit in units]

    def hang_up(self, units: Collection[str]) -> None:
        self.calls += [f"hang up {unit}" for unit in units]

    def reset_failed(self, units: Collection[str]) -> None:
        self.calls += [f"reset {unit}" for unit in units]

    def daemon_reload(self) -> None:
        self.calls.append("daemon-reload")

    def close(self) -> None:
        for bound in self._sockets.values():
            bound.close()


class Site:
    """A folder of vassals and what serves it."""

    def __init__(self, root: Path, folder: str = "vassals") -> None:
        self.folder = root / folder
        self.folder.mkdir()
        self.paths = make_paths(root)
        self.settings = Settings(emperor=(str(self.folder),), emperor_on_demand_extension=".socket")
        self.manager = Kernel(root / "units")
        self.name = f"{os.getpid()}-{root.name}"

    def write(self, name: str, address: str | None = None, text: str = CONFIG) -> str:
        path = self.folder / f"{name}.ini"
        if address is not None:
            (self.folder / f"{name}.ini.socket").write_text(f"@{self.name}-{address}\n")
        path.write_text(text)
        return self.key(name)

    def key(self, name: str) -> str:
        return f"dir://{self.folder}:{name}.ini"

    def age(self) -> None:
        """Return when the files are so old that a run can trust their times."""
        edge = max(entry.stat().st_ctime_ns for entry in os.scandir(self.folder)) + 2 * fingerprint._TICK
        while (left := edge - time.time_ns()) > 0:
            time.sleep(left / 1e9)

    def sync(self) -> PlannedRun:
        """Plan and apply in a process of its own."""
        self.manager.calls.clear()
        with self.reconciler() as reconciler, reconciler.hold():
            planned = reconciler.plan(self.manager)
            planned, problems = reconciler.apply(self.manager, planned)
            assert problems == ()
        return planned

    @contextmanager
    def reconciler(self) -> Iterator[Reconciler]:
        reconciler = Reconciler(self.paths, self.settings, quiet)
        yield reconciler
        reconciler.close()

    def is_done(self) -> bool:
        """Tell whether a plan of everything finds nothing left to do."""
        with self.reconciler() as reconciler:
            plan = reconciler.plan(self.manager).plan
        return not (plan.stop or plan.start or plan.write or plan.remove or plan.link or plan.unlink)


def verbs(planned: PlannedRun) -> dict[str, Verb]:
    return {change.vassal: change.verb for change in planned.plan.changes}
