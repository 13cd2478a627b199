"""The one module that speaks to a service manager (org.freedesktop.systemd1(5))."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.config.paths import Paths
    from bridge.diagnostics import Diagnostic
    from bridge.progress import StageProgress


import re
from collections import deque
from functools import cache
from sys import intern
from typing import TYPE_CHECKING, Any, Protocol

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.model.unit import WATCHED_PROPERTIES, UnitChange, UnitState
from bridge.model.unit_names import PAUSE_PREFIX
from bridge.systemd.bus import Bus, CallError
from bridge.systemd.jobs import JobBatches

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from bridge.config.paths import Paths


_SERVICE = "org.freedesktop.systemd1"
_ROOT = "/org/freedesktop/systemd1"
_MANAGER = f"{_SERVICE}.Manager"
_UNIT = f"{_SERVICE}.Unit"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_UNKNOWN = "org.freedesktop.DBus.Error.ServiceUnknown"
_SPAWN = "org.freedesktop.DBus.Error.Spawn."
_ALL = ["vassal-*", "vassals*", f"{PAUSE_PREFIX}vassal-*"]
_FEW = 64
"""Units to be asked for by name: the manager compares each name with each of its units."""


class Manager(Protocol):
    """What the bridge asks of a service manager."""

    def units(self, only: Collection[str] | None = None) -> dict[str, UnitState]:
        """Return the vassals' units, or ``only`` these, that the manager has loaded: one call for any number."""

    def properties(self, units: Sequence[str], interface: str, name: str) -> dict[str, Any]:
        """Return one property of each of these units; a unit that cannot be asked is left out."""

    def start(self, units: Collection[str], *, timeout: float, progress: StageProgress) -> None:
        """Start units as one job, and wait for them so long; whether each is up, :meth:`units` tells."""

    def stop(self, units: Collection[str], *, timeout: float, progress: StageProgress) -> None:
        """Stop units as one job, in the order their dependencies ask for, and wait for them so long."""

    def launch(self, units: Collection[str]) -> None:
        """Have units started as one job, and do not wait: :meth:`join` does."""

    def join(self, *, timeout: float, progress: StageProgress) -> None:
        """Wait so long for all that was launched."""

    def reload_units(self, units: Collection[str]) -> dict[str, str]:
        """Have running services reload their configuration; return why, for those that cannot."""

    def reset_failed(self, units: Collection[str]) -> None:
        """Forget that units failed."""

    def daemon_reload(self) -> None:
        """Have the manager read all unit files again."""


class SystemdManager:
    """A running systemd, the system's or the caller's own, over D-Bus."""

    def __init__(self, paths: Paths) -> None:
        """Connect.

        Raises:
            BridgeError: there is no systemd to be reached.
        """
        self._bus = Bus(user=paths.user_manager, service=_SERVICE, properties=WATCHED_PROPERTIES, sift=_sift)
        self._changes: deque[UnitChange] = deque()
        self._batches = JobBatches(self._bus, paths.runtime_units, self._note)

    def close(self) -> None:
        """Close the connection."""
        self._bus.close()

    def fileno(self) -> int:
        """Return the descriptor to wait on for changes."""
        return self._bus.fileno()

    def listen(self) -> None:
        """Have the manager tell of every change of a unit from now on; :meth:`changes` returns them.

        Raises:
            BridgeError: the manager or the bus refuses.
        """
        with _told("AddMatch"):
            self._bus.subscribe(_PROPERTIES, "PropertiesChanged", below=f"{_ROOT}/unit")
        self._manager("Subscribe")

    def changes(self, deadline: float = 0.0) -> Iterator[UnitChange]:
        """Yield what the manager has told of units since the last call, waiting for the first until ``deadline``.

        Raises:
            BridgeError: the connection to the manager broke.
        """
        while True:
            if self._changes:
                deadline = 0.0
                yield self._changes.popleft()
                continue
            with _told("PropertiesChanged"):
                signal = self._bus.next_signal(deadline)
            if signal is None:
                return
            self._note(*signal)

    def units(self, only: Collection[str] | None = None) -> dict[str, UnitState]:
        """Return the vassals' units, or ``only`` these, that the manager has loaded.

        Raises:
            BridgeError: the manager does not answer.
        """
        # No character of a unit's name is special in a pattern (the manager matches with FNM_NOESCAPE).
        only = None if only is None else frozenset(only)
        patterns = sorted(only) if only is not None and len(only) <= _FEW else _ALL
        (units,) = self._manager("ListUnitsByPatterns", "asas", [], patterns)
        return {name: _state(load, active, sub) for name, load, active, sub in units if only is None or name in only}

    def properties(self, units: Sequence[str], interface: str, name: str) -> dict[str, Any]:
        """Return one property of each unit, such as ``MainPID`` of the interface ``Service``."""
        answers = self._bus.call_many(
            (object_path(unit), _PROPERTIES, "Get", "ss", (f"{_SERVICE}.{interface}", name)) for unit in units
        )
        return {
            unit: answer[0][1] for unit, answer in zip(units, answers, strict=True) if not isinstance(answer, CallError)
        }

    def start(self, units: Collection[str], *, timeout: float, progress: StageProgress) -> None:
        """Start units as one job.

        Raises:
            BridgeError: the manager does not answer, or the batch cannot be written.
        """
        with _told("StartUnit"):
            self._batches.run("Wants", units, timeout=timeout, progress=progress)

    def stop(self, units: Collection[str], *, timeout: float, progress: StageProgress) -> None:
        """Stop units as one job.

        Raises:
            BridgeError: the manager does not answer, or the batch cannot be written.
        """
        with _told("StopUnit"):
            self._batches.run("Conflicts", units, timeout=timeout, progress=progress)

    def reload_units(self, units: Collection[str]) -> dict[str, str]:
        """Have running services reload; does not wait for them."""
        answers = self._bus.call_many((_ROOT, _MANAGER, "ReloadUnit", "ss", (unit, "replace")) for unit in units)
        return {unit: str(a) for unit, a in zip(units, answers, strict=True) if isinstance(a, CallError)}

    def reset_failed(self, units: Collection[str]) -> None:
        """Forget that units failed; one that is not loaded has nothing to forget."""
        self._bus.call_many((_ROOT, _MANAGER, "ResetFailedUnit", "s", (unit,)) for unit in units)

    def daemon_reload(self) -> None:
        """Have the manager read all unit files again.

        Raises:
            BridgeError: the manager refuses or does not answer.
        """
        self._manager("Reload")

    def _manager(self, method: str, signature: str = "", *body: object) -> tuple[Any, ...]:
        with _told(method):
            return self._bus.call(_ROOT, _MANAGER, method, signature, *body)

    def launch(self, units: Collection[str]) -> None:
        """Have units started as one job, and do not wait: :meth:`join` does.

        Raises:
            BridgeError: the manager cannot be reached, or the batch cannot be written.
        """
        with _told("StartUnit"):
            self._batches.launch(units)

    def join(self, *, timeout: float, progress: StageProgress) -> None:
        """Wait so long for all that was launched.

        Raises:
            BridgeError: the manager refuses.
        """
        with _told("StartUnit"):
            self._batches.join(timeout=timeout, progress=progress)

    def _note(self, path: str, name: str, body: tuple[Any, ...]) -> None:
        if name == "PropertiesChanged":
            interface, changed = body
            self._changes.append(UnitChange(intern(unit_of(path)), intern(interface.rpartition(".")[2]), changed))


