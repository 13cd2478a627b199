"""Make the plan: the steps from the actual state to the desired state. Pure: sync, --dry-run and watch share it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bridge.model.address import listed
from bridge.model.change import Change, Verb
from bridge.model.unit import Ownership
from bridge.model.unit_names import COMMON, OBSOLETE, SUB_SLICE, TARGET, link_path
from bridge.model.vassal import Mode
from bridge.reconcile.findings import Drift
from bridge.reconcile.shared import differing_settings, waits_for, with_their_addresses
from bridge.reconcile.stale_links import dead_links, links_to_move
from bridge.reconcile.steps import Plan
from bridge.units.differences import needs_restart

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from bridge.diagnostics import Diagnostic
    from bridge.model.unit import InstalledVassal
    from bridge.model.vassal import ResolvedVassal, Vassal
    from bridge.reconcile.actual import ActualState
    from bridge.reconcile.findings import ConflictResult


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class DesiredUnits:
    """The unit files that should exist."""

    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Those of the accepted vassals whose configs have been read, by the vassal's key and the unit."""
    common: Mapping[str, str] | None = None
    """Those that all vassals share. None: they are left alone."""
    boot_link: str = ""
    """The link that starts the vassals at boot, by its path below the unit directory."""


def make_plan(
    conflicts: ConflictResult,
    actual: ActualState,
    drift: Drift,
    units: DesiredUnits,
    guard: tuple[frozenset[str], tuple[Diagnostic, ...]] = (frozenset(), ()),
) -> Plan:
    """Plan the steps from the actual state to the accepted vassals.

    ``guard`` is what the mass-removal guard decided: the labels of vassals that keep their units, and why.
    """
    spared, problems = guard
    draft = _Draft(actual, drift)
    for resolved in conflicts.accepted:
        if resolved.vassal.key in units.texts:
            draft.converge(resolved, units.texts[resolved.vassal.key])
        else:
            draft.add_unread(resolved)
    for one in gone_vassals(conflicts, actual):
        if one.label not in spared:
            draft.remove_vassal(one)
    kept = [actual.installed[label] for label in sorted(conflicts.kept & actual.installed.keys())]
    for one in with_their_addresses([one for one in kept if draft.was_stopped(one)], kept, actual, conflicts):
        draft.resume(one)
    draft.unlink += dead_links(actual, draft.write, draft.remove)
    if units.common is not None:
        draft.converge_common(units.common, units.boot_link)
    differing = differing_settings(draft.write, actual)
    plan = draft.plan((*conflicts.diagnostics, *problems, *differing), spared)
    return replace(plan, waits_for=waits_for(plan, conflicts, actual))


def gone_vassals(conflicts: ConflictResult, actual: ActualState) -> list[InstalledVassal]:
    """Return the vassals that have units and that no monitor reports any more."""
    labels = {one.vassal.label for one in conflicts.accepted} | conflicts.kept | conflicts.masked
    return [installed for label, installed in actual.installed.items() if label not in labels]


def plan_removal(actual: ActualState, members: Mapping[str, Collection[str]], *, boot_link: str) -> Plan:
    """Plan to remove every unit of this configuration. ``members`` are the units that run in each slice, anybody's.

    What all vassals share goes too, unless another configuration has vassals.
    """
    draft = _Draft(actual, Drift())
    for installed in actual.installed.values():
        draft.remove_vassal(installed)
    draft.unlink += dead_links(actual, draft.write, draft.remove)
    ours = [unit for unit in (*COMMON, *OBSOLETE) if _is_ours(actual, unit)] if not actual.of_others else []
    if ours:
        going = {*ours, *draft.remove, *(unit for unit in actual.states if SUB_SLICE.fullmatch(unit))}
        draft.stop += [unit for unit in actual.states if unit in going - _shared(members, going)]
        draft.remove += ours
    if boot_link in actual.links and not actual.of_others and (TARGET in ours or TARGET not in actual.files):
        draft.unlink.append(boot_link)
    return draft.plan(())


