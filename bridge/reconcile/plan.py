"""From what should be and what is to what has to be done. Pure: the same plan serves sync, --dry-run and watch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic
from bridge.model.change import Change, Verb
from bridge.model.unit import Ownership
from bridge.model.vassal import Mode
from bridge.units.render import COMMON, SUB_SLICE, TARGET, link_path, pause_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bridge.model.unit import Installed, Observed
    from bridge.model.vassal import Settled, Vassal
    from bridge.reconcile.conflicts import Admission

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
    admission: Admission,
    texts: Mapping[str, Mapping[str, str]],
    common: Mapping[str, str] | None,
    observed: Observed,
    boot_target: str,
    allow_mass_removal: bool = True,
    others: int = 0,
) -> Plan:
    """Plan the way from ``observed`` to the admitted vassals.

    ``texts`` are the admitted vassals' unit files by label, ``common`` those of all vassals together, which are left
    alone where there are none. Unless allowed, the loss of most vassals at once removes none: a folder emptied by
    mistake, or not mounted, looks the same. There are ``others`` installed that are not looked at.
    """
    boot_link = f"{boot_target}.wants/{TARGET}"
    draft = _Draft(observed)
    for settled in admission.admitted:
        draft.bring(settled, texts[settled.vassal.label])
    labels = {settled.vassal.label for settled in admission.admitted} | admission.kept | admission.masked
    gone = [installed for label, installed in observed.installed.items() if label not in labels]
    diagnostics = admission.diagnostics
    installed = len(observed.installed) + others
    if not allow_mass_removal and _is_mass(len(gone), installed):
        diagnostics = (*diagnostics, _mass_removal(len(gone), installed))
    else:
        for one in gone:
            draft.take_away(one)
    for label in sorted(admission.kept & observed.installed.keys()):
        draft.restore(observed.installed[label])
    draft.drop_dead_links()
    if common is not None:
        draft.bring_common(common, boot_link)
    return draft.plan(diagnostics)


def plan_removal(observed: Observed, *, boot_target: str) -> Plan:
    """Plan to take away everything of the bridge's and nothing else."""
    draft = _Draft(observed)
    for installed in observed.installed.values():
        draft.take_away(installed)
    draft.drop_dead_links()
    ours = [unit for unit in COMMON if _is_ours(observed, unit)]
    if ours:
        going = {*ours, *draft.remove, *(unit for unit in observed.states if SUB_SLICE.fullmatch(unit))}
        draft.stop += [unit for unit in observed.states if unit in going - _shared(observed, going)]
        draft.remove += ours
    boot_link = f"{boot_target}.wants/{TARGET}"
    if boot_link in observed.links and (TARGET in ours or TARGET not in observed.files):
        draft.unlink.append(boot_link)
    return draft.plan(())


