"""Makes one run for the daemon: plans, applies, reports, and keeps what the daemon remembers up to date.

A run of all vassals is made in a child process. Its memory ends with it; Python would give little of it back. The child
hands back what the daemon remembers of the vassals.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from bridge.diagnostics import BridgeError, errors
from bridge.host.child import ChildFailedError, in_child
from bridge.reconcile.run import Scope, ScopeTooSmallError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from bridge.diagnostics import Diagnostic
    from bridge.host.child import Parent
    from bridge.model.unit import UnitChange, UnitState
    from bridge.reconcile.reconciler import Reconciler
    from bridge.reconcile.run import PlannedRun, RunOptions
    from bridge.systemd.manager import SystemdManager
    from bridge.watch.notifier import Notifier
    from bridge.watch.sd_notify import ServiceState
    from bridge.watch.watch_list import WatchedPaths

    Connect = Callable[[], AbstractContextManager[SystemdManager]]
    """Makes another connection to the service manager."""
    Watch = Callable[[], tuple[set[str], tuple[Diagnostic, ...]]]
    """Has the kernel watch all paths; returns the folders that are new among them, and what failed."""

_MANY_STARTS = 500
"""If a run starts this many units, the daemon follows units only after it: systemd reports each several times."""
_LISTEN, _READY = "listen", "ready"
"""What a child asks the daemon for: to listen, or to say that it is ready, with a status. All else are entries."""


class Outcome(NamedTuple):
    """How one run ended."""

    is_ok: bool
    is_whole: bool
    """Whether the run was of all vassals."""
    new_folders: set[str]
    """The folders that are watched only since this run."""
    changes: list[UnitChange]
    """Changes of units that came while it was made. Most are its own, and reported with it."""


class _Memory(NamedTuple):
    """What a child hands back."""

    why: tuple[Diagnostic, ...]
    """Why the run failed as a whole."""
    is_ok: bool
    is_following: bool
    reconciler: object
    notifier: object
    paths: object = None
    longest_list: int = 0
    """Of the units that systemd has listed for it."""


class _Changes:
    """The changes of units that come while a child makes the run: if nobody reads them, the bus keeps them all."""

    def __init__(self, manager: SystemdManager) -> None:
        self._manager = manager
        self.found: list[UnitChange] = []

    def fileno(self) -> int:
        return self._manager.fileno()

    def read(self) -> None:
        self.found += self._manager.changes()


class Runner:
    """Makes the daemon's runs."""

    def __init__(
        self,
        manager: SystemdManager,
        notifier: Notifier,
        paths: WatchedPaths,
        service: ServiceState,
        connect: Connect | None,
    ) -> None:
        """Without ``connect``, all runs are made in this process."""
        self._manager = manager
        self._notifier = notifier
        self._paths = paths
        self._service = service
        self._connect = connect
        self._is_listening = self._is_following = False

    def run(self, reconciler: Reconciler, options: RunOptions, watch: Watch) -> Outcome:
        """Plan and apply once, watch what is new, and report.

        Raises:
            BridgeError: the run failed as a whole.
        """
        # What the monitors of databases remember of a run does not come back from a child.
        if not self._connect or any(monitor.mirror for monitor in reconciler.monitors):
            return self._run_here(reconciler, options, watch)
        try:
            if options.scope and not options.scope.is_all:
                return self._run_here(reconciler, replace(options, only_scope=True), watch)
        except ScopeTooSmallError:
            options = replace(options, scope=Scope.all())
        try:
            return self._run_in_child(reconciler, options, watch, self._connect)
        except ChildFailedError:
            # Whatever happened to it: this process takes it up, as after any interrupted run.
            self._is_following = False
            return self._run_here(reconciler, options, watch)

    def follow(self, states: Callable[[], Mapping[str, UnitState]]) -> None:
        """Report the changes of units from now on, unless that has begun."""
        self._follow(states, self._listen)

    def _run_here(self, reconciler: Reconciler, options: RunOptions, watch: Watch) -> Outcome:
        with reconciler.hold(alive=self._service.alive):
            planned, problems = self._carry_out(reconciler, self._manager, options, self._listen)
        changes = list(self._manager.changes())
        problems += self._paths.update(planned)
        new_folders, trouble = watch()
        problems += trouble
        # The vassals are served: whoever starts or reloads the daemon need not wait for thousands of journal entries.
        if planned.scope.is_all:
            self._service.status(self._notifier.summary_after(planned, problems))
        self._service.ready()
        self._notifier.done(planned, problems)
        if planned.scope.is_all:
            # From here on the daemon sees every change.
            reconciler.cache.drop_files()
        return Outcome(not errors(problems), is_whole=planned.scope.is_all, new_folders=new_folders, changes=changes)

    def _run_in_child(self, reconciler: Reconciler, options: RunOptions, watch: Watch, connect: Connect) -> Outcome:
        """Have a child make the run, and remember what it hands back."""
        reconciler.prepare()

        def work(parent: Parent) -> _Memory:
            try:
                return self._be_child(reconciler, options, connect, parent)
            except BridgeError as error:
                notes = self._notifier.memory()
                return _Memory(error.diagnostics, False, self._is_following, reconciler.memory(), notes)

        changes = _Changes(self._manager)
        found: _Memory = in_child(work, self._answer, self._service.alive, changes)
        reconciler.recall(found.reconciler)
        self._notifier.recall(found.notifier)
        self._is_following = found.is_following
        self._manager.lists.expect(found.longest_list)
        if found.why:
            raise BridgeError(*found.why)
        self._paths.recall(found.paths)
        new_folders, trouble = watch()
        for problem in trouble:
            self._notifier.failed(problem)
        changes.read()
        is_ok = found.is_ok and not trouble
        return Outcome(is_ok, is_whole=True, new_folders=new_folders, changes=changes.found)

    def _be_child(self, reconciler: Reconciler, options: RunOptions, connect: Connect, parent: Parent) -> _Memory:
        def listen() -> None:
            parent.ask(_LISTEN)

        # The journal finds out of a process that has ended neither its unit nor its name.
        self._notifier.tell_by(parent.tell)
        with connect() as manager:
            manager.while_waiting(parent.alive)
            with reconciler.hold(alive=parent.alive):
                planned, problems = self._carry_out(reconciler, manager, options, listen)
            problems += self._paths.update(planned)
            parent.ask((_READY, self._notifier.summary_after(planned, problems)))
            self._notifier.done(planned, problems)
            self._follow(manager.units, listen)
            longest = manager.lists.longest
        reconciler.cache.drop_files()
        notes, paths = self._notifier.memory(), self._paths.memory()
        return _Memory((), not errors(problems), True, reconciler.memory(), notes, paths, longest)

    def _answer(self, what: Any) -> None:
        if what == _LISTEN:
            self._listen()
        elif isinstance(what, tuple):
            _, summary = what
            self._service.status(summary)
            self._service.ready()
        else:
            self._notifier.tell(what)

    def _carry_out(
        self, reconciler: Reconciler, manager: SystemdManager, options: RunOptions, listen: Callable[[], None]
    ) -> tuple[PlannedRun, tuple[Diagnostic, ...]]:
        """Plan and apply. Units are followed before the first change, and the end of removed vassals is expected."""
        planned = reconciler.plan(manager, options)
        if len(planned.plan.start) < _MANY_STARTS:
            self._follow(lambda: planned.actual.states, listen)
        self._notifier.will_remove(planned.removed)
        return reconciler.apply(manager, planned)

    def _follow(self, states: Callable[[], Mapping[str, UnitState]], listen: Callable[[], None]) -> None:
        if not self._is_following:
            self._is_following = True
            listen()
            self._notifier.follow(states())

    def _listen(self) -> None:
        if not self._is_listening:
            self._is_listening = True
            self._manager.listen()
