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
from bridge.model.vassal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.diagnostics import Diagnostic
    from bridge.model.address import Address
    from bridge.model.unit import Installed, Observed
    from bridge.model.vassal import Settled, Vassal

_NAMED = 3
"""Rivals that a message names: a rule that gives 8,000 vassals one address must not fill the journal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Desired:
    """What monitors, rules and configs ask for."""

    settled: tuple[Settled, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    unusable: frozenset[str] = frozenset()
    """Configs that are there but whose names or files cannot be a vassal's."""
    unreachable: frozenset[str] = frozenset()
    """Monitors that could not be asked."""
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def refused(self) -> frozenset[str]:
        """Configs that are there but cannot be served as they are now: what ran for them goes on."""
        return self.unusable | {refusal.vassal.config for refusal in self.refusals}


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """Who may have units, and whose units stay as they are."""

    admitted: tuple[Settled, ...]
    refusals: tuple[Refusal, ...] = ()
    """Who was turned away here, beyond those already refused."""
    kept: frozenset[str] = frozenset()
    """Labels of vassals whose units are left alone."""
    masked: frozenset[str] = frozenset()
    """Labels of vassals an admin masked."""
    diagnostics: tuple[Diagnostic, ...] = ()


@dataclass
class _Round:
    """The state of the search: every refusal may cause the next, because a refused vassal keeps what it has."""

    candidates: list[Settled]
    refused: set[str]
    refusals: dict[Vassal, Refusal] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)

    def refuse(self, settled: Settled, code: str, message: str, hint: str) -> None:
        vassal = settled.vassal
        self.refused.add(vassal.config)
        self.refusals.setdefault(vassal, Refusal(vassal=vassal, mode=settled.mode, address=settled.address))
        self.diagnostics.append(vassal.problem(code, message, hint))

    def drop_refused(self) -> bool:
        """Leave only candidates that are not refused; tell whether any was dropped."""
        before = len(self.candidates)
        self.candidates = [s for s in self.candidates if s.vassal.config not in self.refused]
        return len(self.candidates) < before


def admit(desired: Desired, observed: Observed) -> Admission:
    """Decide whose units are made."""
    masked, warnings = _masked(desired.settled, observed)
    search = _Round([s for s in desired.settled if s.vassal.label not in masked], set(desired.refused))
    _refuse_foreign(search, observed)
    _refuse_occupied(search, observed)
    # Names and addresses are compared among all candidates at once, so that both of a pair are refused.
    _refuse_same(search)
    search.drop_refused()
    while True:
        kept = frozenset(
            label for label, installed in observed.installed.items()
            if label not in masked
            and (installed.config in search.refused or installed.monitor in desired.unreachable)
        )  # fmt: skip
        # A masked vassal is left alone too: what it has of units stays, and others may not take its address.
        holders = kept | (masked & observed.installed.keys())
        _refuse_kept(search, [observed.installed[label] for label in sorted(holders)])
        if not search.drop_refused():
            break
    return Admission(
        admitted=tuple(search.candidates),
        refusals=tuple(search.refusals.values()),
        kept=kept,
        masked=masked,
        diagnostics=(*warnings, *search.diagnostics),
    )


def _masked(settled: Iterable[Settled], observed: Observed) -> tuple[frozenset[str], list[Diagnostic]]:
    labels, warnings = set(), []
    for vassal in (s.vassal for s in settled):
        for unit in (vassal.socket, vassal.service):
            file = observed.files.get(unit)
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


def _refuse_foreign(search: _Round, observed: Observed) -> None:
    for settled in search.candidates:
        for unit in (settled.vassal.service, settled.vassal.socket):
            file = observed.files.get(unit)
            if file and file.ownership is Ownership.FOREIGN:
                search.refuse(
                    settled,
                    "unit-foreign",
                    f"the unit {file.path} is there and was not made by this bridge",
                    "rename the vassal or remove the unit",
                )
                break
            if path := observed.elsewhere.get(unit):
                search.refuse(
                    settled,
                    "unit-foreign",
                    f"the unit {path} is there already, and not where this bridge works",
                    "rename the vassal or remove that unit; if it is the bridge's: emperor-bridge remove, "
                    "with --runtime if it is in /run",
                )
                break


def _refuse_occupied(search: _Round, observed: Observed) -> None:
    for settled in search.candidates:
        if settled.identity and (reason := observed.occupied.get(settled.identity)):
            search.refuse(
                settled,
                "address-occupied",
                f"it is to wait on {settled.address}, but {reason}",
                "free the address, or give the vassal another; the bridge never removes what is not its own",
            )


def _refuse_same(search: _Round) -> None:
    for label, group in _groups(search.candidates, lambda s: s.vassal.label).items():
        for settled in group if len(group) > 1 else ():
            _refuse_name(
                search,
                settled,
                label,
                [s.vassal.config for s in islice(group, _NAMED + 2) if s is not settled],
            )
    waiting = [s for s in search.candidates if s.identity]
    for group in _groups(waiting, lambda s: collision_key(s.identity) if s.identity else "").values():
        for settled in group if len(group) > 1 else ():
            rivals = (s for s in group if s is not settled and _collide(s, settled.identity))
            if others := [(s.vassal.config, s.address) for s in islice(rivals, _NAMED + 1)]:
                _refuse_address(search, settled, others)


def _refuse_kept(search: _Round, kept: list[Installed]) -> None:
    labels = {installed.label: installed for installed in kept}
    addresses: dict[str, list[Installed]] = {}
    for installed in kept:
        if installed.identity:
            addresses.setdefault(collision_key(installed.identity), []).append(installed)
    for settled in search.candidates:
        label = settled.vassal.label
        if label in labels:
            _refuse_name(search, settled, label, [labels[label].config])
        elif settled.identity:
            holders = [
                (i.config, i.address) for i in addresses.get(collision_key(settled.identity), ())
                if i.identity and overlaps(i.identity, settled.identity)
            ]  # fmt: skip
            if holders:
                _refuse_address(search, settled, holders)


def _refuse_name(search: _Round, settled: Settled, label: str, others: list[str]) -> None:
    search.refuse(
        settled,
        "name-conflict",
        f"the unit name vassal-{label} is also wanted by {_listed(others)}",
        "rename one of them; a vassal that already runs under the name goes on",
    )


def _refuse_address(search: _Round, settled: Settled, others: list[tuple[str, Address | None]]) -> None:
    listed = _listed([f"{config} ({address})" for config, address in others])
    search.refuse(
        settled,
        "address-conflict",
        f"its address {settled.address} is also wanted by {listed}",
        "give one of them another address; a vassal that already listens there goes on",
    )


def _listed(others: list[str]) -> str:
    return ", ".join(others[:_NAMED]) + (" and others" if len(others) > _NAMED else "")


def _collide(settled: Settled, identity: Address | None) -> bool:
    return settled.identity is not None and identity is not None and overlaps(settled.identity, identity)


def _groups(settled: Iterable[Settled], key: Callable[[Settled], str]) -> dict[str, list[Settled]]:
    grouped: dict[str, list[Settled]] = {}
    for one in settled:
        grouped.setdefault(key(one), []).append(one)
    return grouped