class _Draft:
    """A plan in the making."""

    def __init__(self, actual: ActualState, drift: Drift) -> None:
        self.actual = actual
        self.drift = drift
        self.stop: list[str] = []
        self.idle: list[str] = []
        self.unlink: list[str] = []
        self.remove: list[str] = []
        self.link: dict[str, str] = {}
        self.write: dict[str, str] = {}
        self.unread: dict[str, ResolvedVassal] = {}
        self.keep_running: set[str] = set()
        self.renew: list[str] = []
        self.start: list[str] = []
        self.reload: list[str] = []
        self.retry: list[str] = []
        self.changes: list[Change] = []

    def plan(self, diagnostics: Iterable[Diagnostic], spared: frozenset[str] = frozenset()) -> Plan:
        unread = self.drift.interrupted | self.drift.unread
        return Plan(
            stop=tuple(self.stop),
            idle=tuple(self.idle),
            unlink=tuple(self.unlink),
            remove=tuple(self.remove),
            link=self.link,
            write=self.write,
            unread=self.unread,
            keep_running=frozenset(self.keep_running),
            reread=tuple(sorted(unit for unit in unread if unit in self.actual.states)),
            renew=tuple(self.renew),
            start=tuple(self.start),
            reload=tuple(self.reload),
            retry=tuple(self.retry),
            changes=tuple(sorted(self.changes, key=lambda c: c.vassal)),
            diagnostics=tuple(diagnostics),
            spared=spared,
        )

    def converge(self, resolved: ResolvedVassal, texts: Mapping[str, str]) -> None:
        """Plan whatever brings one vassal's units to what they should be."""
        vassal, actual = resolved.vassal, self.actual
        installed = actual.installed.get(vassal.label)
        obsolete = [unit for unit in installed.units if unit not in texts] if installed else []
        changed = {unit: text for unit, text in texts.items() if not self._is_written(unit, text)}
        restarting = {unit for unit in changed if self._needs_restart(unit, changed[unit])}
        touched = {*restarting, *obsolete} | (self.drift.interrupted & {vassal.service, vassal.socket})
        # A socket cannot start while its service runs: then both are stopped first. So "systemctl restart" of it fails.
        runs = installed is not None and resolved.mode is Mode.ON_DEMAND and not actual.state(vassal.service).is_down
        is_cut_off = runs and self._is_to_start(resolved, vassal.socket, touched)
        lost = is_cut_off or vassal.label in self.drift.sockets_lost
        both = [vassal.service, vassal.socket] if vassal.socket in touched or lost else []
        stop = self._stop(both)
        renew = [vassal.service] if installed and touched and not both else []

        self.renew += renew
        self.remove += obsolete
        self.write |= changed
        self.keep_running |= changed.keys() - touched if installed and not both and not renew else set()
        primary = self._link(resolved)
        starts = primary in {*stop, *renew} or self._is_to_start(resolved, primary, touched)
        self.start += [primary] if starts else []
        is_outdated = not touched and vassal.label in self.drift.outdated
        is_pausing = not actual.state(vassal.pause).is_down
        retries = is_outdated and (is_pausing or vassal.label in self.drift.exiled)
        reloads = is_outdated and not retries and not actual.state(vassal.service).is_down
        self.retry += [vassal.service] if retries else []
        self.reload += [vassal.service] if reloads else []

        where = _where(resolved)
        if installed is None:
            self._add_change(vassal, Verb.ADDED, where)
        elif touched or changed:
            self._add_change(vassal, Verb.CHANGED, _difference(resolved, installed))
        elif lost:
            self._add_change(vassal, Verb.MENDED, f"its socket {listed(resolved.addresses)} was gone or not its own")
        elif retries:
            self._add_change(vassal, Verb.RETRIED, "its config changed")
        elif starts:
            self._add_change(vassal, Verb.STARTED, where)
        elif reloads:
            self._add_change(vassal, Verb.RELOADED, "its config changed")

    def add_unread(self, resolved: ResolvedVassal) -> None:
        """Plan a new vassal whose config will be read: of its units there is nothing yet."""
        self.unread[resolved.vassal.socket] = resolved
        self.start.append(self._link(resolved))
        self._add_change(resolved.vassal, Verb.ADDED, _where(resolved))

    def _link(self, resolved: ResolvedVassal) -> str:
        """Plan the link that starts the vassal; return the unit that is up for as long as it is served."""
        vassal = resolved.vassal
        on_demand = resolved.mode is Mode.ON_DEMAND
        primary, other = (vassal.socket, vassal.service) if on_demand else (vassal.service, vassal.socket)
        self.unlink += [path] if (path := link_path(other)) in self.actual.links else []
        if self.actual.links.get(path := link_path(primary)) != (target := f"../{primary}"):
            self.link[path] = target
        return primary

    def remove_vassal(self, installed: InstalledVassal) -> None:
        """Plan the end of a vassal that is gone."""
        units = (installed.service, installed.socket)
        self._stop(unit for unit in units if unit in installed.units)
        self.remove += installed.units
        self.unlink += [path for unit in installed.units if (path := link_path(unit)) in self.actual.links]
        self._add_change(
            installed, Verb.REMOVED, f"was at {listed(installed.addresses)}" if installed.addresses else ""
        )

    def was_stopped(self, installed: InstalledVassal) -> bool:
        """Tell whether an interrupted run has stopped a vassal."""
        primary = installed.primary_unit
        return primary in self.drift.interrupted and self.actual.state(primary).is_down

    def resume(self, installed: InstalledVassal) -> None:
        """Plan to start a vassal again that is rejected now."""
        self.start.append(installed.primary_unit)
        self._add_change(installed, Verb.STARTED, "as it was; its new config is refused")

    def converge_common(self, common: Mapping[str, str], boot_link: str) -> None:
        """Plan the units that all vassals share.

        The link that enables the target at boot is made once, with the target: ``systemctl disable`` is respected.
        """
        if TARGET not in self.actual.files:
            self.link[boot_link] = f"../{TARGET}"
        changed = {
            unit: text
            for unit, text in common.items()
            if not self._is_written(unit, text) and (unit not in self.actual.files or _is_ours(self.actual, unit))
        }
        self.write |= changed
        self.keep_running |= changed.keys() & self.actual.files.keys()
        self.remove += [unit for unit in OBSOLETE if _is_ours(self.actual, unit)]
        moved = links_to_move(self.actual, self.unlink)
        self.unlink += moved
        self.link = {new: self.actual.links[old] for old, new in moved.items()} | self.link
        if self.actual.state(TARGET).active != "active" and TARGET not in self.drift.stopped_by_admin:
            self.start.append(TARGET)

    def _stop(self, units: Iterable[str]) -> list[str]:
        """Plan to stop units; return those that are up."""
        loaded = [unit for unit in units if unit in self.actual.states]
        stop = [unit for unit in loaded if not self.actual.states[unit].is_down]
        self.stop += stop
        self.idle += [unit for unit in loaded if unit not in stop]
        return stop

    def _is_to_start(self, resolved: ResolvedVassal, unit: str, touched: set[str]) -> bool:
        """Tell whether a unit that is down should be up: not if it, or an admin, wants it down and nothing changed."""
        label = resolved.vassal.label
        if not self.actual.state(unit).is_down:
            return False
        if touched or label in self.drift.outdated:
            return True
        gave_up = resolved.mode is Mode.ALWAYS and self.actual.state(unit).active == "failed"
        return not (gave_up or label in self.drift.exiled or unit in self.drift.stopped_by_admin)

    def _is_written(self, unit: str, text: str) -> bool:
        file = self.actual.files.get(unit)
        return file is not None and file.text == text

    def _needs_restart(self, unit: str, text: str) -> bool:
        file = self.actual.files.get(unit)
        return file is None or needs_restart(file, text)

    def _add_change(self, vassal: Vassal | InstalledVassal, verb: Verb, detail: str) -> None:
        self.changes.append(Change.of(vassal, verb, detail))


def _shared(members: Mapping[str, Collection[str]], going: set[str]) -> set[str]:
    """Return the slices that somebody else's units are in: to stop a slice stops all that is in it."""
    shared: set[str] = set()
    while more := {
        unit
        for unit, inside in members.items()
        if unit not in shared and any(one not in going or one in shared for one in inside)
    }:
        shared |= more
    return shared


def _is_ours(actual: ActualState, unit: str) -> bool:
    return (file := actual.files.get(unit)) is not None and file.ownership is Ownership.OURS


def _difference(resolved: ResolvedVassal, installed: InstalledVassal) -> str:
    if resolved.addresses == installed.addresses:
        return "its units are new"
    before = f"at {listed(installed.addresses)}" if installed.addresses else "ran always"
    return f"{_where(resolved)} (before: {before})"


def _where(resolved: ResolvedVassal) -> str:
    return f"on demand at {listed(resolved.addresses)}" if resolved.addresses else "runs always"
