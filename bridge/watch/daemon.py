"""The daemon: a loop that waits for events, and one run of the reconciler for each burst of changes."""

from __future__ import annotations

import ctypes
import gc
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.host.users import forget_users
from bridge.reconcile.run import RunOptions, Scope
from bridge.units.quoting import forget_texts
from bridge.vassals.guard import internal_problem, is_unexpected
from bridge.watch.bursts import is_over, scope_of_burst
from bridge.watch.configuration import Configuration
from bridge.watch.inotify import FileWatch
from bridge.watch.late import LateRuns
from bridge.watch.runner import Runner
from bridge.watch.sd_notify import ServiceState
from bridge.watch.sources import FileSource, SignalSource, UnitSource, wait
from bridge.watch.timing import NO_BURST, Backoff, Debounce, WholeRuns
from bridge.watch.watch_list import WatchedPaths

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.model.unit import UnitChange
    from bridge.systemd.manager import SystemdManager
    from bridge.watch.configuration import LoadedConfig
    from bridge.watch.feeders import Feeders
    from bridge.watch.notifier import Notifier
    from bridge.watch.runner import Connect, Outcome
    from bridge.watch.sources import EventSource
    from bridge.watch.timing import Burst

_ROUNDS = 5
"""Runs in a row at most, each because the one before found new folders."""


