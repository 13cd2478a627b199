"""The one road that check, sync, --dry-run and watch walk: observe, desire, admit, render, plan, apply."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.host.listeners import make_canonical_address
from bridge.model.change import Change, Verb
from bridge.model.unit_names import TARGET, EscapeError, boot_target
from bridge.model.vassal import names_of
from bridge.reconcile.apply import SERVICE_PATIENCE, PlanExecutor
from bridge.reconcile.drift import config_folders
from bridge.reconcile.incremental import ChangeDetector, records_of
from bridge.reconcile.planner import Lookout, unwritable
from bridge.reconcile.run import Part, PlannedRun, RunContext
from bridge.state.cache import VassalCache
from bridge.state.last_run import LastRun, LastRunFile
from bridge.state.lock import Lock
from bridge.systemd.journal import failure_reason
from bridge.units.directory import UnitDirectory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.config.paths import Paths
    from bridge.config.settings import Settings
    from bridge.diagnostics import Diagnostic
    from bridge.model.vassal import Vassal
    from bridge.progress import Progress
    from bridge.reconcile.actual import ActualState
    from bridge.systemd.manager import Manager
    from bridge.uwsgi.options import Config


class Reconciler:
    """One run of the bridge on one layout, with one set of settings."""

    def __init__(self, paths: Paths, settings: Settings, tell: Progress) -> None:
        self._layout = paths
        self._settings = settings
        self._tell = tell
        self.store = UnitDirectory(paths)
        self.lock = Lock(paths.lock)
        self.notebook = LastRunFile(paths.last_run)
        self.boot = boot_target(user_manager=paths.user_manager)
        self.lookout = Lookout(paths, settings, self.store, tell)
        self.glance = ChangeDetector(paths, settings, self.store)
        self.cache = VassalCache({})
        """What is known of all vassals."""
        self._stamp = 0

    def look(
        self,
        manager: Manager | None,
        *,
        allow_mass_removal: bool = False,
        configs: dict[Vassal, Config] | None = None,
    ) -> PlannedRun:
        """Plan without a change; without a manager, by what is on the disk alone.

        The configs that are read for it are put into ``configs``, if that is given.

        Raises:
            BridgeError: the settings, the templates or the manager cannot be used.
        """
        last = self.notebook.read() or LastRun()
        circumstances = RunContext(last=last, allow_mass_removal=allow_mass_removal)
        return self.lookout.look(manager, circumstances, configs=configs)

    def overlook(self, manager: Manager) -> PlannedRun:
        """Return what is installed and what is wrong with it; only what changed since the last run is read again.

        The plan of it is no whole one. Raises as :meth:`look`.
        """
        circumstances = RunContext(last=self.notebook.read() or LastRun())
        if (part := self._part(manager)) is not None:
            planned = self.lookout.look_at(part[0], manager, circumstances)
            if planned is not None:
                installed = {**part[0].cache.installed(part[0].configs), **planned.actual.installed}
                return replace(planned, actual=replace(planned.actual, installed=installed, states=manager.units()))
        return self.lookout.look(manager, circumstances)

    def _part(self, manager: Manager) -> tuple[Part, dict[str, int]] | None:
        """Return the vassals that are not as the last run left them, and how their files were; None: it must be all."""
        if self.glance.is_possible and (noted := self.glance.cache()) is not None:
            cache, before = noted
            if (changed := self.glance.changed(cache, before, manager)) is not None:
                return Part(changed, cache), before
        return None

    def sync(
        self,
        manager: Manager,
        *,
        waiting: Callable[[], None],
        allow_mass_removal: bool = False,
    ) -> tuple[PlannedRun, tuple[Diagnostic, ...]]:
        """Bring the manager's units to what is desired; return what was planned and what then proved wrong.

        Of the vassals only those are looked at that are not as the last run left them, where that can be told.

        Raises:
            BridgeError: as for :meth:`look`, or the change was refused midway.
        """
        with self.lock.hold(waiting):
            began = time.time_ns()
            circumstances, is_usual = self._circumstances(allow_mass_removal=allow_mass_removal)
            part, before = (self._part(manager) if is_usual else None) or (None, {})
            planned = self._look(manager, circumstances, part)
            if part is not None and planned.part is not None:
                self.cache = part.cache
            problems = self._carry_out(planned, manager, circumstances, left=planned.actual.left)
            self._finish(began)
            self._take_down(planned, problems)
            if planned.part is None or planned.part:
                self._note_roll(began, before if planned.part is not None else {}, planned)
            return planned, problems

    def keep_up(
        self,
        manager: Manager,
        *,
        touched: frozenset[str] | None,
        unfinished: frozenset[str] = frozenset(),
        foresee: Callable[[PlannedRun], None] = lambda _: None,
    ) -> tuple[PlannedRun, tuple[Diagnostic, ...]]:
        """Do as :meth:`sync`, for one who sees every change: only the ``touched`` configs changed; None: anything may.

        What somebody else stopped stays down; ``unfinished`` are files that somebody is just writing; ``foresee`` is
        told what is planned before it is done.

        Raises:
            BridgeError: as for :meth:`sync`.
        """
        with self.lock.hold(lambda: None):
            began = time.time_ns()
            circumstances, is_usual = self._circumstances(leave_stopped=True, unfinished=unfinished)
            part = None
            if touched is not None and is_usual and self._stamp == circumstances.stamp:
                part = Part(touched, self.cache, sees_sockets=False)
            planned = self._look(manager, circumstances, part)
            foresee(planned)
            left = planned.actual.left
            if planned.part is not None:
                units = {unit for i in planned.actual.installed.values() for unit in i.units}
                left = (left - {TARGET}) | (circumstances.last.left - units)
            problems = self._carry_out(planned, manager, circumstances, left=left)
            # What the others' files were like when this began was not seen.
            self._finish(began if planned.part is None else circumstances.stamp)
            self._take_down(planned, problems)
            if planned.part is None:
                self._note_roll(began, {}, planned)
                self.cache.slim()
            return planned, problems

    def _circumstances(
        self,
        *,
        leave_stopped: bool = False,
        unfinished: frozenset[str] = frozenset(),
        allow_mass_removal: bool = False,
    ) -> tuple[RunContext, bool]:
        """Return what a look is made with, and whether the last run ended well."""
        noted = self.notebook.read()
        circumstances = RunContext(
            stamp=self.lock.stamp(),
            stale=self.lock.pending(),
            last=noted or LastRun(),
            # With no note of a run there is no telling what was up at its end.
            leave_stopped=leave_stopped and noted is not None,
            unfinished=unfinished,
            allow_mass_removal=allow_mass_removal,
        )
        return circumstances, noted is not None and circumstances.stamp > 0 and not circumstances.stale

    def _look(self, manager: Manager, circumstances: RunContext, part: Part | None) -> PlannedRun:
        if part is not None and (planned := self.lookout.look_at(part, manager, circumstances)) is not None:
            return planned
        return self.lookout.look(manager, circumstances)

    def _carry_out(
        self, planned: PlannedRun, manager: Manager, circumstances: RunContext, *, left: frozenset[str]
    ) -> tuple[Diagnostic, ...]:
        """Do what is planned, and note for the next run what it has to know; return what then proved wrong."""
        if planned.part is None:
            self.store.clean()
        last = replace(circumstances.last, left=left)
        self.notebook.write(last)
        applier = self.applier(manager)
        if not planned.plan.is_empty:
            applier.apply(planned.plan, planned.actual.files)
        problems = tuple(applier.check(planned.conflicts.accepted, down=planned.meant_down))
        owed = frozenset(problem.config for problem in problems if problem.config)
        folders = config_folders(planned.desired, planned.actual, last)
        if planned.part is not None:
            owed |= last.owed - planned.part
            folders = {**last.folders, **folders}
        self.notebook.write(replace(last, owed=owed, folders=folders))
        return problems

    def _finish(self, stamp: int) -> None:
        self.lock.finish(stamp)
        self._stamp = stamp

    def _take_down(self, planned: PlannedRun, problems: Iterable[Diagnostic]) -> None:
        """Keep on the roll what was found."""
        records = records_of(
            planned,
            problems,
            extension=self._settings.emperor_on_demand_extension,
            unit_directory=self._layout.unit_directory,
        )
        if planned.part is None:
            self.cache = VassalCache(records)
        else:
            self.cache.replace(planned.part, records)

    def _note_roll(self, began: int, before: dict[str, int], planned: PlannedRun) -> None:
        """Note the roll for other runs, unless something is wrong that is not a vassal's."""
        is_whole = not planned.desired.unreachable and all(d.config for d in planned.diagnostics)
        # Without it the next run looks at everything.
        with suppress(OSError):
            if is_whole and self.glance.is_possible:
                self.glance.write(self.cache, began, before, planned.part)
            else:
                self.glance.forget()

    def render(self, wanted: str) -> tuple[dict[str, str], tuple[Diagnostic, ...]]:
        """Render the units of the vassals that ``wanted`` names, by config, name, stem or unit.

        Returns the unit files and what is wrong with those vassals.

        Raises:
            BridgeError: the settings or the templates cannot be used.
        """
        desired = self.lookout.desire(make_canonical_address())
        chosen = [s for s in desired.resolved if wanted in names_of(s.vassal)]
        refused = {r.vassal.config for r in desired.rejections if wanted in names_of(r.vassal)}
        texts: dict[str, str] = {}
        problems = [d for d in desired.diagnostics if d.config in refused]
        for resolved in chosen:
            try:
                texts |= self.lookout.render(resolved)
            except EscapeError as error:
                problems.append(unwritable(resolved.vassal, error))
        return texts, tuple(problems)

    def retry(self, manager: Manager, wanted: str, *, waiting: Callable[[], None]) -> list[Change]:
        """Try vassals at once that pause after a failure, or that asked not to be started; return what was done.

        Raises:
            BridgeError: systemd or the file system refuses.
        """
        with self.lock.hold(waiting):
            actual = self.observe(manager)
            chosen = [i for i in actual.installed.values() if wanted in names_of(i)]
            applier = self.applier(manager)
            applier.retry([installed.service for installed in chosen])
            down = [u for i in chosen if actual.state(u := i.waits_on).is_down]
            manager.reset_failed([installed.service for installed in chosen])
            manager.start(
                down, timeout=SERVICE_PATIENCE, progress=lambda done, total: self._tell("starting", done, total)
            )
            return [Change.of(installed, Verb.RETRIED) for installed in chosen]

    def observe(self, manager: Manager | None) -> ActualState:
        """Read what is on the disk and in the manager's memory.

        Raises:
            BridgeError: a directory or the manager cannot be read.
        """
        return self.lookout.observe(manager)

    def applier(self, manager: Manager) -> PlanExecutor:
        """Return who carries plans out."""
        reason = failure_reason(user_manager=self._layout.user_manager)
        return PlanExecutor(store=self.store, manager=manager, lock=self.lock, tell=self._tell, reason=reason)