def _sift(path: str, name: str, body: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Keep of a change what can matter: when thousands of units start, thousands of signals wait to be looked at."""
    if name != "PropertiesChanged":
        return body
    interface, values, _ = body
    kept = {key: intern(value) if isinstance(value, str) else value for key, (_, value) in values.items()}
    return (interface, kept) if unit_of(path) else None


@cache
def _state(load: str, active: str, sub: str) -> UnitState:
    """Return a state; thousands of units share a few."""
    return UnitState(load=load, active=active, sub=sub)


def object_path(unit: str) -> str:
    """Return a unit's object path: every byte but letters and digits is escaped (sd_bus_path_encode(3))."""
    escaped = "".join(
        chr(byte) if chr(byte).isalnum() and byte < 0x80 and not (at == 0 and chr(byte).isdigit()) else f"_{byte:02x}"
        for at, byte in enumerate(unit.encode())
    )
    return f"{_ROOT}/unit/{escaped}"


def unit_of(path: str) -> str:
    """Return the unit an object path stands for; empty for any but a vassal's, whose changes nobody asks about."""
    name = path.removeprefix(f"{_ROOT}/unit/")
    if not name.startswith(("vassal", "pause_2dvassal")):
        return ""
    return re.sub(r"_([0-9a-f]{2})", lambda escaped: chr(int(escaped[1], 16)), name)


def needs_reload(manager: Manager, units: Sequence[str]) -> list[str]:
    """Return those of the units whose files changed after the manager read them."""
    answers: Mapping[str, Any] = manager.properties(units, "Unit", "NeedDaemonReload")
    return [unit for unit, stale in answers.items() if stale]


@contextmanager
def _told(method: str) -> Iterator[None]:
    """Make a failed call a problem for admins."""
    try:
        yield
    except CallError as error:
        raise _trouble(method, error) from error


def _trouble(method: str, error: CallError) -> BridgeError:
    if error.name == _UNKNOWN or error.name.startswith(_SPAWN):
        return BridgeError(
            Diagnostic(
                code="no-manager",
                message=f"systemd cannot be reached over D-Bus: {error}",
                hint="D-Bus is there, but the host must run systemd too",
            )
        )
    hint = "run as root, or use --user" if "AccessDenied" in error.name or "InteractiveAuth" in error.name else ""
    return BridgeError(Diagnostic(code="manager", message=f"systemd refuses {method}: {error}", hint=hint))


@contextmanager
def connected(paths: Paths) -> Iterator[SystemdManager]:
    """Yield a connection to the layout's service manager.

    Raises:
        BridgeError: there is none.
    """
    manager = SystemdManager(paths)
    try:
        yield manager
    finally:
        manager.close()
