"""The one module that speaks to a service manager (org.freedesktop.systemd1(5))."""

from __future__ import annotations

import itertools
import os
import re
import sys
import time
from collections import deque
from functools import cache
from sys import intern
from typing import TYPE_CHECKING, Any, Protocol

from bridge.bus import Bus, CallError
from bridge.diagnostics import BridgeError, Diagnostic
from bridge.files import remove_if_there, write_all
from bridge.observed import TOLD, UnitChange, UnitState
from bridge.units import PAUSE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from bridge.layout import Layout

    Progress = Callable[[int, int], None]

_SERVICE = "org.freedesktop.systemd1"
_ROOT = "/org/freedesktop/systemd1"
_MANAGER = f"{_SERVICE}.Manager"
_UNIT = f"{_SERVICE}.Unit"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_UNKNOWN = "org.freedesktop.DBus.Error.ServiceUnknown"
_SPAWN = "org.freedesktop.DBus.Error.Spawn."
_ALL = ["vassal-*", "vassals*", f"{PAUSE_PREFIX}vassal-*"]
_ONE_BY_ONE = 8
"""Units for which a batch does not pay."""
_FEW = 64
"""Units to be asked for by name: the manager compares each name with each of its units."""
_GLANCE = 0.25
"""Seconds between two looks at how many jobs are left, where somebody watches."""


class Manager(Protocol):
    """What the bridge asks of a service manager."""

    def units(self, only: Collection[str] | None = None) -> dict[str, UnitState]:
        """Return the vassals' units, or ``only`` these, that the manager has loaded: one call for any number."""

    def properties(self, units: Sequence[str], interface: str, name: str) -> dict[str, Any]:
        """Return one property of each of these units; a unit that cannot be asked is left out."""

    def start(self, units: Collection[str], *, timeout: float, progress: Progress) -> None:
        """Start units as one job, and wait for them so long; whether each is up, :meth:`units` tells."""

    def stop(self, units: Collection[str], *, timeout: float, progress: Progress) -> None:
        """Stop units as one job, in the order their dependencies ask for, and wait for them so long."""

    def reload_units(self, units: Collection[str]) -> dict[str, str]:
        """Have running services reload their configuration; return why, for those that cannot."""

    def reset_failed(self, units: Collection[str]) -> None:
        """Forget that units failed."""

    def daemon_reload(self) -> None:
        """Have the manager read all unit files again."""


class SystemdManager:
    """A running systemd, the system's or the caller's own, over D-Bus."""

    def __init__(self, layout: Layout) -> None:
        """Connect.

        Raises:
            BridgeError: there is no systemd to be reached.
        """
        self._bus = Bus(user=layout.user_manager, service=_SERVICE, properties=TOLD, sift=_sift)
        self._shows_progress = sys.stderr.isatty()
        self._batches = layout.runtime_units
        self._numbers = itertools.count()
        self._changes: deque[UnitChange] = deque()

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
        try:
            self._bus.subscribe(_PROPERTIES, "PropertiesChanged", below=f"{_ROOT}/unit")
        except CallError as error:
            raise _trouble("AddMatch", error) from error
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
            try:
                signal = self._bus.next_signal(deadline)
            except CallError as error:
                raise _trouble("PropertiesChanged", error) from error
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

    def start(self, units: Collection[str], *, timeout: float, progress: Progress) -> None:
        """Start units as one job.

        Raises:
            BridgeError: the manager does not answer, or the batch cannot be written.
        """
        self._batch("Wants", units, timeout, progress)

    def stop(self, units: Collection[str], *, timeout: float, progress: Progress) -> None:
        """Stop units as one job.

        Raises:
            BridgeError: the manager does not answer, or the batch cannot be written.
        """
        self._batch("Conflicts", units, timeout, progress)

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
        try:
            return self._bus.call(_ROOT, _MANAGER, method, signature, *body)
        except CallError as error:
            raise _trouble(method, error) from error

    def _batch(self, relation: str, units: Collection[str], timeout: float, progress: Progress) -> None:
        """Start a target made for the occasion that wants, or conflicts with, all the units.

        One transaction is several times faster than a job for each unit, and orders them by their dependencies. The
        target's name is new, so the manager loads it without a reload, and forgets it once it is up. For a few units
        a new file costs more than it spares: the manager looks at every unit file once for it.
        """
        if not units:
            return
        if len(units) <= _ONE_BY_ONE:
            self._each("StartUnit" if relation == "Wants" else "StopUnit", units, timeout)
            return
        name = f"vassals-batch-{os.getpid()}{next(self._numbers):04d}.target"
        lines = "".join(f"{relation}={unit}\nAfter={unit}\n" for unit in units)
        text = f"# Made by emperor-bridge for a moment.\n[Unit]\nDefaultDependencies=no\nStopWhenUnneeded=yes\n{lines}"
        try:
            os.makedirs(self._batches, exist_ok=True)
            write_all(self._batches, {name: text})
            try:
                self._run(name, len(units), timeout, progress)
            finally:
                remove_if_there(f"{self._batches}/{name}")
        except OSError as error:
            problem = Diagnostic(
                code="batch",
                path=self._batches,
                message=f"no unit can be written here: {error.strerror}",
                hint="see that /run has room",
            )
            raise BridgeError(problem) from error
        except CallError as error:
            raise _trouble("StartUnit", error) from error

    def _each(self, method: str, units: Collection[str], timeout: float) -> None:
        """Ask for a job for each unit and wait until all are done; sockets first, lest one wakes what is to stop."""
        deadline = time.monotonic() + timeout
        ordered = sorted(units, key=lambda unit: not unit.endswith(".socket"))
        calls = ((_ROOT, _MANAGER, method, "ss", (unit, "replace")) for unit in ordered)
        try:
            with self._bus.awaiting(_MANAGER, "JobRemoved"):
                answers = self._bus.call_many(calls)
                jobs = {answer[0] for answer in answers if not isinstance(answer, CallError)}
                while jobs and (signal := self._bus.next_signal(deadline)) is not None:
                    if signal[1] == "JobRemoved":
                        jobs.discard(signal[2][1])
                    else:
                        self._note(*signal)
        except CallError as error:
            raise _trouble(method, error) from error

    def _run(self, unit: str, jobs: int, timeout: float, progress: Progress) -> None:
        """Start a unit and wait until its job is done.

        The manager tells whoever asked for a job of its end; it is not subscribed to for that, since then it would tell
        everything of every unit, which takes it longer than to start a socket.
        """
        deadline = time.monotonic() + timeout
        with self._bus.awaiting(_MANAGER, "JobRemoved", unit=unit):
            self._manager("StartUnit", "ss", unit, "replace")
            while (now := time.monotonic()) < deadline:
                signal = self._bus.next_signal(min(deadline, now + _GLANCE) if self._shows_progress else deadline)
                if signal is None:
                    progress(max(0, jobs - self._jobs()), jobs)
                elif signal[1] == "JobRemoved":
                    return
                else:
                    self._note(*signal)

    def _jobs(self) -> int:
        """Return how many jobs the manager still has to do."""
        answer: tuple[tuple[str, int]] = self._bus.call(_ROOT, _PROPERTIES, "Get", "ss", _MANAGER, "NJobs")
        return answer[0][1]

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
