"""What runs leave for the next: the lock and its note, the last run's facts, and the cache."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bridge.diagnostics import errors
from bridge.host.files import remove_if_there
from bridge.host.links import changed_at
from bridge.model.unit_names import TARGET, label_of, places_beside
from bridge.reconcile import incremental
from bridge.reconcile.config_folders import config_folders
from bridge.reconcile.run import RunContext
from bridge.state.cache import VassalCache
from bridge.state.last_run import LastRun, LastRunFile
from bridge.state.lock import NOTHING, Lock, Pending
from bridge.state.places import forget_places
from bridge.vassals.guard import is_unexpected

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bridge.config.paths import Paths
    from bridge.config.settings import Settings
    from bridge.diagnostics import Diagnostic
    from bridge.reconcile.run import PlannedRun, RunOptions, Scope


class RunState:
    """Reads what the last run left, and keeps what this one leaves."""

    def __init__(self, paths: Paths, settings: Settings) -> None:
        self.lock = Lock(paths.lock, paths.run_note)
        self.cache = VassalCache({})
        """What is known of all vassals."""
        self._paths = paths
        self._settings = settings
        self._last_run = LastRunFile(paths.last_run)
        self._saw_others = False
        """Whether other configurations had vassals when this process last processed all of its own."""
        self._stamp = 0
        """The stamp this process left on the note: it has seen every change up to then."""
        self._left = NOTHING
        """What it left to do."""

    def memory(self) -> object:
        """Return what this process knows of its last run, for :meth:`recall` in another process."""
        return self.cache, self._saw_others, self._stamp, self._left

    def recall(self, memory: Any) -> None:
        """Take over what another process knows of its last run."""
        self.cache, self._saw_others, self._stamp, self._left = memory

    def last_run(self) -> LastRun:
        """Return what the last run left, or nothing if there was none since the boot."""
        return self._last_run.read() or LastRun()

    def context(self, options: RunOptions) -> tuple[RunContext, bool]:
        """Return what a plan is made with, and whether the last run ended well. The lock is held.

        Raises:
            BridgeError: a take-over has begun and not ended, and this run is none.
        """
        if options.ending is None and os.path.lexists(self._paths.take_over):
            from bridge.state.take_over import TakeOverNote

            TakeOverNote(self._paths.take_over).refuse_unfinished()
        noted = self._last_run.read()
        pending = self.lock.pending()
        context = RunContext(
            stamp=self.lock.stamp(),
            began=time.time_ns(),
            interrupted=pending.restart,
            unread=pending.reread,
            untold=pending.reload,
            last=noted or LastRun(),
            # Without a note of the last run it is unknown what was up at its end.
            leave_stopped=options.leave_stopped and noted is not None,
            unfinished=options.unfinished,
            waits_for_late=options.waits_for_late,
            left=pending if self.lock.stamp() > 0 else NOTHING,
            allow_mass_removal=options.allow_mass_removal,
            ending=options.ending or frozenset(),
            # Others that came after this process's last run of all vassals have left a note.
            has_others=self._saw_others or self.lock.is_shared,
        )
        # A process that left vassals to its next run knows of them.
        is_known = pending == NOTHING or (self.is_own(context) and pending == self._left)
        return context, noted is not None and context.stamp > 0 and is_known and options.ending is None

    def carried(self, planned: PlannedRun) -> Pending:
        """Return what the last run left to do of vassals that this plan leaves out, and the reloads that it puts off.

        They are outside the scope, or are refused now. One that is refused for its rule or its address may run, and its
        config may have changed too.
        """
        actual, kept = planned.actual, planned.conflicts.kept

        def is_left(unit: str) -> bool:
            if (one := actual.installed.get(label_of(unit))) is None:
                return not planned.scope.is_all
            return one.label in kept and not actual.state(one.service).is_down

        running = (one for label in kept if not actual.state((one := actual.installed[label]).service).is_down)
        changed = (one.service for one in running if _changed_since(planned.context.stamp, one.config))
        left = planned.context.left.part(is_left)
        return left._replace(reload=left.reload.union(changed))

    def is_own(self, context: RunContext) -> bool:
        """Tell whether the last run was this process's own."""
        return self._stamp == context.stamp

    def read_cache(self) -> tuple[VassalCache, Mapping[str, int]] | None:
        """Return the cache on disk and the fingerprints in it; None if there is no valid one.

        Raises:
            BridgeError: the settings name a program, user or group that is not there.
        """
        if not incremental.is_possible(self._settings):
            return None
        return incremental.cache_file(self._paths, self._settings).read(extension=self._extension)

    def begin(self, planned: PlannedRun) -> LastRun:
        """Note, before anything is changed, what somebody else has stopped; return what is noted.

        Raises:
            BridgeError: the file system refuses.
        """
        stopped = planned.drift.stopped_by_admin
        if planned.context.is_callers_scope:
            units = {unit for one in planned.actual.installed.values() for unit in one.units}
            stopped = (stopped - {TARGET}) | (planned.context.last.stopped_by_admin - units)
        last = replace(planned.context.last, stopped_by_admin=stopped)
        self._last_run.write(last)
        return last

    def finish(
        self, planned: PlannedRun, last: LastRun, problems: tuple[Diagnostic, ...], left: Pending = NOTHING
    ) -> None:
        """Note that the plan was applied but for what is ``left``, and what it found.

        Raises:
            BridgeError: the file system refuses.
        """
        failed = frozenset(problem.key for problem in errors(problems) if problem.key)
        folders = config_folders(planned.desired, planned.actual, last)
        if planned.scope.is_all:
            self._saw_others = bool(planned.actual.of_others)
        else:
            failed |= {key for key in last.failed if not planned.scope.covers(key)}
            folders = {**last.folders, **folders}
        self._last_run.write(replace(last, failed=failed, folders=folders))
        # A caller that names the scope did not see how the other vassals' files were when this run began.
        self._stamp = planned.context.stamp if planned.context.is_callers_scope else _saw_all_until(planned)
        self._left = left
        self.lock.finish(self._stamp, left)
        self._update_cache(planned, problems)

    def forget(self) -> None:
        """Remove everything that runs have left.

        Raises:
            OSError: the file system refuses.
        """
        self._last_run.forget()
        remove_if_there(self._paths.cache)
        remove_if_there(self._paths.compiled)
        forget_places(places_beside(self._paths.pauses))
        self.lock.forget()

    def _update_cache(self, planned: PlannedRun, problems: Iterable[Diagnostic]) -> None:
        """Keep what was found for this process and, unless the caller named the scope, on disk for the next.

        Without a cache the next run processes every vassal, so nothing that goes wrong here is worth ending this one.
        """
        if planned.context.is_removal:
            # A removal needs no uWSGI, and the cache's file depends on it.
            return
        try:
            self._keep(planned, problems)
        except Exception as error:
            if not is_unexpected(error):
                raise
            self._stamp = 0
            with suppress(OSError):
                incremental.cache_file(self._paths, self._settings).forget()

    def _keep(self, planned: PlannedRun, problems: Iterable[Diagnostic]) -> None:
        records = incremental.records_of(planned, problems, self._paths.unit_directory)
        scope: Scope = planned.scope
        if scope.keys is not None:
            self.cache.replace(scope.keys, records)
            if planned.context.is_callers_scope or not scope.keys:
                return
        else:
            self.cache = VassalCache(records, extension=self._extension, others=planned.actual.of_others)
        is_whole = not planned.desired.unreachable and all(d.key for d in planned.diagnostics)
        # Without the file the next run processes every vassal.
        with suppress(OSError):
            file = incremental.cache_file(self._paths, self._settings)
            if is_whole and incremental.is_possible(self._settings):
                file.write(self.cache, planned.context.began, scope.covers, planned.context.digests)
            else:
                file.forget()

    @property
    def _extension(self) -> str:
        return self._settings.on_demand_rule.extension


def _saw_all_until(planned: PlannedRun) -> int:
    """Return when a run began, or earlier, if it left out a config that changed since the run before."""
    changes = []
    for path in planned.desired.unfinished:
        with suppress(OSError):
            changes.append(changed_at(path))
    return max(planned.context.stamp, min([planned.context.began, *(when - 1 for when in changes)]))


def _changed_since(stamp: int, path: str) -> bool:
    """Tell whether a file is there and has changed since a run. Without one (0), it has not."""
    with suppress(OSError):
        return 0 < stamp < changed_at(path)
    return False
