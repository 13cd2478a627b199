"""What is there now, as data: the unit files on disk and the units in the manager's memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.model.address import Address


class Ownership(StrEnum):
    """Whose a unit file is."""

    OURS = "ours"
    """It carries the bridge's mark."""
    FOREIGN = "foreign"
    """Somebody else made it; it is never written, stopped or removed."""
    MASKED = "masked"
    """An admin masked the unit; it stays so (systemctl(1), ``mask``)."""


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


WATCHED_PROPERTIES = frozenset({
    "ActiveEnterTimestampMonotonic", "ActiveState", "ExecMainCode", "ExecMainExitTimestampMonotonic",
    "ExecMainStartTimestampMonotonic", "ExecMainStatus", "Job", "MainPID", "NRestarts", "Result",
    "StateChangeTimestamp", "SubState",
})  # fmt: skip
"""The properties in a :class:`UnitChange`, of some sixty that the manager sends each time."""


@dataclass(frozen=True, slots=True)
class UnitChange:
    """What the manager tells of a unit that changed (``PropertiesChanged``)."""

    unit: str
    interface: str
    """``Unit``, ``Service``, ``Socket`` and so on."""
    values: Mapping[str, object]


DOWN = UnitState(load="not-found", active="inactive", sub="dead")
"""The state of a unit the manager does not know."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InstalledVassal:
    """A vassal that has units of the bridge's on disk."""

    label: str
    name: str
    config: str
    monitor: str
    address: Address | None
    canonical_address: Address | None
    """The address with symlinked folders resolved: what collides with it."""
    units: tuple[str, ...]

    @property
    def service(self) -> str:
        """The name of its service unit."""
        return f"vassal-{self.label}.service"

    @property
    def socket(self) -> str:
        """The name of its socket unit, which an always-on vassal does not have."""
        return f"vassal-{self.label}.socket"

    @property
    def waits_on(self) -> str:
        """The unit that is up for as long as the vassal is served."""
        return self.socket if self.address else self.service


@dataclass(frozen=True, slots=True)
class Mark:
    """What a unit file says of itself: that it is the bridge's, and what it was made from."""

    unit: str
    config: str = ""
    """The vassal's config; empty for the units of all vassals together."""
    name: str = ""
    """The vassal's name."""
    monitor: str = ""
    """The monitor that reported the vassal."""
    address: str = ""
    """The address of its rule; empty if it runs always."""
