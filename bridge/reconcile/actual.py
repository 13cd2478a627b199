"""The actual state: the unit files on disk and the units in the manager's memory, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.model.unit import DOWN, InstalledVassal, UnitFile, UnitState

if TYPE_CHECKING:
    from collections.abc import Mapping

from dataclasses import field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from bridge.model.address import Address


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
