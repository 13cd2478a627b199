"""Starts or stops many units as one job of the manager: that of a temporary target."""

from __future__ import annotations

import itertools
import math
import os
import sys
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.host.files import remove_if_there, write_all
from bridge.systemd.bus import CallError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from bridge.progress import StageProgress
    from bridge.systemd.bus import Bus

    SignalHandler = Callable[[str, str, tuple[Any, ...]], None]
    """Takes the path, name and body of a signal."""

_ROOT = "/org/freedesktop/systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_JOB_REMOVED = "JobRemoved"
_BATCH_MIN = 9
"""Units from which a batch is faster: to load its target, the manager scans all unit files once."""
_POLL_INTERVAL = 0.25
"""Seconds between two queries of the number of jobs left, if a terminal shows the progress or units stop."""
IDLE = 1.0
"""Seconds that a stop waits for the next service after one has ended: most end together, and one may never end."""


class _Batch(NamedTuple):
    """A target whose start job starts or stops many units."""

    name: str
    serial: int
    """The serial of the D-Bus call that started it."""
    jobs: int
    """The number of its units that have a job to do."""
    services: int
    """The number of services among them."""


class JobBatches:
    """Runs batches, one after the other.

    The manager sends ``JobRemoved`` to the client that queued a job, even without ``Subscribe``, which would bring the
    signals of every unit. Other signals that arrive meanwhile go to ``handler``.
    """

    def __init__(self, bus: Bus, folder: str, handler: SignalHandler) -> None:
        self._bus = bus
        self._folder = folder
        self._handler = handler
        self._numbers = itertools.count()
        self._launched: deque[_Batch] = deque()
        self._over: set[str] = set()
        """The names of launched batches that were done while something else was waited for."""
        self._shows_progress = sys.stderr.isatty()

    def run(
        self,
        relation: str,
        units: Collection[str],
        *,
        timeout: float,
        progress: StageProgress,
        down: Collection[str] = (),
    ) -> None:
        """Start (``Wants``) or stop (``Conflicts``) units, and wait until the jobs are done.

        Jobs that stop units are not waited for any longer if some are done, and then none for ``IDLE`` seconds. The
        jobs of units that seem to be ``down`` do not count for that.

        Raises:
            CallError: the manager refuses.
            BridgeError: the batch cannot be written.
        """
        deadline = time.monotonic() + timeout
        if 0 < len(units) < _BATCH_MIN:
            self._run_each("StartUnit" if relation == "Wants" else "StopUnit", units, deadline, down)
        elif units:
            self._wait(self._begin(relation, units, down), deadline, progress, is_stop=relation == "Conflicts")

    def launch(self, units: Collection[str]) -> None:
        """Queue the start of units, and do not wait. Raises as :meth:`run`."""
        self._launched.append(self._begin("Wants", units))

    def await_loaded(self) -> None:
        """Wait until the manager has read the units of all launched batches: it answers once their jobs are queued.

        Raises:
            CallError: the manager does not answer.
        """
        for batch in self._launched:
            self._bus.await_begun(batch.serial)

    def join(self, *, timeout: float, progress: StageProgress) -> None:
        """Wait for all launched batches. Raises as :meth:`run`."""
        while self._launched:
            self._wait(self._launched.popleft(), time.monotonic() + timeout, progress)

    def _begin(self, relation: str, units: Collection[str], down: Collection[str] = ()) -> _Batch:
        """Write the target and queue its start.

        One transaction is several times faster than one for each unit, and orders the units by their dependencies. The
        target's name is new, so the manager loads it without a reload, and unloads it once it is active.
        """
        name = f"vassals-batch-{os.getpid()}{next(self._numbers):04d}.target"
        lines = "".join(f"{relation}={unit}\nAfter={unit}\n" for unit in units)
        text = f"# Temporary unit of emperor-bridge.\n[Unit]\nDefaultDependencies=no\nStopWhenUnneeded=yes\n{lines}"
        try:
            os.makedirs(self._folder, exist_ok=True)
            write_all(self._folder, {name: text})
        except OSError as error:
            problem = Diagnostic(
                code="batch",
                path=self._folder,
                message=f"no unit file can be written here: {error.strerror}",
                hint="check the free space of /run",
            )
            raise BridgeError(problem) from error
        self._bus.match(_MANAGER, _JOB_REMOVED, unit=name)
        services = sum(unit.endswith(".service") and unit not in down for unit in units)
        serial = self._bus.begin(_ROOT, _MANAGER, "StartUnit", "ss", name, "replace")
        return _Batch(name, serial, len(units) - len(down), services)

    def _wait(self, batch: _Batch, deadline: float, progress: StageProgress, *, is_stop: bool = False) -> None:
        left, changed = batch.jobs, math.inf
        try:
            while batch.name not in self._over and (now := time.monotonic()) < min(deadline, changed + IDLE):
                until = min(deadline, now + _POLL_INTERVAL) if self._shows_progress or is_stop else deadline
                signal = self._bus.next_signal(until, begun=batch.serial)
                if signal is None:
                    before, left = left, self._jobs()
                    changed = time.monotonic() if is_stop and left < min(before, batch.services) else changed
                    progress(max(0, batch.jobs - left), batch.jobs)
                elif signal[1] != _JOB_REMOVED:
                    self._handler(*signal)
                else:
                    self._over.add(signal[2][2])
            self._over.intersection_update(other.name for other in self._launched)
            self._bus.unmatch(_MANAGER, _JOB_REMOVED, unit=batch.name)
        finally:
            self._bus.forget_begun(batch.serial)
            # The next run removes a target that is left behind.
            with suppress(OSError):
                remove_if_there(f"{self._folder}/{batch.name}")

    def _run_each(self, method: str, units: Collection[str], deadline: float, down: Collection[str]) -> None:
        """Queue a job for each unit and wait for all.

        Sockets start first. They stop after their services: systemd cannot run the ExecStopPost= of a service with
        StandardInput=socket once its socket is closed. A connection may start a service in between, so services are
        told to stop once more.
        """
        services = [unit for unit in units if not unit.endswith(".socket")]
        sockets = [unit for unit in units if unit.endswith(".socket")]
        up = [unit for unit in services if unit not in down]
        ordered = [*up, *sockets, *services] if method == "StopUnit" and sockets else [*sockets, *services]
        self._bus.match(_MANAGER, _JOB_REMOVED)
        answers = self._bus.call_many((_ROOT, _MANAGER, method, "ss", (unit, "replace")) for unit in ordered)
        jobs = {answer[0] for answer in answers if not isinstance(answer, CallError)}
        end = deadline
        while jobs and time.monotonic() < end and (signal := self._bus.next_signal(end)) is not None:
            if signal[1] == _JOB_REMOVED:
                unit = signal[2][2]
                is_stopped = method == "StopUnit" and unit.endswith(".service") and unit not in down
                if is_stopped and signal[2][1] in jobs:
                    end = min(deadline, time.monotonic() + IDLE)
                jobs.discard(signal[2][1])
                if any(unit == batch.name for batch in self._launched):
                    self._over.add(unit)
            else:
                self._handler(*signal)
        self._bus.unmatch(_MANAGER, _JOB_REMOVED)

    def _jobs(self) -> int:
        """Return the number of jobs in the manager's queue."""
        answer: tuple[tuple[str, int]] = self._bus.call(_ROOT, _PROPERTIES, "Get", "ss", _MANAGER, "NJobs")
        return answer[0][1]
