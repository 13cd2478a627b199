"""Whether vassals of a run contend with vassals outside it: then the run has to be one of all vassals. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from bridge.reconcile.actual import ActualState
    from bridge.reconcile.desired import Desired
    from bridge.state.cache import VassalCache


def labels_of(desired: Desired, cache: VassalCache, keys: Collection[str]) -> set[str]:
    """Return the labels of the units that the vassals with these keys have or want."""
    labels = cache.labels_of(keys) | {one.vassal.label for one in desired.resolved}
    return labels | {rejection.vassal.label for rejection in desired.rejections}


def contends(desired: Desired, actual: ActualState, cache: VassalCache, keys: Collection[str]) -> bool:
    """Tell whether one of these vassals has or wants what a vassal outside has or wants: a name or an address."""
    if any(one.key not in keys for one in actual.installed.values()):
        return True
    addresses = [address for one in desired.resolved for address in one.canonical_addresses]
    addresses += [address for one in actual.installed.values() for address in one.canonical_addresses]
    return cache.has_rivals(labels_of(desired, cache, keys), addresses, keys)


def takes_address(desired: Desired, actual: ActualState) -> bool:
    """Tell whether a vassal wants an address that it does not have yet."""
    had = {label: one.canonical_addresses for label, one in actual.installed.items()}
    return any(not set(had.get(one.vassal.label, ())).issuperset(one.canonical_addresses) for one in desired.resolved)
