"""Which vassals may have their units: those that want a name or an address somebody else has may not.

Pure. A refused vassal that has units from before keeps them; what it kept others may not take.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from bridge.diagnostics import Severity
from bridge.model.address import collision_key, overlaps
from bridge.model.unit import Ownership
from bridge.model.vassal import RejectedVassal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.diagnostics import Diagnostic
    from bridge.model.address import Address
    from bridge.model.unit import InstalledVassal
    from bridge.model.vassal import ResolvedVassal, Vassal
    from bridge.reconcile.actual import ActualState
    from bridge.reconcile.desired import Desired

_NAMED = 3
"""Rivals that a message names: a rule that gives 8,000 vassals one address must not fill the journal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConflictResult:
    """Who may have units, and whose units stay as they are."""

    accepted: tuple[ResolvedVassal, ...]
    rejections: tuple[RejectedVassal, ...] = ()
    """Who was turned away here, beyond those already refused."""
    kept: frozenset[str] = frozenset()
    """Labels of vassals whose units are left alone."""
    masked: frozenset[str] = frozenset()
    """Labels of vassals an admin masked."""
    diagnostics: tuple[Diagnostic, ...] = ()


@dataclass
class _Search:
    """The state of the search: every refusal may cause the next, because a refused vassal keeps what it has."""

    candidates: list[ResolvedVassal]
    refused: set[str]
    rejections: dict[Vassal, RejectedVassal] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)

    def refuse(self, resolved: ResolvedVassal, code: str, message: str, hint: str) -> None:
        vassal = resolved.vassal
        self.refused.add(vassal.config)
        self.rejections.setdefault(vassal, RejectedVassal(vassal=vassal, mode=resolved.mode, address=resolved.address))
        self.diagnostics.append(vassal.problem(code, message, hint))

    def drop_refused(self) -> bool:
        """Leave only candidates that are not refused; tell whether any was dropped."""
        before = len(self.candidates)
        self.candidates = [s for s in self.candidates if s.vassal.config not in self.refused]
        return len(self.candidates) < before


def find_conflicts(desired: Desired, actual: ActualState) -> ConflictResult:
    """Decide whose units are made."""
    masked, warnings = _masked(desired.resolved, actual)
    search = _Search([s for s in desired.resolved if s.vassal.label not in masked], set(desired.refused))
    _refuse_foreign(search, actual)
    _refuse_occupied(search, actual)
    # Names and addresses are compared among all candidates at once, so that both of a pair are refused.
    _refuse_same(search)
    search.drop_refused()
    while True:
        kept = frozenset(
            label for label, installed in actual.installed.items()
            if label not in masked
            and (installed.config in search.refused or installed.monitor in desired.unreachable)
        )  # fmt: skip
        # A masked vassal is left alone too: what it has of units stays, and others may not take its address.
        holders = kept | (masked & actual.installed.keys())
        _refuse_kept(search, [actual.installed[label] for label in sorted(holders)])
        if not search.drop_refused():
            break
    return ConflictResult(
        accepted=tuple(search.candidates),
        rejections=tuple(search.rejections.values()),
        kept=kept,
        masked=masked,
        diagnostics=(*warnings, *search.diagnostics),
    )


def _masked(resolved: Iterable[ResolvedVassal], actual: ActualState) -> tuple[frozenset[str], list[Diagnostic]]:
    labels, warnings = set(), []
    for vassal in (s.vassal for s in resolved):
        for unit in (vassal.socket, vassal.service):
            file = actual.files.get(unit)
            if file and file.ownership is Ownership.MASKED and vassal.label not in labels:
                labels.add(vassal.label)
                warnings.append(
                    vassal.problem(
                        "masked",
                        f"{unit} is masked, so this vassal is left alone",
                        f"to have it served again: systemctl unmask '{unit}', then sync",
                        severity=Severity.WARNING,
                    )
                )
    return frozenset(labels), warnings


