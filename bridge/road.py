"""The one road that check, sync, --dry-run and watch walk: observe, desire, admit, render, plan, apply."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bridge.admission import Admission, Desired, admit
from bridge.applying import Applier
from bridge.desire import Settler, desire, find_binary
from bridge.diagnostics import BridgeError, Diagnostic
from bridge.escape import EscapeError
from bridge.journal import failure_reason
from bridge.observed import Observed, Ownership
from bridge.planning import Plan, make_plan, plan_removal
from bridge.probe import make_identity, occupied
from bridge.store import Lock, Store, installed_vassals
from bridge.systemd import SystemdManager
from bridge.units import COMMON, boot_target, make_templates, render, render_common
from bridge.vassal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bridge.address import Address
    from bridge.applying import Teller
    from bridge.layout import Layout
    from bridge.observed import UnitState
    from bridge.settings import Settings
    from bridge.systemd import Manager
    from bridge.vassal import Settled, Vassal


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """Where the road has led before anything is changed."""

    desired: Desired
    admission: Admission
    observed: Observed
    plan: Plan

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """All vassals that are there but not served as they are now."""
        return (*self.desired.refusals, *self.admission.refusals)

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """All problems found on the way."""
        return (*self.desired.diagnostics, *self.plan.diagnostics)


class Road:
    """One run of the bridge on one layout, with one set of settings."""

    def __init__(self, layout: Layout, settings: Settings, tell: Teller) -> None:
        self._layout = layout
        self._settings = settings
        self._tell = tell
        self._store = Store(layout)
        self._lock = Lock(layout.lock)
        self._boot = boot_target(user_manager=layout.user_manager)
        self._settler = Settler()
        self._texts: dict[str, tuple[Settled, dict[str, str]]] = {}

    def look(self, manager: Manager | None) -> Outlook:
        """Plan without a change; without a manager, by what is on the disk alone.

        Raises:
            BridgeError: the settings, the templates or the manager cannot be used.
        """
        return self._look(manager, stamp=0, stale=frozenset())

    def sync(self, manager: Manager, *, waiting: Callable[[], None]) -> tuple[Outlook, tuple[Diagnostic, ...]]:
        """Bring the manager's units to what is desired; return what was planned and what then proved wrong.

        Raises:
            BridgeError: as for :meth:`look`, or the change was refused midway.
        """
        with self._lock.hold(waiting):
            began = time.time_ns()
            outlook = self._look(manager, stamp=self._lock.stamp(), stale=self._lock.pending())
            self._store.clean()
            applier = self._applier(manager)
            if not outlook.plan.is_empty:
                applier.apply(outlook.plan, outlook.observed.files)
            problems = tuple(applier.check(outlook.admission.admitted))
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
        chosen = [s for s in desired.settled if _is_named(s.vassal, wanted)]
        refused = {r.vassal.config for r in desired.refusals if _is_named(r.vassal, wanted)}
        texts: dict[str, str] = {}
        problems = [d for d in desired.diagnostics if d.config in refused]
        for settled in chosen:
            try:
                texts |= render(settled, templates)
            except EscapeError as error:
                problems.append(_unwritable(settled.vassal, error))
        return texts, tuple(problems)

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
                self._lock.forget()

    def _observe_all(self, manager: Manager) -> Observed:
        observed = self.observe(manager)
        slices = [unit for unit in observed.states if unit.endswith(".slice")]
        members: dict[str, list[str]] = manager.properties(slices, "Unit", "SliceOf")
        others = sorted({unit for units in members.values() for unit in units} - observed.states.keys())
        down = {unit for unit, state in observed.states.items() if state.is_down}
        down |= {u for u, active in manager.properties(others, "Unit", "ActiveState").items() if active == "inactive"}
        return replace(observed, members={unit: set(units) - down for unit, units in members.items()})

    def _desire(self, identity: Callable[[Address], Address]) -> Desired:
        settle = self._settler.ready(find_binary(self._settings), identity)
        return desire(self._settings, settle=settle, progress=self._tell)

    def _look(self, manager: Manager | None, *, stamp: int, stale: frozenset[str]) -> Outlook:
        observed = self.observe(manager)
        _refuse_foreign_common(observed)
        desired = self._desire(make_identity())
        observed = replace(
            observed,
            stale=stale,
            occupied=self._occupied(desired, observed, manager),
            outdated=_outdated(desired, observed.states, manager, stamp) if manager else frozenset(),
        )
        return self._plan(desired, observed)

    def _plan(self, desired: Desired, observed: Observed) -> Outlook:
        templates = make_templates(self._layout.templates)
        admission = admit(desired, observed)
        texts = {}
        unfit = {}
        for settled in admission.admitted:
            try:
                texts[settled.vassal.label] = render(settled, templates)
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
            return self._plan(fit, observed)
        common = render_common(templates, user_manager=self._layout.user_manager)
        plan = make_plan(admission=admission, texts=texts, common=common, observed=observed, boot_target=self._boot)
        return Outlook(desired=desired, admission=admission, observed=observed, plan=plan)

    def _occupied(self, desired: Desired, observed: Observed, manager: Manager | None) -> dict[Address, str]:
        own = {
            installed.identity
            for installed in observed.installed.values()
            if installed.identity and (manager is None or not observed.state(installed.socket).is_down)
        }
        return occupied((s.identity for s in desired.settled if s.identity), own)

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


def _unwritable(vassal: Vassal, error: EscapeError) -> Diagnostic:
    return vassal.problem("unit-value", f"a value cannot be written into a unit: {error}", "rename it")


def _is_named(vassal: Vassal, wanted: str) -> bool:
    return wanted in {vassal.name, vassal.config, vassal.stem, vassal.service, vassal.socket}


def _refuse_foreign_common(observed: Observed) -> None:
    """Refuse to work where the units that all vassals share are somebody else's."""
    for unit in COMMON:
        file = observed.files.get(unit)
        if file and file.ownership is Ownership.MASKED:
            code, path, message, hint = "unit-masked", file.path, f"{unit} is masked", f"systemctl unmask {unit}"
        elif file and file.ownership is Ownership.FOREIGN:
            code, path, message = "unit-foreign", file.path, f"{unit} was not made by this bridge"
            hint = "it is needed for the vassals: move that unit away"
        elif elsewhere := observed.elsewhere.get(unit):
            code, path, message = "unit-foreign", elsewhere, f"{unit} is there already, and not where this bridge works"
            hint = "move it away; if it is the bridge's: emperor-bridge remove, with --runtime if it is in /run"
        else:
            continue
        raise BridgeError(Diagnostic(code=code, path=path, message=message, hint=hint))


def _outdated(desired: Desired, states: Mapping[str, UnitState], manager: Manager, stamp: int) -> frozenset[str]:
    """Return the labels of vassals that run, or gave up, on an older config than the one on disk.

    A change that an earlier run has already seen was dealt with then, so only newer files are asked about.
    """
    changed: dict[str, tuple[str, int]] = {}
    for vassal in (s.vassal for s in desired.settled):
        state = states.get(vassal.service)
        if state and state.active in {"active", "failed"}:
            try:
                info = os.stat(vassal.config)
            except OSError:
                continue
            # Every change and every touch sets the ctime, and nobody can set it to a day to come.
            if info.st_ctime_ns > stamp:
                changed[vassal.service] = (vassal.label, info.st_ctime_ns)
    since = manager.properties(list(changed), "Unit", "StateChangeTimestamp")
    return frozenset(label for unit, (label, when) in changed.items() if when > since.get(unit, 0) * 1000)
