"""The vassals that a switch has still to start, and which of them can be started now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.host.listeners import heard, occupied
from bridge.host.release import stop_listening
from bridge.host.services import has_ended
from bridge.model.address import UnixAddress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.model.address import Address
    from bridge.model.vassal import ResolvedVassal
    from bridge.takeover.holders import Holders


@dataclass(kw_only=True, slots=True, eq=False, repr=False)
class Remaining:
    """The vassals that are still to be started."""

    units: dict[str, str]
    """What to start, by label."""
    vassals: Mapping[str, ResolvedVassal]
    found: Holders
    _ended: set[str] = field(default_factory=set)
    """The labels of those of which nothing runs under the Emperor any more."""

    @property
    def is_any_left(self) -> bool:
        """Whether something of a vassal still runs under the Emperor."""
        return len(self._ended) < len(self.units)

    def note_ended(self, *, is_down: bool) -> set[int]:
        """Note of which vassals nothing runs any more; return the sockets at which the Emperor's apps serve no more.

        ``is_down`` tells that nothing of the Emperor is left.
        """
        left = self.units.keys() - self._ended
        ended = {label for label in left if is_down or all(map(has_ended, self.found.awaited(label)))}
        self._ended |= ended
        return {number for label in ended for number in self.found.held.get(label, ())}

    def take_freed(self, *, is_down: bool) -> list[str]:
        """Return the units that can be started now; they are no longer among those to start."""
        wanted = {label: self._ports(label) for label in self._ended}
        busy = {} if is_down else occupied({port for ports in wanted.values() for port in ports}, ())
        freed = [label for label, ports in wanted.items() if busy.keys().isdisjoint(ports)]
        self._ended.difference_update(freed)
        return [self.units.pop(label) for label in freed]

    def release(self) -> None:
        """Have the Emperor listen no more where vassals of which nothing runs wait to be started.

        It has been told to stop. Before that it would take the end of listening for a connection.
        """
        if ports := {port for label in self._ended for port in self._ports(label)}:
            numbers = {one.number for one in heard() if one.address in ports} & self.found.own_sockets
            stop_listening(self.found.own, numbers)

    def _ports(self, label: str) -> list[Address]:
        """Return where of a vassal's addresses nobody else may listen when it begins to wait."""
        addresses = self.vassals[label].canonical_addresses if label in self.vassals else ()
        return [address for address in addresses if not isinstance(address, UnixAddress)]