def _refuse_foreign(search: _Search, actual: ActualState) -> None:
    for resolved in search.candidates:
        for unit in (resolved.vassal.service, resolved.vassal.socket):
            file = actual.files.get(unit)
            if file and file.ownership is Ownership.FOREIGN:
                search.refuse(
                    resolved,
                    "unit-foreign",
                    f"the unit {file.path} is there and was not made by this bridge",
                    "rename the vassal or remove the unit",
                )
                break
            if path := actual.elsewhere.get(unit):
                search.refuse(
                    resolved,
                    "unit-foreign",
                    f"the unit {path} is there already, and not where this bridge works",
                    "rename the vassal or remove that unit; if it is the bridge's: emperor-bridge remove, "
                    "with --runtime if it is in /run",
                )
                break


def _refuse_occupied(search: _Search, actual: ActualState) -> None:
    for resolved in search.candidates:
        if resolved.canonical_address and (reason := actual.occupied.get(resolved.canonical_address)):
            search.refuse(
                resolved,
                "address-occupied",
                f"it is to wait on {resolved.address}, but {reason}",
                "free the address, or give the vassal another; the bridge never removes what is not its own",
            )


def _refuse_same(search: _Search) -> None:
    for label, group in _groups(search.candidates, lambda s: s.vassal.label).items():
        for resolved in group if len(group) > 1 else ():
            _refuse_name(
                search,
                resolved,
                label,
                [s.vassal.config for s in islice(group, _NAMED + 2) if s is not resolved],
            )
    waiting = [s for s in search.candidates if s.canonical_address]
    for group in _groups(waiting, lambda s: collision_key(s.canonical_address) if s.canonical_address else "").values():
        for resolved in group if len(group) > 1 else ():
            rivals = (s for s in group if s is not resolved and _collide(s, resolved.canonical_address))
            if others := [(s.vassal.config, s.address) for s in islice(rivals, _NAMED + 1)]:
                _refuse_address(search, resolved, others)


def _refuse_kept(search: _Search, kept: list[InstalledVassal]) -> None:
    labels = {installed.label: installed for installed in kept}
    addresses: dict[str, list[InstalledVassal]] = {}
    for installed in kept:
        if installed.canonical_address:
            addresses.setdefault(collision_key(installed.canonical_address), []).append(installed)
    for resolved in search.candidates:
        label = resolved.vassal.label
        if label in labels:
            _refuse_name(search, resolved, label, [labels[label].config])
        elif resolved.canonical_address:
            holders = [
                (i.config, i.address) for i in addresses.get(collision_key(resolved.canonical_address), ())
                if i.canonical_address and overlaps(i.canonical_address, resolved.canonical_address)
            ]  # fmt: skip
            if holders:
                _refuse_address(search, resolved, holders)


def _refuse_name(search: _Search, resolved: ResolvedVassal, label: str, others: list[str]) -> None:
    search.refuse(
        resolved,
        "name-conflict",
        f"the unit name vassal-{label} is also wanted by {_listed(others)}",
        "rename one of them; a vassal that already runs under the name goes on",
    )


def _refuse_address(search: _Search, resolved: ResolvedVassal, others: list[tuple[str, Address | None]]) -> None:
    listed = _listed([f"{config} ({address})" for config, address in others])
    search.refuse(
        resolved,
        "address-conflict",
        f"its address {resolved.address} is also wanted by {listed}",
        "give one of them another address; a vassal that already listens there goes on",
    )


def _listed(others: list[str]) -> str:
    return ", ".join(others[:_NAMED]) + (" and others" if len(others) > _NAMED else "")


def _collide(resolved: ResolvedVassal, canonical_address: Address | None) -> bool:
    return (
        resolved.canonical_address is not None
        and canonical_address is not None
        and overlaps(resolved.canonical_address, canonical_address)
    )


def _groups(
    resolved: Iterable[ResolvedVassal], key: Callable[[ResolvedVassal], str]
) -> dict[str, list[ResolvedVassal]]:
    grouped: dict[str, list[ResolvedVassal]] = {}
    for one in resolved:
        grouped.setdefault(key(one), []).append(one)
    return grouped
