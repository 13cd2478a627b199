"""Many units started or stopped as one job of the manager's: a target made for the occasion."""

from __future__ import annotations

import itertools
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

    from bridge.systemd.bus import Bus

    Note = Callable[[str, str, tuple[Any, ...]], None]
    from bridge.progress import StageProgress

_ROOT = "/org/freedesktop/systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_DONE = "JobRemoved"
_FEW = 8
"""Units for which a batch does not pay: for its file the manager looks once at every unit file there is."""
_GLANCE = 0.25
"""Seconds between two looks at how many jobs are left, where somebody watches."""


class _Batch(NamedTuple):
    """A target that starts or stops many units."""

    name: str
    serial: int
    """Of the call that started it."""
    jobs: int


class JobBatches:
    """Runs batches, one after the other.

    The manager tells whoever asked for a job of its end. It is not subscribed to for that, since then it would tell
    everything of every unit. What else it tells meanwhile is handed on to ``note``.
    """

    def __init__(self, bus: Bus, folder: str, note: Note) -> None:
        self._bus = bus
        self._folder = folder
        self._note = note
        self._numbers = itertools.count()
        self._launched: deque[_Batch] = deque()
        self._is_watched = sys.stderr.isatty()

    def run(self, relation: str, units: Collection[str], *, timeout: float, progress: StageProgress) -> None:
        """Start (``Wants``) or stop (``Conflicts``) units, and wait for it.

        Raises:
            CallError: the manager refuses.
            BridgeError: the batch cannot be written.
        """
        deadline = time.monotonic() + timeout
        if 0 < len(units) <= _FEW:
            self._run_each("StartUnit" if relation == "Wants" else "StopUnit", units, deadline)
        elif units:
            self._wait(self._begin(relation, units), deadline, progress)

    def launch(self, units: Collection[str]) -> None:
        """Have units started, and do not wait. Raises as :meth:`run`."""
        self._launched.append(self._begin("Wants", units))

    def join(self, *, timeout: float, progress: StageProgress) -> None:
        """Wait for all that was launched. Raises as :meth:`run`."""
        while self._launched:
            self._wait(self._launched.popleft(), time.monotonic() + timeout, progress)

    def _begin(self, relation: str, units: Collection[str]) -> _Batch:
        """Have the target started.

        One transaction is several times faster than a job for each unit, and orders them by their dependencies. The
        target's name is new, so the manager loads it without a reload, and forgets it once it is up.
        """
        name = f"vassals-batch-{os.getpid()}{next(self._numbers):04d}.target"
        lines = "".join(f"{relation}={unit}\nAfter={unit}\n" for unit in units)
        text = f"# Made by emperor-bridge for a moment.\n[Unit]\nDefaultDependencies=no\nStopWhenUnneeded=yes\n{lines}"
        try:
            os.makedirs(self._folder, exist_ok=True)
            write_all(self._folder, {name: text})
        except OSError as error:
            problem = Diagnostic(
                code="batch",
                path=self._folder,
                message=f"no unit can be written here: {error.strerror}",
                hint="see that /run has room",
            )
            raise BridgeError(problem) from error
        self._bus.match(_MANAGER, _DONE, unit=name)
        return _Batch(name, self._bus.begin(_ROOT, _MANAGER, "StartUnit", "ss", name, "replace"), len(units))

    def _wait(self, batch: _Batch, deadline: float, progress: StageProgress) -> None:
        try:
            while (now := time.monotonic()) < deadline:
                until = min(deadline, now + _GLANCE) if self._is_watched else deadline
                signal = self._bus.next_signal(until, begun=batch.serial)
                if signal is None:
                    progress(max(0, batch.jobs - self._jobs()), batch.jobs)
                elif signal[1] != _DONE:
                    self._note(*signal)
                elif signal[2][2] == batch.name:
                    break
            self._bus.unmatch(_MANAGER, _DONE, unit=batch.name)
        finally:
            # One that stays is removed by the next run.
            with suppress(OSError):
                remove_if_there(f"{self._folder}/{batch.name}")

    def _run_each(self, method: str, units: Collection[str], deadline: float) -> None:
        """Ask for a job for each unit and wait until all are done; sockets first, lest one wakes what is to stop."""
        ordered = sorted(units, key=lambda unit: not unit.endswith(".socket"))
        self._bus.match(_MANAGER, _DONE)
        answers = self._bus.call_many((_ROOT, _MANAGER, method, "ss", (unit, "replace")) for unit in ordered)
        jobs = {answer[0] for answer in answers if not isinstance(answer, CallError)}
        while jobs and (signal := self._bus.next_signal(deadline)) is not None:
            if signal[1] == _DONE:
                jobs.discard(signal[2][1])
            else:
                self._note(*signal)
        self._bus.unmatch(_MANAGER, _DONE)

    def _jobs(self) -> int:
        """Return how many jobs the manager still has to do."""
        answer: tuple[tuple[str, int]] = self._bus.call(_ROOT, _PROPERTIES, "Get", "ss", _MANAGER, "NJobs")
        return answer[0][1]
