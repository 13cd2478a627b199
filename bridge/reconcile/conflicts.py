"""Which vassals may have their units: a vassal may not take a name or an address that another has.

Pure, but for :func:`occupied_addresses`. Of several vassals that want one name or address, the one that has it goes on
(:mod:`bridge.reconcile.incumbents`). A rejected vassal that has units from before keeps them, and no other vassal may
take what it keeps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from bridge.diagnostics import BridgeError, Diagnostic, Severity
from bridge.model.address import collision_key, overlaps
from bridge.model.unit import Ownership
from bridge.model.unit_names import COMMON
from bridge.model.vassal import RejectedVassal
from bridge.reconcile.findings import ConflictResult
from bridge.reconcile.incumbents import Incumbents, may_be_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from bridge.model.address import Address
    from bridge.model.unit import InstalledVassal
    from bridge.model.vassal import ResolvedVassal, Vassal
    from bridge.reconcile.actual import ActualState
    from bridge.reconcile.desired import Desired

_NAMED = 3
"""Rivals that a message names: a rule that gives 8,000 vassals one address must not fill the journal."""


class _Claim(NamedTuple):
    """A vassal and one of the addresses that it wants."""

    resolved: ResolvedVassal
    address: Address
    canonical: Address


@dataclass
class _Search:
    """The state of the search. Each rejection may cause the next, because a rejected vassal keeps what it has."""

    candidates: list[ResolvedVassal]
    rejected: dict[str, int | None]
    """The owners' uids of all rejected vassals, by key. None: unknown."""
    configs: dict[str, int]
    """The same of vassals that were rejected before, by the path of the config."""
    rejections: dict[Vassal, RejectedVassal] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)

    def reject(self, resolved: ResolvedVassal, code: str, message: str, hint: str) -> None:
        vassal = resolved.vassal
        self.rejected[vassal.key] = vassal.config.owner.uid
        self.rejections.setdefault(vassal, RejectedVassal.of(resolved))
        self.diagnostics.append(vassal.problem(code, message, hint))

    def drop_rejected(self) -> bool:
        """Leave only candidates that are not rejected; tell whether any was dropped."""
        before = len(self.candidates)
        self.candidates = [s for s in self.candidates if s.vassal.key not in self.rejected]
        return len(self.candidates) < before

    def has_rejected(self, installed: InstalledVassal) -> bool:
        """Tell whether the vassal that has these units is rejected now.

        A config that another tenant has put in its place is not this vassal.
        """
        found = [self.rejected[installed.key]] if installed.key in self.rejected else []
        found += [self.configs[installed.config]] if installed.config in self.configs else []
        return any(may_be_of(installed, owner) for owner in found)