class Daemon:
    """Runs the reconciler whenever vassals, rules, sockets or the configuration change."""

    def __init__(
        self,
        manager: SystemdManager,
        load_config: Callable[[], LoadedConfig],
        notifier: Notifier,
        feeders: Feeders,
        connect: Connect | None = None,
    ) -> None:
        """Load the configuration. For ``connect`` see :class:`bridge.watch.runner.Runner`.

        Raises:
            BridgeError: it cannot be used.
        """
        self._manager = manager
        self._notifier = notifier
        self._configuration = Configuration(load_config)
        self._service = ServiceState()
        self._debounce = Debounce()
        self._backoff = Backoff()
        self._whole_runs = WholeRuns()
        self._files = FileWatch()
        loaded = self._configuration.current
        self._paths = WatchedPaths(loaded.reconciler.monitors, loaded.settings, loaded.configuration)
        self._runner = Runner(manager, notifier, self._paths, self._service, connect)
        has_lost = partial(self._configuration.has_lost_sockets, manager)
        self._units = UnitSource(manager, changed=self._unit_changed, touch=self.touch, has_lost=has_lost)
        manager.while_waiting(self._service.alive)
        self._signals = SignalSource(stop=self.stop, reload=self._request_reload)
        self._feeders = feeders
        feeders.changed = partial(self.touch, None)
        feeders.while_waiting(self._service.alive)
        self._sources: list[EventSource] = [
            self._signals,
            feeders,
            FileSource(self._files, changed=self.touch, is_unchanged=self._paths.is_unchanged_socket),
            self._units,
        ]
        self._is_stopping = self._is_reload_requested = False
        self._late = LateRuns(lambda: self._configuration.current.reconciler.late)

    def register(self, source: EventSource) -> None:
        """Wait for another source too."""
        self._sources.append(source)

    def touch(self, paths: set[str] | None) -> None:
        """Have the vassals at these paths reconciled once the burst of changes is over; None: all vassals."""
        self._debounce.touch(paths)

    def stop(self) -> None:
        """End the loop after the events at hand."""
        self._is_stopping = True

    def run(self) -> None:
        """Work until SIGTERM or SIGINT; SIGHUP reloads the configuration.

        Raises:
            BridgeError: the first run failed, or the connection to the service manager broke.
        """
        self._signals.install()
        # Before the mirrors are watched, for this makes their folders.
        self._feeders.configure(self._configuration.current.reconciler.monitors)
        _watch(self._files, self._paths.names)
        if self._configuration.is_outdated():
            # It changed before it was watched.
            self._reload()
        self._attempt(Scope.all())
        self._runner.follow(self._manager.units)
        # Changes that came with the answers to these calls have been read: they do not make the descriptor readable.
        self._units.read()
        _give_memory_back()
        # The command line has turned it off, and a daemon lives for long.
        gc.enable()
        while not self._is_stopping:
            self._service.alive()
            wait(self._sources, self._next_time())
            self._notifier.flush()
            is_retry = self._backoff.take()
            has_changes = is_over(self._debounce, self._configuration.current, self._manager)
            if is_retry or has_changes:
                self._work(self._debounce.take() if has_changes else NO_BURST, is_retry=is_retry)
            if self._whole_runs.take():
                self._try(Scope.all())
            self._try(Scope.of(self._late.take()))
        self._service.stopping()

    def _next_time(self) -> float | None:
        timed = (self._debounce, self._backoff, self._service, self._notifier, self._late, self._whole_runs)
        return min((due for one in timed if (due := one.due()) is not None), default=None)

    def _request_reload(self) -> None:
        self._is_reload_requested = True
        self.touch(None)

    def _work(self, burst: Burst, *, is_retry: bool) -> None:
        """Reconcile the vassals that the burst of changes can affect; all of them for a retry or after a reload."""
        if self._is_reload_requested or self._configuration.is_outdated():
            self._is_reload_requested = False
            self._reload()
            is_retry = True
        loaded, admit = self._configuration.current, self._whole_runs.admit
        self._try(Scope.all() if is_retry else scope_of_burst(loaded, burst, admit))

    def _try(self, scope: Scope) -> None:
        if scope.keys == frozenset():
            return
        try:
            self._attempt(scope)
        except BridgeError as error:
            self._failed(error.diagnostic)

    def _unit_changed(self, change: UnitChange) -> None:
        self._notifier.unit_changed(change)
        self._late.unit_changed(change)

    def _attempt(self, scope: Scope) -> None:
        """Reconcile. An exception that nobody expected is reported, and the daemon lives on and tries again."""
        try:
            self._reconcile(scope)
        except Exception as error:
            if not is_unexpected(error):
                raise
            self._failed(internal_problem(error))

    def _failed(self, problem: Diagnostic) -> None:
        """Report why a run failed, and try again later."""
        self._notifier.failed(problem)
        self._service.ready()
        self._backoff.fail()
        self._units.read()

    def _reload(self) -> None:
        self._service.reloading()
        try:
            self._configuration.reload()
        except BridgeError as error:
            for diagnostic in error.diagnostics:
                self._notifier.failed(diagnostic)
        loaded = self._configuration.current
        self._paths.configure(loaded.reconciler.monitors, loaded.settings, loaded.configuration)
        self._feeders.configure(loaded.reconciler.monitors)

    def _reconcile(self, scope: Scope) -> None:
        """Run once, and again for all vassals as long as a run finds new folders: changes there were not seen."""
        for _ in range(_ROUNDS):
            outcome = self._run(scope)
            if outcome.is_whole:
                _give_memory_back()
            if not outcome.new_folders & self._paths.vassal_folders:
                break
            scope = Scope.all()
        if not outcome.is_ok:
            self._backoff.fail()
        elif outcome.is_whole:
            # A run of some vassals says nothing about those that failed before.
            self._backoff.succeed()
        if outcome.new_folders and self._paths.has_lost_socket():
            # It was removed before its folder was watched.
            self.touch(None)

    def _run(self, scope: Scope) -> Outcome:
        """Run once, and report what changed meanwhile."""
        unfinished = self._debounce.held | self._debounce.known | self._files.open
        options = RunOptions(scope=scope, leave_stopped=True, unfinished=unfinished, waits_for_late=False)
        began = time.monotonic()
        reconciler = self._configuration.current.reconciler
        outcome = self._runner.run(reconciler, options, lambda: _watch(self._files, self._paths.names))
        self._service.status(self._notifier.summary)
        # The run itself caused these changes of units. A socket that failed is among its problems already.
        for change in outcome.changes:
            self._unit_changed(change)
        self._units.look_for_lost()
        if outcome.is_whole:
            self._whole_runs.ran(time.monotonic() - began)
        return outcome


def _watch(files: FileWatch, names: Mapping[str, set[str]]) -> tuple[set[str], tuple[Diagnostic, ...]]:
    """Have the kernel watch all paths; return the folders that are new among them, and what failed."""
    try:
        return files.watch(names), ()
    except OSError as error:
        problem = Diagnostic(
            code="watch-limit",
            message=f"not all folders can be watched: {error.strerror}",
            hint="raise fs.inotify.max_user_watches",
        )
        return set(), (problem,)


def _give_memory_back() -> None:
    """Return the memory of a run to the kernel (malloc_trim(3)): the daemon may sleep for days now."""
    forget_texts()
    forget_users()
    gc.collect()
    with suppress(AttributeError):
        # musl has no malloc_trim.
        ctypes.CDLL(None).malloc_trim(0)
