"""The one module that speaks to a service manager (org.freedesktop.systemd1(5))."""

from __future__ import annotations

import signal
from collections import deque
from contextlib import contextmanager
from signal import SIGHUP
from sys import intern
from typing import TYPE_CHECKING, Any

from bridge.model.unit import WATCHED_PROPERTIES, UnitChange
from bridge.systemd.bus import Bus, CallError
from bridge.systemd.call_errors import call_errors as _call_errors
from bridge.systemd.flood import FloodGate
from bridge.systemd.jobs import JobBatches
from bridge.systemd.listing import UnitLists
from bridge.systemd.object_paths import ROOT as _ROOT
from bridge.systemd.object_paths import object_path, unit_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from bridge.config.paths import Paths
    from bridge.model.unit import UnitState
    from bridge.progress import StageProgress

    _Answers = list[tuple[Any, ...] | CallError]

_SERVICE = "org.freedesktop.systemd1"
_MANAGER = f"{_SERVICE}.Manager"
_UNIT = f"{_SERVICE}.Unit"
_PROPERTIES = "org.freedesktop.DBus.Properties"


class SystemdManager:
    """The system's service manager or the user's, over D-Bus."""

    def __init__(self, paths: Paths) -> None:
        """Connect.

        Raises:
            BridgeError: there is no systemd to connect to.
        """
        self._gate = FloodGate()
        self._bus = Bus(user=paths.user_manager, service=_SERVICE, properties=WATCHED_PROPERTIES, keep=self._admitted)
        self._changes: deque[UnitChange] = deque()
        self._was_reloaded = False
        self.lists = UnitLists(self._bus)
        """What lists units. It must know how long the lists are."""
        self._batches = JobBatches(self._bus, paths.runtime_units, self._handle)

    def close(self) -> None:
        """Close the connection."""
        self._bus.close()

    def fileno(self) -> int:
        """Return the file descriptor that becomes readable when a change arrives."""
        return self._bus.fileno()

    def listen(self) -> None:
        """Subscribe to the changes of all units; :meth:`changes` yields them.

        Raises:
            BridgeError: the manager or the bus refuses.
        """
        with _call_errors("AddMatch"):
            self._bus.subscribe(_PROPERTIES, "PropertiesChanged", below=f"{_ROOT}/unit")
            self._bus.match(_MANAGER, "Reloading")
        self._manager("Subscribe")

    def changes(self, deadline: float = 0.0) -> Iterator[UnitChange]:
        """Yield the changes of units since the last call; wait for the first one until ``deadline``.

        Raises:
            BridgeError: the connection to the manager broke.
        """
        self._ask_for_dropped()
        while True:
            if self._changes:
                deadline = 0.0
                yield self._changes.popleft()
                continue
            with _call_errors("PropertiesChanged"):
                arrived = self._bus.next_signal(deadline)
            if arrived is None:
                return
            self._handle(*arrived)

    def was_reloaded(self) -> bool:
        """Return whether :meth:`changes` has seen the end of a daemon-reload since this was last asked."""
        was, self._was_reloaded = self._was_reloaded, False
        return was

    def due(self) -> float | None:
        """Return when to call :meth:`changes`, by ``time.monotonic()``: units had too many changes to follow each."""
        return self._gate.due()

    def units(self, only: Collection[str] | None = None) -> dict[str, UnitState]:
        """Return the state of the vassals' loaded units, or of ``only`` these.

        Raises:
            BridgeError: the manager does not answer.
        """
        return self.lists.ask(only)

    def begin_units(self, only: Collection[str] | None = None) -> Callable[[], dict[str, UnitState]]:
        """Ask as :meth:`units`, and do not wait: the function returned does. Only the last one asked so is kept."""
        return self.lists.begin(only)

    def own_properties(self, *names: str) -> dict[str, Any]:
        """Return properties of the manager itself, without those for which it answers with an error."""
        answers = _ask(self._bus, "Get", ((_ROOT, (_MANAGER, name)) for name in names))
        return {n: answer[0][1] for n, answer in zip(names, answers, strict=True) if not isinstance(answer, CallError)}

    def properties(self, units: Sequence[str], interface: str, name: str) -> dict[str, Any]:
        """Return one property of each unit, such as ``MainPID`` of the interface ``Service``."""
        answers = _ask(self._bus, "Get", ((object_path(u), (f"{_SERVICE}.{interface}", name)) for u in units))
        return {
            unit: answer[0][1] for unit, answer in zip(units, answers, strict=True) if not isinstance(answer, CallError)
        }

    def start(self, units: Collection[str], *, timeout: float, progress: StageProgress) -> None:
        """Start units as one job.

        Raises:
            BridgeError: the manager does not answer, or the batch cannot be written.
        """
        with _call_errors("StartUnit"):
            self._batches.run("Wants", units, timeout=timeout, progress=progress)

    def while_waiting(self, call: Callable[[], None]) -> None:
        """Have ``call`` called at least once a second while this process waits for the manager."""
        self._bus.while_waiting(call)

    def kill(self, units: Collection[str]) -> None:
        """Kill all processes of services; the error for a service without processes is ignored."""
        _each(self._bus, "KillUnit", units, "si", "all", signal.SIGKILL)

    def stop(
        self, units: Collection[str], *, timeout: float, progress: StageProgress, down: Collection[str] = ()
    ) -> None:
        """Stop units as one job. ``down`` are those that seem to be down.

        Raises:
            BridgeError: the manager does not answer, or the batch cannot be written.
        """
        with _call_errors("StopUnit"):
            self._batches.run("Conflicts", units, timeout=timeout, progress=progress, down=down)

    def reload_units(self, units: Collection[str]) -> dict[str, str]:
        """Queue the reload of running services, and do not wait; return the error for each that was refused."""
        answers = _each(self._bus, "ReloadUnit", units, "s", "replace")
        return {unit: str(a) for unit, a in zip(units, answers, strict=True) if isinstance(a, CallError)}

    def hang_up(self, units: Collection[str]) -> None:
        """Send SIGHUP to the main processes of services; the error for one that has none is ignored."""
        _each(self._bus, "KillUnit", units, "si", "main", SIGHUP)

    def reset_failed(self, units: Collection[str]) -> None:
        """Reset the failed state of units; the error for a unit that is not loaded is ignored."""
        _each(self._bus, "ResetFailedUnit", units)

    def daemon_reload(self) -> None:
        """Have the manager read all unit files again.

        Raises:
            BridgeError: the manager refuses or does not answer.
        """
        self._manager("Reload")

    def _manager(self, method: str, signature: str = "", *body: object) -> tuple[Any, ...]:
        with _call_errors(method):
            return self._bus.call(_ROOT, _MANAGER, method, signature, *body)

    def launch(self, units: Collection[str]) -> None:
        """Queue the start of units as one job, and do not wait; :meth:`join` waits.

        Raises:
            BridgeError: the manager cannot be reached, or the batch cannot be written.
        """
        with _call_errors("StartUnit"):
            self._batches.launch(units)

    def await_loaded(self) -> None:
        """Wait until the manager has read the units of all launched jobs. Raises as :meth:`join`."""
        with _call_errors("StartUnit"):
            self._batches.await_loaded()

    def join(self, *, timeout: float, progress: StageProgress) -> None:
        """Wait for all launched jobs.

        Raises:
            BridgeError: the manager refuses.
        """
        with _call_errors("StartUnit"):
            self._batches.join(timeout=timeout, progress=progress)

    def _admitted(self, path: str, name: str, body: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Return the part of a signal to keep, or None for one too many of its unit."""
        kept = _part_to_keep(path, name, body)
        if kept is None or name != "PropertiesChanged" or self._gate.admit(unit_of(path)):
            return kept
        self._mute()
        return None

    def _mute(self) -> None:
        self._bus.mute([object_path(unit) for unit in self._gate.closed])

    def _ask_for_dropped(self) -> None:
        """Ask for the present state of units whose changes were dropped, and enter it as one change."""
        if not (units := self._gate.take()):
            return
        self._mute()
        wanted = [(unit, kind) for unit in units for kind in (unit.rpartition(".")[2].capitalize(), "Unit")]
        answers = _ask(self._bus, "GetAll", ((object_path(unit), (f"{_SERVICE}.{kind}",)) for unit, kind in wanted))
        # What was read before the answers is older than they are.
        for arrived in self._bus.take_signals():
            self._handle(*arrived)
        for (unit, kind), answer in zip(wanted, answers, strict=True):
            if not isinstance(answer, CallError):
                values = {name: value for name, (_, value) in answer[0].items() if name in WATCHED_PROPERTIES}
                self._changes.append(UnitChange(intern(unit), kind, values))

    def _handle(self, path: str, name: str, body: tuple[Any, ...]) -> None:
        if name == "PropertiesChanged":
            interface, changed = body
            self._changes.append(UnitChange(intern(unit_of(path)), intern(interface.rpartition(".")[2]), changed))
        elif name == "Reloading":
            # It is sent at the beginning and at the end.
            self._was_reloaded |= body == (False,)


def _each(bus: Bus, method: str, units: Iterable[str], signature: str = "", *more: object) -> _Answers:
    """Call a method of the manager for each unit, and return the answer or the error for each.

    Raises:
        BridgeError: the connection to the manager broke.
    """
    with _call_errors(method):
        return bus.call_many((_ROOT, _MANAGER, method, f"s{signature}", (unit, *more)) for unit in units)


def _ask(bus: Bus, method: str, asked: Iterable[tuple[str, tuple[str, ...]]]) -> _Answers:
    """Ask objects, by their paths, for properties. Returns and raises as :func:`_each`."""
    with _call_errors(method):
        return bus.call_many((path, _PROPERTIES, method, "s" * len(body), body) for path, body in asked)


def _part_to_keep(path: str, name: str, body: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Return the part of a signal to keep: when thousands of units start, thousands of signals wait in memory."""
    if name != "PropertiesChanged":
        return body
    interface, values, _ = body
    kept = {key: intern(value) if isinstance(value, str) else value for key, (_, value) in values.items()}
    return (interface, kept) if unit_of(path) else None


@contextmanager
def connected(paths: Paths) -> Iterator[SystemdManager]:
    """Yield a connection to the service manager that ``paths`` belong to, and close it.

    Raises:
        BridgeError: there is no service manager to connect to.
    """
    manager = SystemdManager(paths)
    try:
        yield manager
    finally:
        manager.close()
