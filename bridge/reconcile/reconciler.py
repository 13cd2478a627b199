"""Plan and apply: the code path shared by check, sync, --dry-run and watch.

What only a run with something to do needs is imported when it is needed.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any

from bridge.model.unit_names import label_of
from bridge.monitors import open_monitors
from bridge.reconcile import incremental
from bridge.reconcile.actual import ActualState
from bridge.reconcile.desired import Desired
from bridge.reconcile.leftovers import forget_mirrors, settle
from bridge.reconcile.run import Assessment, PlannedRun, RunContext, RunOptions, Scope, ScopeTooSmallError
from bridge.reconcile.run_state import RunState
from bridge.reconcile.second_look import with_second_look
from bridge.reconcile.stops import LateVassal, LateVassals
from bridge.state.pauses import PauseNotes
from bridge.units.directory import UnitDirectory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from bridge.config.paths import Paths
    from bridge.config.settings import Settings
    from bridge.diagnostics import Diagnostic
    from bridge.model.change import Change
    from bridge.progress import Progress
    from bridge.reconcile.apply import PlanExecutor
    from bridge.reconcile.incremental import Asking
    from bridge.reconcile.planner import Planner
    from bridge.state.cache import VassalCache
    from bridge.state.lock import Pending
    from bridge.systemd.protocol import Manager

    Applied = tuple[PlannedRun, tuple[Diagnostic, ...]]
    """A run as it was applied, and what then proved wrong."""
    Changed = tuple[Scope, VassalCache, Mapping[str, int]]
    """The vassals that changed, the cache that has the others, and its fingerprints."""
    CarryOut = Callable[[PlanExecutor, PlannedRun, Pending], Pending]
    """Carries out a plan; takes what earlier runs have left to do, and returns what is left to do now."""

_ANY = RunOptions()


def carry_out(executor: PlanExecutor, planned: PlannedRun, left: Pending) -> Pending:
    """Carry out a plan in the usual way: whatever it starts, as soon as its units are written."""
    if planned.plan.is_empty:
        return left
    return executor.apply(planned.plan, planned.actual.files, planned.unmoved, left)


def _carry_out_and_read(
    by: CarryOut, executor: PlanExecutor, planned: PlannedRun, left: Pending, again: Callable[[RunContext], PlannedRun]
) -> tuple[PlannedRun, Pending]:
    """Carry out a plan; return the run with all configs read, and what is left to do. ``again`` plans once more."""
    left = by(executor, planned, left)
    if executor.unread is None:
        return planned, left
    rest = partial(carry_out, replace(executor, unread=None))
    return executor.unread.complete(planned, left, partial(again, planned.context), rest)


class Reconciler:
    """Keeps systemd's units in line with the vassals of one configuration, for one run or for the daemon's life."""

    def __init__(self, paths: Paths, settings: Settings, progress: Progress) -> None:
        """Open the monitors.

        Raises:
            BridgeError: the settings name a monitor that the bridge does not have, or one that cannot be used.
        """
        self.monitors = open_monitors(settings, paths.mirrors)
        self._paths = paths
        self._settings = settings
        self._progress = progress
        self._directory = UnitDirectory(paths)
        self._pauses = PauseNotes(paths.pauses)
        self._state = RunState(paths, settings)
        self._late = LateVassals()
        self.late: dict[str, LateVassal] = {}
        """The vassals that have not ended, by key, if nobody waited for them: another run must take them up."""

    @cached_property
    def planner(self) -> Planner:
        """What makes the plans."""
        from bridge.reconcile.planner import Planner

        return Planner(
            paths=self._paths,
            settings=self._settings,
            monitors=self.monitors,
            directory=self._directory,
            pauses=self._pauses,
            progress=self._progress,
        )

    @property
    def cache(self) -> VassalCache:
        """What is known of all vassals."""
        return self._state.cache

    def prepare(self) -> None:
        """Load what every run with something to do needs."""
        from bridge.reconcile import apply, bring_up, plan, unread  # noqa: F401

        self.planner.render_context  # noqa: B018 - it is kept

    def memory(self) -> object:
        """Return what is remembered of the vassals, for :meth:`recall` in another process."""
        return self._state.memory(), self._late, self.late

    def recall(self, memory: Any) -> None:
        """Take over what another process has remembered."""
        state, self._late, self.late = memory
        self._state.recall(state)

    def close(self) -> None:
        """Close the monitors."""
        for monitor in self.monitors:
            monitor.close()

    def hold(
        self, waiting: Callable[[], None] = lambda: None, alive: Callable[[], None] | None = None
    ) -> AbstractContextManager[None]:
        """Hold the lock of all runs; if another run has it, call ``waiting`` once, ``alive`` again and again, and wait.

        Raises:
            BridgeError: the lock cannot be taken.
        """
        return self._state.lock.hold(waiting, alive)

    def plan(self, manager: Manager | None, options: RunOptions = _ANY) -> PlannedRun:
        """Plan a run. A plan that was made without the lock, or without a manager, cannot be applied.

        Raises:
            BridgeError: the settings, the templates or the manager cannot be used.
            ScopeTooSmallError: the options ask for it instead of a plan of all vassals.
        """
        if manager is None or not self._state.lock.is_held:
            allowed, last = options.allow_mass_removal, self._state.last_run()
            context = RunContext(last=last, allow_mass_removal=allowed, ending=options.ending or frozenset())
            both = incremental.Sees.SOCKETS | incremental.Sees.DROP_INS
            if manager and options.covers_changes and (found := self._changed(manager.begin_units, both)):
                from bridge.reconcile.preview import plan_changes

                if planned := plan_changes(self.planner, manager, context, found):
                    return planned
            return self.planner.plan_all(manager, context, with_configs=options.with_configs)
        return with_second_look(partial(self._plan, manager, options), self._settings, self.monitors)

    def _plan(self, manager: Manager, options: RunOptions) -> PlannedRun:
        context, is_usual = self._state.context(options)
        planned = None
        if is_usual and options.scope is not None:
            if not options.scope.is_all and self._state.is_own(context):
                # The caller sees lost sockets too.
                seen = replace(context, is_callers_scope=True, sees_sockets=False)
                scope = Scope(self.cache.with_rivals(options.scope.keys or ()))
                planned = self.planner.plan_scope(manager, seen, scope, self.cache)
        elif is_usual and (found := self._changed(manager.begin_units)) is not None:
            changed, cache, digests = found
            context_of_changed = replace(context, digests=digests)
            if changed.keys:
                planned = self.planner.plan_scope(manager, context_of_changed, changed, cache)
            else:
                planned = PlannedRun.of_nothing(context_of_changed, cache.served(()))
            if planned is not None:
                self._state.cache = cache
        if planned is None and options.only_scope:
            raise ScopeTooSmallError
        return planned or self.planner.plan_all(manager, context, puts_off=options.ending is None)

    def apply(self, manager: Manager, planned: PlannedRun, by: CarryOut = carry_out) -> Applied:
        """Apply a plan, under the lock it was made under; return it as it was applied, and what then proved wrong.

        Raises:
            BridgeError: systemd or the file system refuses; what was done so far stays.
        """
        if planned.scope.is_all:
            self._directory.clean()
        last = self._state.begin(planned)
        left, done = self._state.carried(planned), planned
        problems: tuple[Diagnostic, ...] = ()
        if planned.scope.keys != frozenset():
            executor = self._executor(manager, planned)
            planned, left = _carry_out_and_read(by, executor, planned, left, partial(self.planner.plan_all, manager))
            self._late.retain(set(map(label_of, left.restart)))
            done = replace(planned, late=frozenset(self._late.due), deferred=frozenset(map(label_of, left.reload)))
            problems = executor.check(done)
        self.late = self._late.by_key(done, self.late)
        self._state.finish(done, last, problems, left)
        if "planner" in vars(self):  # To do nothing, it need not be imported.
            self.planner.save_templates()
        settle(self.monitors, done, self._paths.mirrors)
        return done, problems

    def assess(self, manager: Manager) -> Assessment:
        """Compare the desired with the actual state, without a plan; read only what changed since the last run.

        If there is no monitor, nothing says what is desired: then all that is installed is returned.

        Raises:
            BridgeError: the settings or the manager cannot be used.
        """
        if not self.monitors:
            return Assessment(desired=Desired(), actual=self.planner.reader().read_all(manager))
        states = cache(manager.begin_units())
        if (found := self._changed(lambda _: states, incremental.Sees.DROP_INS)) is not None:
            scope, known, _ = found
            if not scope.keys:
                return Assessment(desired=Desired(), actual=ActualState(installed=known.installed(()), states=states()))
            if (assessment := self.planner.assess_scope(manager, scope, known)) is not None:
                return assessment
        return self.planner.assess(manager)

    def forget(self) -> None:
        """Remove what runs have left, after a removal was applied, or where a killed one left it.

        Raises:
            BridgeError: the file system refuses.
        """
        if self._state.lock.exists:
            self._directory.clean()
            self._state.forget()
            forget_mirrors(self._paths.mirrors)

    def retry(self, manager: Manager, wanted: str) -> list[Change]:
        """Try vassals at once that pause after a failure, or that asked not to be started; return what was done.

        Raises:
            BridgeError: systemd or the file system refuses.
        """
        from bridge.reconcile.by_name import retry

        return retry(self._executor(manager), self.planner.reader().read_all(manager), wanted)

    def _changed(self, ask: Asking, sees: incremental.Sees = incremental.Sees.SOCKETS) -> Changed | None:
        """Find the vassals that are not as the cache on disk has them; None if all must be processed."""
        if (noted := self._state.read_cache()) is None:
            return None
        cache, digests = noted
        detector = incremental.ChangeDetector(self.monitors, self._directory, self._paths.unit_path)
        scope = detector.changed(cache, digests, ask, sees)
        return None if scope is None else (scope, cache, digests)

    def _executor(self, manager: Manager, planned: PlannedRun | None = None) -> PlanExecutor:
        from bridge.reconcile.apply import PlanExecutor
        from bridge.systemd.journal import failure_reason

        return PlanExecutor(
            directory=self._directory,
            pauses=self._pauses,
            lock=self._state.lock,
            manager=manager,
            progress=self._progress,
            reason=failure_reason(user_manager=self._paths.user_manager),
            late=self._late,
            unread=self.planner.unread(planned.desired, manager) if planned and planned.plan.unread else None,
            waits_for_late=planned is None or planned.context.waits_for_late,
        )
