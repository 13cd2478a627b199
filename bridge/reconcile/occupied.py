"""Finds the addresses that vassals want and that somebody else has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.host.listeners import occupied
from bridge.host.services import sockets_of

if TYPE_CHECKING:
    from bridge.model.address import Address
    from bridge.reconcile.actual import ActualState
    from bridge.reconcile.desired import Desired


def occupied_addresses(desired: Desired, actual: ActualState) -> dict[Address, str]:
    """Return the desired addresses that cannot be listened on, each with the reason."""
    own = {
        address
        for installed in (*actual.installed.values(), *actual.of_others.values())
        if installed.addresses and not (actual.is_asked and actual.state(installed.socket).is_down)
        for address in installed.canonical_addresses
    }
    wanted = (address for one in desired.resolved for address in one.canonical_addresses)
    return occupied(wanted, own, _EndingApps(desired, actual).have)


class _EndingApps:
    """What ends before the vassals' sockets begin to listen.

    That is an app that ran always and bound its address itself, and in a take-over all that the Emperor runs.
    """

    def __init__(self, desired: Desired, actual: ActualState) -> None:
        self._is_users = actual.is_users
        self._ending = actual.ending
        self._services = {
            address: one.vassal.service
            for one in desired.resolved
            if (installed := actual.installed.get(one.vassal.label)) is not None
            and installed.key == one.vassal.key
            and not (installed.addresses and actual.state(installed.service).is_down)
            for address in one.canonical_addresses
        }
        self._sockets: dict[str, set[int]] = {}

    def have(self, wanted: Address, number: int) -> bool:
        """Tell whether the socket with this inode number is that of the app which is to wait at this address."""
        if number in self._ending:
            return True
        if (service := self._services.get(wanted)) is None:
            return False
        if service not in self._sockets:
            self._sockets[service] = sockets_of(service, is_users=self._is_users)
        return number in self._sockets[service]
