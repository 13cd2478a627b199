"""The one road that check, sync, --dry-run and watch walk: observe, desire, admit, render, plan, apply."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.admission import Desired, admit
from bridge.applying import SERVICE_PATIENCE, Applier
from bridge.change import Change, Verb
from bridge.desire import desire
from bridge.escape import EscapeError
from bridge.execution import make_terms
from bridge.journal import failure_reason
from bridge.lastrun import LastRun, Notebook
from bridge.lock import Lock
from bridge.looking import (
    config_folders,
    lost_sockets,
    occupied_addresses,
    outdated,
    refuse_foreign_common,
    stopped_units,
)
from bridge.observed import Observed
from bridge.outlook import Circumstances, Outlook
from bridge.planning import Plan, make_plan, plan_removal
from bridge.probe import make_identity
from bridge.settling import Settler
from bridge.store import Store, installed_vassals
from bridge.systemd import SystemdManager
from bridge.units import Throttle, boot_target, make_templates, render, render_common
from bridge.vassal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from jinja2 import Environment

    from bridge.address import Address
    from bridge.applying import Teller
    from bridge.diagnostics import Diagnostic
    from bridge.layout import Layout
    from bridge.observed import Installed
    from bridge.settings import Settings
    from bridge.systemd import Manager
    from bridge.uwsgi.options import Config
    from bridge.vassal import Settled, Vassal


class Road:
    """One run of the bridge on one layout, with one set of settings."""

    def __init__(self, layout: Layout, settings: Settings, tell: Teller) -> None:
        self._layout = layout
        self._settings = settings
        self._tell = tell
        self._store = Store(layout)
        self._lock = Lock(layout.lock)
        self._notebook = Notebook(layout.last_run)
        self._boot = boot_target(user_manager=layout.user_manager)
        self._settler = Settler()
        self.configs: dict[Vassal, Config] | None = None
        """Where the configs that are read are to be put, if anywhere."""
        self._texts: dict[str, tuple[Settled, dict[str, str]]] = {}

    def look(self, manager: Manager | None, *, allow_mass_removal: bool = False) -> Outlook:
        """Plan without a change; without a manager, by what is on the disk alone.

        Raises:
            BridgeError: the settings, the templates or the manager cannot be used.
        """
        last = self._notebook.read() or LastRun()
        return self._look(manager, Circumstances(last=last, allow_mass_removal=allow_mass_removal))

    def sync(
        self,
        manager: Manager,
        *,
        waiting: Callable[[], None],
        allow_mass_removal: bool = False,
        leave_stopped: bool = False,
        unfinished: frozenset[str] = frozenset(),
    ) -> tuple[Outlook, tuple[Diagnostic, ...]]:
        """Bring the manager's units to what is desired; return what was planned and what then proved wrong.

        ``leave_stopped`` has units stay down that somebody else stopped; ``unfinished`` are files that somebody is
        just writing.

        Raises:
            BridgeError: as for :meth:`look`, or the change was refused midway.
        """
        with self._lock.hold(waiting):
            began = time.time_ns()
            noted = self._notebook.read()
            last = noted or LastRun()
            circumstances = Circumstances(
                stamp=self._lock.stamp(),
                stale=self._lock.pending(),
                last=last,
                # With no note of a run there is no telling what was up at its end.
                leave_stopped=leave_stopped and noted is not None,
                unfinished=unfinished,
                allow_mass_removal=allow_mass_removal,
            )
            outlook = self._look(manager, circumstances)
            self._store.clean()
            last = replace(last, left=outlook.observed.left)
            self._notebook.write(last)
            applier = self._applier(manager)
            if not outlook.plan.is_empty:
                applier.apply(outlook.plan, outlook.observed.files)
            problems = tuple(applier.check(outlook.admission.admitted, down=outlook.meant_down))
            owed = frozenset(problem.config for problem in problems if problem.config)
            folders = config_folders(outlook.desired, outlook.observed, last)
            self._notebook.write(replace(last, owed=owed, folders=folders))
            self._lock.finish(began)
            return outlook, problems

    def render(self, wanted: str) -> tuple[dict[str, str], tuple[Diagnostic, ...]]:
        """Render the units of the vassals that ``wanted`` names, by config, name, stem or unit.

        Returns the unit files and what is wrong with those vassals.

        Raises:
            BridgeError: the settings or the templates cannot be used.
        """
        desired = self._desire(make_identity())
        templates = make_templates(self._layout.templates)
        chosen = [s for s in desired.settled if wanted in names_of(s.vassal)]
        refused = {r.vassal.config for r in desired.refusals if wanted in names_of(r.vassal)}
        texts: dict[str, str] = {}
        problems = [d for d in desired.diagnostics if d.config in refused]
        for settled in chosen:
            try:
                texts |= self._render(settled, templates)
            except EscapeError as error:
                problems.append(_unwritable(settled.vassal, error))
        return texts, tuple(problems)

    def retry(self, manager: Manager, wanted: str, *, waiting: Callable[[], None]) -> list[Change]:
        """Try vassals at once that pause after a failure, or that asked not to be started; return what was done.

        Raises:
            BridgeError: systemd or the file system refuses.
        """
        with self._lock.hold(waiting):
            observed = self.observe(manager)
            chosen = [i for i in observed.installed.values() if wanted in names_of(i)]
            applier = self._applier(manager)
            applier.retry([installed.service for installed in chosen])
            down = [u for i in chosen if observed.state(u := i.waits_on).is_down]
            manager.reset_failed([installed.service for installed in chosen])
            manager.start(
                down, timeout=SERVICE_PATIENCE, progress=lambda done, total: self._tell("starting", done, total)
            )
            return [Change.of(installed, Verb.RETRIED) for installed in chosen]

    def observe(self, manager: Manager | None) -> Observed:
        """Read what is on the disk and in the manager's memory.

        Raises:
            BridgeError: a directory or the manager cannot be read.
        """
        files = self._store.files()
        return Observed(
            files=files,
            elsewhere=self._store.elsewhere(),
            links=self._store.links(self._boot),
            installed=installed_vassals(files, make_identity()),
            states=manager.units() if manager else {},
        )

    def plan_removal(self, manager: Manager) -> Plan:
        """Plan to take away all that is the bridge's.

        Raises:
            BridgeError: a directory or the manager cannot be read.
        """
        return plan_removal(self._observe_all(manager), boot_target=self._boot)

    def remove(self, manager: Manager, *, waiting: Callable[[], None]) -> Plan:
        """Take away all that is the bridge's.

        Raises:
            BridgeError: the change was refused midway.
        """
        with self._lock.hold(waiting):
            observed = self._observe_all(manager)
            plan = plan_removal(observed, boot_target=self._boot)
            self._applier(manager).apply(plan, observed.files)
            self._store.clean()
            self._store.forget_pauses(i.service for i in observed.installed.values())
            self._notebook.forget()
            self._lock.forget()
            return plan

    def tidy(self, *, waiting: Callable[[], None]) -> None:
        """Take away what a killed removal can leave when all units are gone.

        Raises:
            BridgeError: the file system refuses.
        """
        if self._lock.is_there:
            with self._lock.hold(waiting):
                self._store.clean()
                self._notebook.forget()
                self._lock.forget()

    def _observe_all(self, manager: Manager) -> Observed:
        observed = self.observe(manager)
        slices = [unit for unit in observed.states if unit.endswith(".slice")]
        members: dict[str, list[str]] = manager.properties(slices, "Unit", "SliceOf")
        others = sorted({unit for units in members.values() for unit in units} - observed.states.keys())
        down = {unit for unit, state in observed.states.items() if state.is_down}
        down |= {u for u, active in manager.properties(others, "Unit", "ActiveState").items() if active == "inactive"}
        return replace(observed, members={unit: set(units) - down for unit, units in members.items()})

    def _render(self, settled: Settled, templates: Environment) -> dict[str, str]:
        known, texts = self._texts.get(settled.vassal.label, (None, {}))
        if known != settled:
            throttle = Throttle(
                step=-(-self._settings.emperor_throttle // 1000),
                longest=-(-self._settings.emperor_max_throttle // 1000),
            )
            fresh = render(settled, templates, throttle=throttle, user_manager=self._layout.user_manager)
            texts = {unit: sys.intern(text) for unit, text in fresh.items()}
            self._texts[settled.vassal.label] = (settled, texts)
        return texts

    def _desire(self, identity: Callable[[Address], Address], unfinished: Collection[str] = ()) -> Desired:
        terms = make_terms(self._settings, user_manager=self._layout.user_manager)
        settle = self._settler.ready(terms, identity, self.configs)
        return desire(self._settings, settle=settle, progress=self._tell, unfinished=unfinished)

    def _look(self, manager: Manager | None, circumstances: Circumstances) -> Outlook:
        follow = not self._settings.emperor_nofollow
        observed = self.observe(manager)
        refuse_foreign_common(observed)
        desired = self._desire(make_identity(), circumstances.unfinished)
        observed = replace(observed, stale=circumstances.stale, exiled=self._store.exiled())
        observed = replace(
            observed,
            occupied=occupied_addresses(desired, observed, asked=manager is not None),
            outdated=outdated(desired, observed, manager, circumstances, follow=follow) if manager else frozenset(),
            lost=lost_sockets(observed, manager) if manager else frozenset(),
            left=stopped_units(observed, circumstances) if circumstances.leave_stopped else frozenset(),
        )
        return self._plan(desired, observed, allow_mass_removal=circumstances.allow_mass_removal)

    def _plan(self, desired: Desired, observed: Observed, *, allow_mass_removal: bool) -> Outlook:
        templates = make_templates(self._layout.templates)
        admission = admit(desired, observed)
        texts = {}
        unfit = {}
        for settled in admission.admitted:
            try:
                texts[settled.vassal.label] = self._render(settled, templates)
            except EscapeError as error:
                unfit[settled] = _unwritable(settled.vassal, error)
        if unfit:
            # What they had is kept now, and others may not take it: admit once more, without them.
            turned_away = (Refusal(vassal=s.vassal, mode=s.mode, address=s.address) for s in unfit)
            fit = replace(
                desired,
                settled=tuple(s for s in desired.settled if s not in unfit),
                refusals=(*desired.refusals, *turned_away),
                diagnostics=(*desired.diagnostics, *unfit.values()),
            )
            return self._plan(fit, observed, allow_mass_removal=allow_mass_removal)
        common = render_common(templates, user_manager=self._layout.user_manager)
        plan = make_plan(
            admission=admission,
            texts=texts,
            common=common,
            observed=observed,
            boot_target=self._boot,
            allow_mass_removal=allow_mass_removal,
        )
        return Outlook(desired=desired, admission=admission, observed=observed, plan=plan)

    def _applier(self, manager: Manager) -> Applier:
        reason = failure_reason(user_manager=self._layout.user_manager)
        return Applier(store=self._store, manager=manager, lock=self._lock, tell=self._tell, reason=reason)


@contextmanager
def connected(layout: Layout) -> Iterator[SystemdManager]:
    """Yield a connection to the layout's service manager.

    Raises:
        BridgeError: there is none.
    """
    manager = SystemdManager(layout)
    try:
        yield manager
    finally:
        manager.close()


def names_of(vassal: Vassal | Installed) -> set[str]:
    """Return the names a vassal answers to on the command line: its name, config, stem and units."""
    stem = vassal.config.rpartition("/")[2].rpartition(".")[0]
    return {vassal.name, vassal.config, stem, vassal.service, vassal.socket}


def _unwritable(vassal: Vassal, error: EscapeError) -> Diagnostic:
    return vassal.problem("unit-value", f"a value cannot be written into a unit: {error}", "rename it")
