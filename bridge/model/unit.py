"""What is there now, as data: the unit files on disk and the units in the manager's memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from bridge.model.address import Address
    from bridge.units.render import Mark


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


@dataclass(frozen=True, kw_only=True, slots=True)
class ActualState:
    """Everything planning needs to know about the present."""

    files: Mapping[str, UnitFile] = field(default_factory=dict)
    """Unit files in the bridge's own directory, by unit name."""
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Paths of files of such names in the manager's other directories, by unit name."""
    links: Mapping[str, str] = field(default_factory=dict)
    """The links that pull units in, by their path below the unit directory, with what they point to."""
    installed: Mapping[str, InstalledVassal] = field(default_factory=dict)
    """The vassals on disk, by label."""
    states: Mapping[str, UnitState] = field(default_factory=dict)
    """Units the manager has loaded, by name."""
    members: Mapping[str, Collection[str]] = field(default_factory=dict)
    """What runs in each slice of the vassals, anybody's; only asked for when slices are to be stopped."""
    stale: frozenset[str] = frozenset()
    """Units that an interrupted run was about to stop and start again."""
    outdated: frozenset[str] = frozenset()
    """Labels of running vassals that were started or reloaded before their config last changed."""
    lost: frozenset[str] = frozenset()
    """Labels of vassals whose socket systemd holds while its file is gone or somebody else's."""
    exiled: frozenset[str] = frozenset()
    """Labels of vassals that asked not to be started again, by exit code 26."""
    left: frozenset[str] = frozenset()
    """Units that somebody else stopped, and that are to be left so."""
    occupied: Mapping[Address, str] = field(default_factory=dict)
    """Addresses that cannot be listened on, each with the reason."""

    def state(self, unit: str) -> UnitState:
        """Return the state of a unit, loaded or not."""
        return self.states.get(unit, DOWN)