class _Draft:
    """A plan in the making."""

    def __init__(self, observed: Observed) -> None:
        self.observed = observed
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
            reread=tuple(sorted(unit for unit in self.observed.stale if unit in self.observed.states)),
            renew=tuple(self.renew),
            start=tuple(self.start),
            reload=tuple(self.reload),
            retry=tuple(self.retry),
            changes=tuple(sorted(self.changes, key=lambda c: c.vassal)),
            diagnostics=tuple(diagnostics),
        )

    def bring(self, settled: Settled, texts: Mapping[str, str]) -> None:
        """Plan whatever brings one vassal's units to what they should be."""
        vassal, observed = settled.vassal, self.observed
        installed = observed.installed.get(vassal.label)
        obsolete = [unit for unit in installed.units if unit not in texts] if installed else []
        changed = {unit: text for unit, text in texts.items() if not self._is_written(unit, text)}
        touched = {*changed, *obsolete} | (observed.stale & {vassal.service, vassal.socket})
        lost = vassal.label in observed.lost
        # A socket cannot restart under its service: then both go first.
        both = [vassal.service, vassal.socket] if vassal.socket in touched or lost else []
        stop = [unit for unit in both if not observed.state(unit).is_down]
        renew = [vassal.service] if installed and touched and not both else []

        self.stop += stop
        self.renew += renew
        self.remove += obsolete
        self.write |= changed
        waits_on = vassal.socket if settled.mode is Mode.ON_DEMAND else vassal.service
        other = vassal.service if settled.mode is Mode.ON_DEMAND else vassal.socket
        self.unlink += [path] if (path := link_path(other)) in observed.links else []
        if observed.links.get(path := link_path(waits_on)) != (target := f"../{waits_on}"):
            self.link[path] = target
        starts = waits_on in {*stop, *renew} or self._is_to_start(settled, waits_on, touched)
        if starts:
            self.start.append(waits_on)
        outdated = not touched and vassal.label in observed.outdated
        retries = outdated and (_is_pausing(observed, vassal.service) or vassal.label in observed.exiled)
        reloads = outdated and not retries and not observed.state(vassal.service).is_down
        self.retry += [vassal.service] if retries else []
        self.reload += [vassal.service] if reloads else []

        where = f"on demand at {settled.address}" if settled.address else "runs always"
        if installed is None:
            self._tell(vassal, Verb.ADDED, where)
        elif touched:
            self._tell(vassal, Verb.CHANGED, _difference(settled, installed))
        elif lost:
            self._tell(vassal, Verb.MENDED, f"its socket {settled.address} was gone or not its own")
        elif retries:
            self._tell(vassal, Verb.RETRIED, "its config changed")
        elif starts:
            self._tell(vassal, Verb.STARTED, where)
        elif reloads:
            self._tell(vassal, Verb.RELOADED, "its config changed")

    def take_away(self, installed: Installed) -> None:
        """Plan the end of a vassal that is no more."""
        units = (installed.service, installed.socket)
        self.stop += [u for u in units if u in installed.units and not self.observed.state(u).is_down]
        self.remove += installed.units
        self.unlink += [path for unit in installed.units if (path := link_path(unit)) in self.observed.links]
        self._tell(installed, Verb.REMOVED, f"was at {installed.address}" if installed.address else "")

    def restore(self, installed: Installed) -> None:
        """Plan to start again what an interrupted run stopped of a vassal that is refused now."""
        if installed.waits_on in self.observed.stale and self.observed.state(installed.waits_on).is_down:
            self.start.append(installed.waits_on)
            self._tell(installed, Verb.STARTED, "as it was; its new config is refused")

    def drop_dead_links(self) -> None:
        """Remove links of the bridge's own making that lead nowhere, as a killed run can leave them."""
        for path, target in self.observed.links.items():
            unit = path.rpartition("/")[2]
            is_dead = unit not in self.observed.files and unit not in self.write
            if is_dead and path == link_path(unit) and target == f"../{unit}":
                self.unlink.append(path)

    def bring_common(self, common: Mapping[str, str], boot_link: str) -> None:
        """Plan the units that all vassals share.

        The link that enables the target at boot is made with the target, once: ``systemctl disable`` is respected.
        """
        if TARGET not in self.observed.files:
            self.link[boot_link] = f"../{TARGET}"
        self.write |= {
            unit: text for unit, text in common.items()
            if not self._is_written(unit, text) and (unit not in self.observed.files or _is_ours(self.observed, unit))
        }  # fmt: skip
        if self.observed.state(TARGET).active != "active" and TARGET not in self.observed.left:
            self.start.append(TARGET)

    def _is_to_start(self, settled: Settled, unit: str, touched: set[str]) -> bool:
        """Tell whether a unit that is down should be up: not if it, or an admin, wanted it down and nothing changed."""
        observed, label = self.observed, settled.vassal.label
        if not observed.state(unit).is_down:
            return False
        if touched or label in observed.outdated:
            return True
        gave_up = settled.mode is Mode.ALWAYS and observed.state(unit).active == "failed"
        return not (gave_up or label in observed.exiled or unit in observed.left)

    def _is_written(self, unit: str, text: str) -> bool:
        file = self.observed.files.get(unit)
        return file is not None and file.text == text

    def _tell(self, vassal: Vassal | Installed, verb: Verb, detail: str) -> None:
        self.changes.append(Change.of(vassal, verb, detail))


def _is_pausing(observed: Observed, service: str) -> bool:
    return not observed.state(pause_of(service)).is_down


def _is_mass(gone: int, installed: int) -> bool:
    return installed >= MASS_LEAST and gone * 2 > installed


def _mass_removal(gone: int, installed: int) -> Diagnostic:
    return Diagnostic(
        code="mass-removal",
        message=f"{gone} of {installed} vassals are gone at once, so none of them is removed",
        hint="if that is meant: emperor-bridge sync --allow-mass-removal; else see whether a folder is not mounted",
    )


def _shared(observed: Observed, going: set[str]) -> set[str]:
    """Return the slices that units of somebody else's live in: to stop a slice stops all that is in it."""
    shared: set[str] = set()
    while more := {
        unit for unit, members in observed.members.items()
        if unit not in shared and any(m not in going or m in shared for m in members)
    }:  # fmt: skip
        shared |= more
    return shared


def _is_ours(observed: Observed, unit: str) -> bool:
    file = observed.files.get(unit)
    return file is not None and file.ownership is Ownership.OURS


def _difference(settled: Settled, installed: Installed) -> str:
    if settled.address == installed.address:
        return "its units are new"
    before = f"at {installed.address}" if installed.address else "ran always"
    return f"{f'on demand at {settled.address}' if settled.address else 'runs always'} (before: {before})"
