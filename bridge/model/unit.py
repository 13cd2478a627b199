"""Units as data: their files on disk, their states in the manager's memory, and the vassals they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bridge.model.unit_names import UnitNames

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.model.address import Address


class Ownership(StrEnum):
    """Whose a unit file is."""

    OURS = "ours"
    """It carries the bridge's mark."""
    FOREIGN = "foreign"
    """Somebody else made it. The bridge never writes, stops or removes it."""
    MASKED = "masked"
    """An admin masked the unit (systemctl(1), ``mask``). The bridge leaves it so."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a unit file says of itself: that the bridge made it, and from what."""

    unit: str
    config: str = ""
    """The path of the vassal's config. Empty for the units that all vassals share."""
    name: str = ""
    """The vassal's name."""
    monitor: str = ""
    """The id of the monitor that reported the vassal."""
    address: str = ""
    """The addresses that it waits on, each in a line of its own. Empty if it runs always."""
    tenant: str = ""
    """In tyrant mode, the uid of the vassal's owner."""
    configuration: str = ""
    """The bridge.toml in force when the file was made. Empty: the usual one."""
    format: str = ""
    """The format of the unit's text (:data:`bridge.units.marker.FORMAT`). Empty: version 0.1.0's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitFile:
    """One file, or link, under a name the bridge might use."""

    path: str
    ownership: Ownership
    text: str = ""
    mark: Mark | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitState:
    """A unit as the manager sees it (``ListUnits`` of org.freedesktop.systemd1(5))."""

    load: str
    active: str
    sub: str

    @property
    def is_down(self) -> bool:
        """Whether nothing of the unit runs or listens."""
        return self.active in {"inactive", "failed"}


DOWN = UnitState(load="not-found", active="inactive", sub="dead")
"""The state of a unit that the manager has not loaded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listening:
    """On what a socket listens, by the manager's word."""

    addresses: tuple[Address | str, ...]
    """A text is no address that a rule could give."""
    drop_ins: tuple[str, ...] = ()
    """The paths of the drop-ins that set it."""

    def __str__(self) -> str:
        return " and ".join(map(str, self.addresses)) or "nothing"


WATCHED_PROPERTIES = frozenset({
    "ActiveEnterTimestampMonotonic", "ActiveState", "ExecMainCode", "ExecMainExitTimestampMonotonic",
    "ExecMainStartTimestampMonotonic", "ExecMainStatus", "Job", "MainPID", "NRestarts", "Result",
    "StateChangeTimestamp", "SubState",
})  # fmt: skip
"""The properties in a :class:`UnitChange`, of some sixty that the manager sends each time."""


@dataclass(frozen=True, slots=True)
class UnitChange:
    """What the manager sends when a unit changed (``PropertiesChanged``)."""

    unit: str
    interface: str
    """``Unit``, ``Service``, ``Socket`` and so on."""
    values: Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class InstalledVassal(UnitNames):
    """A vassal that has units of the bridge's on disk."""

    label: str
    name: str
    config: str
    """The path of its config when its units were made."""
    monitor: str
    """The id of the monitor that reported it then."""
    addresses: tuple[Address, ...]
    """Where it waits. Empty: it runs always."""
    canonical_addresses: tuple[Address, ...]
    """The same with symlinked folders resolved: two vassals collide in one of these."""
    units: tuple[str, ...]
    """The names of its unit files."""
    tenant: int | None = None
    """In tyrant mode, the uid of its owner."""
    configuration: str = ""
    """The bridge.toml it was made under. Empty: the usual one."""
    is_unclaimed: bool = False
    """Whether an earlier version made it, whose units name no bridge.toml."""

    @property
    def key(self) -> str:
        """What tells the vassal from all others, as :attr:`bridge.model.vassal.Vassal.key`."""
        return f"{self.monitor}:{self.name}"

    @property
    def primary_unit(self) -> str:
        """The unit that is up for as long as the vassal is served."""
        return self.socket if self.addresses else self.service
