"""Who comes first when several vassals want one name or one address: whoever has it already.

Pure, but for :func:`_has_link`. What a tenant writes later never takes a name or an address from a neighbour.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from bridge.host.links import link_owners
from bridge.model.address import DistinctAddresses

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bridge.model.address import Address
    from bridge.model.unit import InstalledVassal
    from bridge.model.vassal import RejectedVassal, ResolvedVassal
    from bridge.reconcile.actual import ActualState


class Rank(NamedTuple):
    """How good a vassal's claim to a name or an address is. The greater one wins; equal ones win nothing."""

    tenure: int = 0
    """3: its own units have it. 2: those of the same config. 1: those of a vassal of the same tenant that is gone."""
    is_roots: bool = False
    """Whether its config belongs to root."""
    is_direct: bool = False
    """Whether its config's path has no symlink: a link to a neighbour's folder reports the neighbour's configs too."""


class Incumbents:
    """The vassals that have units, by the names and the addresses that they have."""

    def __init__(self, actual: ActualState, owners: Mapping[str, int | None]) -> None:
        """``owners`` has the uid of each reported vassal's owner, by key; None: unknown."""
        self._owners = owners
        self._actual = actual
        self._by_label = actual.installed
        self._by_address: dict[Address, list[InstalledVassal]] = {}
        for installed in actual.installed.values():
            for address in {*installed.addresses, *installed.canonical_addresses}:
                self._by_address.setdefault(address, []).append(installed)

    def by_name(self, resolved: ResolvedVassal) -> Rank:
        """Return the rank of a vassal's claim to its unit name."""
        installed = self._by_label.get(resolved.vassal.label)
        return self._rank(resolved, [installed] if installed else [])

    def by_address(self, resolved: ResolvedVassal, canonical: Address) -> Rank:
        """Return the rank of a vassal's claim to one of its addresses, given with symlinked folders resolved."""
        return self._rank(resolved, self._by_address.get(canonical, []))

    def predecessors(self, rejections: Iterable[RejectedVassal]) -> frozenset[str]:
        """Return the labels of vassals that are gone, and whose successors are rejected.

        A successor is a vassal of the same owner with the same address, as after a file was renamed. An interrupted
        run may have left one address to two of them: then one is returned, and rather one that is up.
        """
        found: dict[str, InstalledVassal] = {}
        for rejection in rejections:
            holders = (self._by_address.get(address, ()) for address in rejection.addresses)
            for installed in chain.from_iterable(holders):
                is_owners = installed.tenant in {None, rejection.vassal.config.owner.uid}
                if is_owners and self._is_gone(installed):
                    found[installed.label] = installed
        rather_up = sorted(found.values(), key=lambda one: (self._actual.state(one.primary_unit).is_down, one.label))
        addresses = DistinctAddresses()
        return frozenset(one.label for one in rather_up if addresses.admit(one.canonical_addresses))

    def _rank(self, resolved: ResolvedVassal, holders: list[InstalledVassal]) -> Rank:
        config = resolved.vassal.config
        tenure = max((self._tenure(resolved, holder) for holder in holders), default=0)
        return Rank(tenure, config.owner.uid == 0, not _has_link(config.path))

    def _tenure(self, resolved: ResolvedVassal, holder: InstalledVassal) -> int:
        """Compare a vassal with one that has units.

        A config that another tenant put in the place of the first is new.
        """
        vassal, tenant = resolved.vassal, resolved.spawn.tenant
        is_tenants = tenant == holder.tenant
        # Where tyrant mode was switched on or off, no unit has a tenant that could be compared.
        if not is_tenants and None not in {tenant, holder.tenant}:
            return 0
        if vassal.key == holder.key:
            return 3
        if vassal.config.path == holder.config:
            return 2
        return 1 if is_tenants and self._is_gone(holder) else 0

    def _is_gone(self, holder: InstalledVassal) -> bool:
        return holder.key not in self._owners or not may_be_of(holder, self._owners[holder.key])


def may_be_of(holder: InstalledVassal, owner: int | None) -> bool:
    """Tell whether a config of this owner's can be that of a vassal with units: no other tenant's is."""
    return None in {owner, holder.tenant} or owner in {0, holder.tenant}


def _has_link(path: str) -> bool:
    return bool(link_owners(path))
