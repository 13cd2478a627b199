"""From what should be and what is to what has to be done. Pure: the same plan serves sync, --dry-run and watch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic
from bridge.model.change import Change, Verb
from bridge.model.unit import Ownership
from bridge.model.unit_names import COMMON, SUB_SLICE, TARGET, link_path, pause_of
from bridge.model.vassal import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bridge.model.unit import InstalledVassal
    from bridge.model.vassal import ResolvedVassal, Vassal
    from bridge.reconcile.actual import ActualState
    from bridge.reconcile.conflicts import ConflictResult

MASS_LEAST = 10
"""Vassals there must be for the loss of more than half of them to be taken for a mistake."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All that has to be done, in the order of the fields; whether a daemon-reload is due is seen while doing it."""

    stop: tuple[str, ...] = ()
    """Units to stop, services and sockets as one job."""
    unlink: tuple[str, ...] = ()
    """Links to remove, by path below the unit directory."""
    remove: tuple[str, ...] = ()
    """Unit files to remove."""
    link: Mapping[str, str]
    """Links to make, by path below the unit directory."""
    write: Mapping[str, str]
    """Unit files to write."""
    reread: tuple[str, ...] = ()
    """Units in the manager's memory whose files an interrupted run may have changed already."""
    renew: tuple[str, ...] = ()
    """Services whose definition is new while their sockets stay: ended once systemd knows it, so that a connection that
    comes meanwhile is not answered by the old one for long."""
    start: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()
    """Services to be told that their config changed."""
    retry: tuple[str, ...] = ()
    """Services that pause after a failure, or asked not to be started, and are to be tried at once."""
    changes: tuple[Change, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        files = self.unlink or self.remove or self.link or self.write
        return not (files or self.stop or self.reread or self.renew or self.start or self.reload or self.retry)


def make_plan(
    *,
    conflicts: ConflictResult,
    texts: Mapping[str, Mapping[str, str]],
    common: Mapping[str, str] | None,
    actual: ActualState,
    boot_target: str,
    allow_mass_removal: bool = True,
    others: int = 0,
) -> Plan:
    """Plan the way from ``actual`` to the admitted vassals.

    ``texts`` are the admitted vassals' unit files by label, ``common`` those of all vassals together, which are left
    alone where there are none. Unless allowed, the loss of most vassals at once removes none: a folder emptied by
    mistake, or not mounted, looks the same. There are ``others`` installed that are not looked at.
    """
    boot_link = f"{boot_target}.wants/{TARGET}"
    draft = _Draft(actual)
    for resolved in conflicts.accepted:
        draft.bring(resolved, texts[resolved.vassal.label])
    labels = {resolved.vassal.label for resolved in conflicts.accepted} | conflicts.kept | conflicts.masked
    gone = [installed for label, installed in actual.installed.items() if label not in labels]
    diagnostics = conflicts.diagnostics
    installed = len(actual.installed) + others
    if not allow_mass_removal and _is_mass(len(gone), installed):
        diagnostics = (*diagnostics, _mass_removal(len(gone), installed))
    else:
        for one in gone:
            draft.take_away(one)
    for label in sorted(conflicts.kept & actual.installed.keys()):
        draft.restore(actual.installed[label])
    draft.drop_dead_links()
    if common is not None:
        draft.bring_common(common, boot_link)
    return draft.plan(diagnostics)


def plan_removal(actual: ActualState, *, boot_target: str) -> Plan:
    """Plan to take away everything of the bridge's and nothing else."""
    draft = _Draft(actual)
    for installed in actual.installed.values():
        draft.take_away(installed)
    draft.drop_dead_links()
    ours = [unit for unit in COMMON if _is_ours(actual, unit)]
    if ours:
        going = {*ours, *draft.remove, *(unit for unit in actual.states if SUB_SLICE.fullmatch(unit))}
        draft.stop += [unit for unit in actual.states if unit in going - _shared(actual, going)]
        draft.remove += ours
    boot_link = f"{boot_target}.wants/{TARGET}"
    if boot_link in actual.links and (TARGET in ours or TARGET not in actual.files):
        draft.unlink.append(boot_link)
    return draft.plan(())


class _Draft:
    """A plan in the making."""

    def __init__(self, actual: ActualState) -> None:
        self.actual = actual
        self.stop: list[str] = []
        self.unlink: list[str] = []
        self.remove: list[str] = []
        self.link: dict[str, str] = {}
        self.write: dict[str, str] = {}
        self.renew: list[str] = []
        self.start: list[str] = []
        self.reload: list[str] = []
        self.retry: list[str] = []
        self.changes: list[Change] = []

    def plan(self, diagnostics: Iterable[Diagnostic]) -> Plan:
        return Plan(
            stop=tuple(self.stop),
            unlink=tuple(self.unlink),
            remove=tuple(self.remove),
            link=self.link,
            write=self.write,
            reread=tuple(sorted(unit for unit in self.actual.stale if unit in self.actual.states)),
            renew=tuple(self.renew),
            start=tuple(self.start),
            reload=tuple(self.reload),
            retry=tuple(self.retry),
            changes=tuple(sorted(self.changes, key=lambda c: c.vassal)),
            diagnostics=tuple(diagnostics),
        )

    def bring(self, resolved: ResolvedVassal, texts: Mapping[str, str]) -> None:
        """Plan whatever brings one vassal's units to what they should be."""
        vassal, actual = resolved.vassal, self.actual
        installed = actual.installed.get(vassal.label)
        obsolete = [unit for unit in installed.units if unit not in texts] if installed else []
        changed = {unit: text for unit, text in texts.items() if not self._is_written(unit, text)}
        touched = {*changed, *obsolete} | (actual.stale & {vassal.service, vassal.socket})
        lost = vassal.label in actual.lost
        # A socket cannot restart under its service: then both go first.
        both = [vassal.service, vassal.socket] if vassal.socket in touched or lost else []
        stop = [unit for unit in both if not actual.state(unit).is_down]
        renew = [vassal.service] if installed and touched and not both else []

        self.stop += stop
        self.renew += renew
        self.remove += obsolete
        self.write |= changed
        waits_on = vassal.socket if resolved.mode is Mode.ON_DEMAND else vassal.service
        other = vassal.service if resolved.mode is Mode.ON_DEMAND else vassal.socket
        self.unlink += [path] if (path := link_path(other)) in actual.links else []
        if actual.links.get(path := link_path(waits_on)) != (target := f"../{waits_on}"):
            self.link[path] = target
        starts = waits_on in {*stop, *renew} or self._is_to_start(resolved, waits_on, touched)
        if starts:
            self.start.append(waits_on)
        outdated = not touched and vassal.label in actual.outdated
        retries = outdated and (_is_pausing(actual, vassal.service) or vassal.label in actual.exiled)
        reloads = outdated and not retries and not actual.state(vassal.service).is_down
        self.retry += [vassal.service] if retries else []
        self.reload += [vassal.service] if reloads else []

        where = f"on demand at {resolved.address}" if resolved.address else "runs always"
        if installed is None:
            self._tell(vassal, Verb.ADDED, where)
        elif touched:
            self._tell(vassal, Verb.CHANGED, _difference(resolved, installed))
        elif lost:
            self._tell(vassal, Verb.MENDED, f"its socket {resolved.address} was gone or not its own")
        elif retries:
            self._tell(vassal, Verb.RETRIED, "its config changed")
        elif starts:
            self._tell(vassal, Verb.STARTED, where)
        elif reloads:
            self._tell(vassal, Verb.RELOADED, "its config changed")

    def take_away(self, installed: InstalledVassal) -> None:
        """Plan the end of a vassal that is no more."""
        units = (installed.service, installed.socket)
        self.stop += [u for u in units if u in installed.units and not self.actual.state(u).is_down]
        self.remove += installed.units
        self.unlink += [path for unit in installed.units if (path := link_path(unit)) in self.actual.links]
        self._tell(installed, Verb.REMOVED, f"was at {installed.address}" if installed.address else "")

    def restore(self, installed: InstalledVassal) -> None:
        """Plan to start again what an interrupted run stopped of a vassal that is refused now."""
        if installed.waits_on in self.actual.stale and self.actual.state(installed.waits_on).is_down:
            self.start.append(installed.waits_on)
            self._tell(installed, Verb.STARTED, "as it was; its new config is refused")

    def drop_dead_links(self) -> None:
        """Remove links of the bridge's own making that lead nowhere, as a killed run can leave them."""
        for path, target in self.actual.links.items():
            unit = path.rpartition("/")[2]
            is_dead = unit not in self.actual.files and unit not in self.write
            if is_dead and path == link_path(unit) and target == f"../{unit}":
                self.unlink.append(path)

    def bring_common(self, common: Mapping[str, str], boot_link: str) -> None:
        """Plan the units that all vassals share.

        The link that enables the target at boot is made with the target, once: ``systemctl disable`` is respected.
        """
        if TARGET not in self.actual.files:
            self.link[boot_link] = f"../{TARGET}"
        self.write |= {
            unit: text for unit, text in common.items()
            if not self._is_written(unit, text) and (unit not in self.actual.files or _is_ours(self.actual, unit))
        }  # fmt: skip
        if self.actual.state(TARGET).active != "active" and TARGET not in self.actual.left:
            self.start.append(TARGET)

    def _is_to_start(self, resolved: ResolvedVassal, unit: str, touched: set[str]) -> bool:
        """Tell whether a unit that is down should be up: not if it, or an admin, wanted it down and nothing changed."""
        actual, label = self.actual, resolved.vassal.label
        if not actual.state(unit).is_down:
            return False
        if touched or label in actual.outdated:
            return True
        gave_up = resolved.mode is Mode.ALWAYS and actual.state(unit).active == "failed"
        return not (gave_up or label in actual.exiled or unit in actual.left)

    def _is_written(self, unit: str, text: str) -> bool:
        file = self.actual.files.get(unit)
        return file is not None and file.text == text

    def _tell(self, vassal: Vassal | InstalledVassal, verb: Verb, detail: str) -> None:
        self.changes.append(Change.of(vassal, verb, detail))


def _is_pausing(actual: ActualState, service: str) -> bool:
    return not actual.state(pause_of(service)).is_down


def _is_mass(gone: int, installed: int) -> bool:
    return installed >= MASS_LEAST and gone * 2 > installed


def _mass_removal(gone: int, installed: int) -> Diagnostic:
    return Diagnostic(
        code="mass-removal",
        message=f"{gone} of {installed} vassals are gone at once, so none of them is removed",
        hint="if that is meant: emperor-bridge sync --allow-mass-removal; else see whether a folder is not mounted",
    )


def _shared(actual: ActualState, going: set[str]) -> set[str]:
    """Return the slices that units of somebody else's live in: to stop a slice stops all that is in it."""
    shared: set[str] = set()
    while more := {
        unit for unit, members in actual.members.items()
        if unit not in shared and any(m not in going or m in shared for m in members)
    }:  # fmt: skip
        shared |= more
    return shared


def _is_ours(actual: ActualState, unit: str) -> bool:
    file = actual.files.get(unit)
    return file is not None and file.ownership is Ownership.OURS


def _difference(resolved: ResolvedVassal, installed: InstalledVassal) -> str:
    if resolved.address == installed.address:
        return "its units are new"
    before = f"at {installed.address}" if installed.address else "ran always"
    return f"{f'on demand at {resolved.address}' if resolved.address else 'runs always'} (before: {before})"
