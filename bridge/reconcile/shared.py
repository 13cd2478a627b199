"""What several vassals, or several configurations, share in one plan: addresses that change hands, and scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic, Severity
from bridge.model.address import DistinctAddresses, any_overlap, collision_key, overlaps
from bridge.model.unit_names import COMMON, label_of
from bridge.units.marker import FORMAT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bridge.model.address import Address
    from bridge.model.unit import InstalledVassal
    from bridge.reconcile.actual import ActualState
    from bridge.reconcile.findings import ConflictResult
    from bridge.reconcile.steps import Plan


def waits_for(plan: Plan, conflicts: ConflictResult, actual: ActualState) -> dict[str, frozenset[str]]:
    """Return whose addresses other vassals get in this plan, by the labels of those who get them."""
    leaving: dict[str, list[tuple[str, Address]]] = {}
    for label in set(map(label_of, (*plan.stop, *plan.remove))):
        if one := actual.installed.get(label):
            for address in one.canonical_addresses:
                leaving.setdefault(collision_key(address), []).append((label, address))
    found = {}
    for resolved in conflicts.accepted if leaving else ():
        others = ((wanted, leaving.get(collision_key(wanted), ())) for wanted in resolved.canonical_addresses)
        taken = {label for wanted, left in others for label, address in left if overlaps(address, wanted)}
        if labels := frozenset(taken - {resolved.vassal.label}):
            found[resolved.vassal.label] = labels
    return found


def with_their_addresses(
    stopped: Sequence[InstalledVassal],
    kept: Iterable[InstalledVassal],
    actual: ActualState,
    conflicts: ConflictResult,
) -> Iterator[InstalledVassal]:
    """Yield those of the vassals that an interrupted run has stopped to whom their addresses are left.

    That run, or this one, may have given one to another vassal.
    """
    if not stopped:
        return
    addresses = DistinctAddresses()
    for other in kept:
        if not actual.state(other.primary_unit).is_down:
            addresses.admit(other.canonical_addresses)
    for one in stopped:
        if not _has_lost_address(one, conflicts) and addresses.admit(one.canonical_addresses):
            yield one


def _has_lost_address(installed: InstalledVassal, conflicts: ConflictResult) -> bool:
    """Tell whether another vassal gets the address that this one had before a run was interrupted."""
    others = (one for one in conflicts.accepted if one.vassal.label != installed.label)
    return any(any_overlap(installed.canonical_addresses, one.canonical_addresses) for one in others)


def differing_settings(written: Mapping[str, str], actual: ActualState) -> list[Diagnostic]:
    """Warn if this plan rewrites what another configuration shares, though the bridge's version is the same."""
    files = [file for unit in COMMON if unit in written and (file := actual.files.get(unit))]
    same = [file for file in files if file.mark and file.mark.format == FORMAT]
    if not actual.of_others or not same:
        return []
    return [
        Diagnostic(
            code="shared-settings",
            path=same[0].path,
            message="another configuration has other values of emperor-throttle, emperor-max-throttle, max-starting or "
            "max-running, or other templates; the last run decides for all vassals",
            hint="give them the same values in every bridge.toml",
            severity=Severity.WARNING,
        )
    ]
