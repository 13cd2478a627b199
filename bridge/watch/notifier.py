"""Tells the world what the watch daemon sees and does: the journal, systemd's notifications, a terminal."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.diagnostics import count, errors, printable
from bridge.lifecycle.events import Event
from bridge.lifecycle.journal import tell, tell_run
from bridge.lifecycle.tracker import LifecycleTracker
from bridge.model.unit_names import PAUSE_PREFIX, pause_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bridge.diagnostics import Diagnostic
    from bridge.lifecycle.events import LifecycleEvent
    from bridge.model.unit import UnitChange, UnitState
    from bridge.reconcile.run import PlannedRun

_MICRO = 1_000_000


class Notifier:
    """Remembers what it has told, so that nothing is told twice."""

    def __init__(self, *, user_manager: bool, pause: Callable[[str], float | None]) -> None:
        self._user_manager = user_manager
        self._pause = pause
        self._lives = LifecycleTracker(now=time.monotonic_ns() // 1000)
        self._throttled: dict[str, LifecycleEvent] = {}
        self._names: dict[str, str] = {}
        self._gone: dict[str, str] = {}
        self._problems: frozenset[Diagnostic] = frozenset()
        self._is_ready = False
        watchdog = int(os.environ.get("WATCHDOG_USEC", "0"))
        self._interval = watchdog / _MICRO / 2 if watchdog else 0.0
        self._next_alive = time.monotonic() + self._interval if self._interval else 0.0

    def follow(self, states: Mapping[str, UnitState]) -> None:
        """Take the units as they are now; :meth:`unit_changed` tells what becomes of them."""
        self._lives.seed(states)

    def unit_changed(self, change: UnitChange) -> None:
        """Tell what a change of a unit means for its vassal, if anything."""
        if change.unit.startswith(PAUSE_PREFIX):
            event = self._throttled.pop(change.unit, None)
            if event and (seconds := self._pause(event.label)) is not None:
                event = replace(event, text=f"next attempt in {seconds:g} s")
            self._tell(event)
            return
        for event in self._lives.feed(change.unit, change.interface, change.values):
            if event.event is Event.THROTTLED:
                # How long the pause is gets known once it has begun.
                self._throttled[pause_of(event.unit)] = event
            else:
                self._tell(event)

    def _tell(self, event: LifecycleEvent | None) -> None:
        if event is not None:
            name = self._names.get(event.label) or self._gone.get(event.label, event.label)
            self._say(f"{name}: {event.text}")
            with suppress(OSError):
                tell(event, vassal=name, user_manager=self._user_manager)

    def done(self, planned: PlannedRun, problems: Iterable[Diagnostic]) -> None:
        """Tell what a run changed and what is wrong now."""
        installed = planned.actual.installed
        names = {label: installed[label].name for label in planned.conflicts.kept}
        names |= {resolved.vassal.label: resolved.vassal.name for resolved in planned.conflicts.accepted}
        gone = {label: one.name for label, one in installed.items() if label not in names}
        if planned.part is None:
            self._names = names
        else:
            for label in gone:
                self._names.pop(label, None)
            self._names |= names
        for label in self._gone.keys() - self._names.keys():
            self._lives.forget(label)
        # How their units end is told after this.
        self._gone = gone
        for change in planned.plan.changes:
            self._say(str(change))
        tell_run(planned.plan.changes, (), user_manager=self._user_manager)
        before = [d for d in self._problems if planned.part is not None and d.config not in planned.part]
        self.failed([*before, *planned.diagnostics, *problems])
        bad = len(errors(self._problems))
        trouble = f", {count(bad, 'problem')}" if bad else ""
        self._notify("STATUS", count(len(self._names), "vassal") + trouble)
        self.ready()

    def ready(self) -> None:
        """Tell systemd that the daemon works, or that its configuration has been read again."""
        if not self._is_ready:
            self._notify("READY")
        self._is_ready = True

    def failed(self, problems: Iterable[Diagnostic]) -> None:
        """Tell of problems that were not there the last time."""
        now = frozenset(problems)
        fresh = sorted(now - self._problems, key=str)
        for problem in fresh:
            self._say(str(problem))
        tell_run((), fresh, user_manager=self._user_manager)
        self._problems = now

    def reloading(self) -> None:
        """Tell systemd that the configuration is read again; :meth:`done` tells that it was."""
        self._notify("RELOADING")
        self._is_ready = False

    def stopping(self) -> None:
        """Tell systemd that the daemon ends."""
        self._notify("STOPPING")

    def alive(self) -> None:
        """Tell the watchdog, when its time has come, that the daemon works."""
        if self._next_alive and time.monotonic() >= self._next_alive:
            self._notify("WATCHDOG")
            self._next_alive = time.monotonic() + self._interval

    def next_alive(self) -> float:
        """Return when the watchdog is to be told again, by ``time.monotonic()``; 0 if there is none."""
        return self._next_alive

    @staticmethod
    def _notify(kind: str, value: str | None = None) -> None:
        if "NOTIFY_SOCKET" in os.environ:
            from cysystemd.daemon import Notification, notify

            notify(Notification[kind], *(() if value is None else (value,)))

    @staticmethod
    def _say(text: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(printable(text) + "\n")
