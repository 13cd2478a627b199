"""Which vassals may have their units: a vassal may not take a name or an address that another has.

Pure, but for :func:`occupied_addresses`. A rejected vassal that has units from before keeps them, and no other vassal
may take what it keeps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic, Severity
from bridge.host.listeners import occupied as find_occupied
from bridge.model.address import collision_key, overlaps
from bridge.model.unit import Ownership
from bridge.model.unit_names import COMMON
from bridge.model.vassal import RejectedVassal
from bridge.reconcile.findings import ConflictResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bridge.model.address import Address
    from bridge.model.unit import InstalledVassal
    from bridge.model.vassal import ResolvedVassal, Vassal
    from bridge.reconcile.actual import ActualState
    from bridge.reconcile.desired import Desired

_NAMED = 3
"""Rivals that a message names: a rule that gives 8,000 vassals one address must not fill the journal."""


@dataclass
class _Search:
    """The state of the search. Each rejection may cause the next, because a rejected vassal keeps what it has."""

    candidates: list[ResolvedVassal]
    rejected: set[str]
    configs: frozenset[str]
    """The configs of vassals that were rejected before."""
    rejections: dict[Vassal, RejectedVassal] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)

    def reject(self, resolved: ResolvedVassal, code: str, message: str, hint: str) -> None:
        vassal = resolved.vassal
        self.rejected.add(vassal.key)
        self.rejections.setdefault(vassal, RejectedVassal.of(resolved))
        self.diagnostics.append(vassal.problem(code, message, hint))

    def drop_rejected(self) -> bool:
        """Leave only candidates that are not rejected; tell whether any was dropped."""
        before = len(self.candidates)
        self.candidates = [s for s in self.candidates if s.vassal.key not in self.rejected]
        return len(self.candidates) < before

    def has_rejected(self, installed: InstalledVassal) -> bool:
        """Tell whether the vassal that has these units is rejected now."""
        return installed.key in self.rejected or installed.config in self.configs


def find_conflicts(
    desired: Desired, actual: ActualState, occupied: Mapping[Address, str] | None = None
) -> ConflictResult:
    """Decide which vassals get their units. ``occupied`` has the reasons why addresses cannot be listened on."""
    masked, warnings = _masked(desired.resolved, actual)
    candidates = [s for s in desired.resolved if s.vassal.label not in masked]
    search = _Search(candidates, set(desired.rejected_keys), desired.rejected_configs)
    _reject_foreign(search, actual)
    _reject_occupied(search, occupied or {})
    # Names and addresses are compared among all candidates at once, so that both of a pair are rejected.
    _reject_same(search)
    search.drop_rejected()
    while True:
        kept = frozenset(
            label
            for label, installed in actual.installed.items()
            if label not in masked and (search.has_rejected(installed) or installed.monitor in desired.unreachable)
        )
        # A masked vassal keeps its units and its address too.
        holders = kept | (masked & actual.installed.keys())
        _reject_held(search, [*(actual.installed[label] for label in sorted(holders)), *actual.of_others.values()])
        if not search.drop_rejected():
            break
    return ConflictResult(
        accepted=tuple(search.candidates),
        rejections=tuple(search.rejections.values()),
        kept=kept,
        masked=masked,
        diagnostics=(*warnings, *search.diagnostics),
    )


def occupied_addresses(desired: Desired, actual: ActualState) -> dict[Address, str]:
    """Return the desired addresses that cannot be listened on, each with the reason."""
    own = {
        installed.canonical_address
        for installed in actual.installed.values()
        if installed.canonical_address and not (actual.is_asked and actual.state(installed.socket).is_down)
    }
    return find_occupied((s.canonical_address for s in desired.resolved if s.canonical_address), own)


def refuse_foreign_common(actual: ActualState) -> None:
    """Refuse to work where the units that all vassals share are somebody else's.

    Raises:
        BridgeError: one of them is, or is masked.
    """
    for unit in COMMON:
        file = actual.files.get(unit)
        if file and file.ownership is Ownership.MASKED:
            code, path, message, hint = "unit-masked", file.path, f"{unit} is masked", f"systemctl unmask {unit}"
        elif file and file.ownership is Ownership.FOREIGN:
            code, path, message = "unit-foreign", file.path, f"{unit} was not made by this bridge"
            hint = "it is needed for the vassals: move that unit away"
        elif elsewhere := actual.elsewhere.get(unit):
            code, path, message = "unit-foreign", elsewhere, f"{unit} is there already, and not where this bridge works"
            hint = "move it away; if it is the bridge's: emperor-bridge remove, with --runtime if it is in /run"
        else:
            continue
        raise BridgeError(Diagnostic(code=code, path=path, message=message, hint=hint))


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


def _reject_foreign(search: _Search, actual: ActualState) -> None:
    for resolved in search.candidates:
        for unit in (resolved.vassal.service, resolved.vassal.socket):
            file = actual.files.get(unit)
            if file and file.ownership is Ownership.FOREIGN:
                search.reject(
                    resolved,
                    "unit-foreign",
                    f"the unit {file.path} is there and was not made by this bridge",
                    "rename the vassal or remove the unit",
                )
                break
            if path := actual.elsewhere.get(unit):
                search.reject(
                    resolved,
                    "unit-foreign",
                    f"the unit {path} is there already, and not where this bridge works",
                    "rename the vassal or remove that unit; if it is the bridge's: emperor-bridge remove, "
                    "with --runtime if it is in /run",
                )
                break


def _reject_occupied(search: _Search, occupied: Mapping[Address, str]) -> None:
    for resolved in search.candidates:
        if resolved.canonical_address and (reason := occupied.get(resolved.canonical_address)):
            search.reject(
                resolved,
                "address-occupied",
                f"it is to wait on {resolved.address}, but {reason}",
                "free the address, or give the vassal another; the bridge never removes what is not its own",
            )


def _reject_same(search: _Search) -> None:
    for label, group in _groups(search.candidates, lambda s: s.vassal.label).items():
        for resolved in group if len(group) > 1 else ():
            _reject_name(
                search,
                resolved,
                label,
                [s.vassal.config.path for s in islice(group, _NAMED + 2) if s is not resolved],
            )
    waiting = [s for s in search.candidates if s.canonical_address]
    for group in _groups(waiting, lambda s: collision_key(s.canonical_address) if s.canonical_address else "").values():
        for resolved in group if len(group) > 1 else ():
            rivals = (s for s in group if s is not resolved and _collide(s, resolved.canonical_address))
            if others := [(s.vassal.config.path, s.address) for s in islice(rivals, _NAMED + 1)]:
                _reject_address(search, resolved, others)


def _reject_held(search: _Search, held: list[InstalledVassal]) -> None:
    labels = {installed.label: installed for installed in held}
    addresses: dict[str, list[InstalledVassal]] = {}
    for installed in held:
        if installed.canonical_address:
            addresses.setdefault(collision_key(installed.canonical_address), []).append(installed)
    for resolved in search.candidates:
        label = resolved.vassal.label
        if label in labels:
            _reject_name(search, resolved, label, [labels[label].config])
        elif resolved.canonical_address:
            holders = [
                (i.config, i.address) for i in addresses.get(collision_key(resolved.canonical_address), ())
                if i.canonical_address and overlaps(i.canonical_address, resolved.canonical_address)
            ]  # fmt: skip
            if holders:
                _reject_address(search, resolved, holders)


def _reject_name(search: _Search, resolved: ResolvedVassal, label: str, others: list[str]) -> None:
    search.reject(
        resolved,
        "name-conflict",
        f"the unit name vassal-{label} is also wanted by {_listed(others)}",
        "rename one of them; a vassal that already runs under the name goes on",
    )


def _reject_address(search: _Search, resolved: ResolvedVassal, others: list[tuple[str, Address | None]]) -> None:
    listed = _listed([f"{config} ({address})" for config, address in others])
    search.reject(
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