def find_conflicts(
    desired: Desired, actual: ActualState, occupied: Mapping[Address, str] | None = None
) -> ConflictResult:
    """Decide which vassals get their units. ``occupied`` has the reasons why addresses cannot be listened on."""
    masked, warnings = _masked(desired.resolved, actual)
    candidates = [s for s in desired.resolved if s.vassal.label not in masked]
    search = _Search(candidates, dict(desired.rejected_owners), desired.rejected_configs)
    _reject_foreign(search, actual)
    _reject_occupied(search, occupied or {})
    incumbents = Incumbents(actual, desired.owners)
    # Names and addresses are compared among all candidates at once, so that both of a pair can be rejected.
    _reject_same(search, incumbents)
    search.drop_rejected()
    while True:
        replaced = incumbents.predecessors((*desired.rejections, *search.rejections.values()))
        kept = frozenset(
            label
            for label, installed in actual.installed.items()
            if label not in masked
            and (search.has_rejected(installed) or installed.monitor in desired.unreachable or label in replaced)
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
        for address, canonical in zip(resolved.addresses, resolved.canonical_addresses, strict=True):
            if reason := occupied.get(canonical):
                search.reject(
                    resolved,
                    "address-occupied",
                    f"it is to wait on {address}, but {reason}",
                    "free the address, or give the vassal another; the bridge never removes what is not its own",
                )
                break


def _reject_same(search: _Search, incumbents: Incumbents) -> None:
    for label, group in _groups(search.candidates, lambda s: s.vassal.label).items():
        ranks = {s.vassal.key: incumbents.by_name(s) for s in group} if len(group) > 1 else {}
        for resolved in group if ranks else ():
            rivals = (s for s in group if s is not resolved and ranks[s.vassal.key] >= ranks[resolved.vassal.key])
            if others := [s.vassal.config.path for s in islice(rivals, _NAMED + 1)]:
                _reject_name(search, resolved, label, others)
    for claims in _by_collision(search.candidates).values():
        # Most have no rival.
        ranked = [(one, incumbents.by_address(one.resolved, one.canonical)) for one in claims if len(claims) > 1]
        for claim, rank in ranked:
            equals = (
                other
                for other, others_rank in ranked
                if other.resolved is not claim.resolved
                and others_rank >= rank
                and overlaps(other.canonical, claim.canonical)
            )
            if found := [(other.resolved.vassal.config.path, other.address) for other in islice(equals, _NAMED + 1)]:
                _reject_address(search, claim, found)


def _reject_held(search: _Search, held: list[InstalledVassal]) -> None:
    labels = {installed.label: installed for installed in held}
    addresses: dict[str, list[tuple[InstalledVassal, Address, Address]]] = {}
    for installed in held:
        for address, canonical in zip(installed.addresses, installed.canonical_addresses, strict=True):
            addresses.setdefault(collision_key(canonical), []).append((installed, address, canonical))
    for resolved in search.candidates:
        label = resolved.vassal.label
        if label in labels:
            _reject_name(search, resolved, label, [_place(labels[label])])
            continue
        for claim in _claims(resolved):
            found = addresses.get(collision_key(claim.canonical), ())
            if holders := [(_place(who), at) for who, at, has in found if overlaps(has, claim.canonical)]:
                _reject_address(search, claim, holders)
                break


def _reject_name(search: _Search, resolved: ResolvedVassal, label: str, others: list[str]) -> None:
    search.reject(
        resolved,
        "name-conflict",
        f"the unit name vassal-{label} is also wanted by {_listed(others)}",
        "rename one of them; a vassal that already runs under the name goes on",
    )


def _reject_address(search: _Search, claim: _Claim, others: list[tuple[str, Address]]) -> None:
    listed = _listed([f"{config} ({address})" for config, address in others])
    search.reject(
        claim.resolved,
        "address-conflict",
        f"its address {claim.address} is also wanted by {listed}",
        "give one of them another address; a vassal that already listens there goes on",
    )


def _place(installed: InstalledVassal) -> str:
    return f"{installed.config} of {installed.configuration}" if installed.configuration else installed.config


def _listed(others: list[str]) -> str:
    return ", ".join(others[:_NAMED]) + (" and others" if len(others) > _NAMED else "")


def _claims(resolved: ResolvedVassal) -> Iterator[_Claim]:
    pairs = zip(resolved.addresses, resolved.canonical_addresses, strict=True)
    return (_Claim(resolved, address, canonical) for address, canonical in pairs)


def _by_collision(candidates: Iterable[ResolvedVassal]) -> dict[str, list[_Claim]]:
    found: dict[str, list[_Claim]] = {}
    for claim in (claim for resolved in candidates for claim in _claims(resolved)):
        found.setdefault(collision_key(claim.canonical), []).append(claim)
    return found


def _groups(
    resolved: Iterable[ResolvedVassal], key: Callable[[ResolvedVassal], str]
) -> dict[str, list[ResolvedVassal]]:
    grouped: dict[str, list[ResolvedVassal]] = {}
    for one in resolved:
        grouped.setdefault(key(one), []).append(one)
    return grouped
