"""The actual state: the unit files on disk and the units in the manager's memory."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.model.unit import DOWN
from bridge.model.unit_names import TARGET, boot_target, pause_of
from bridge.units.directory import installed_vassals
from bridge.units.drop_ins import listening_of, sockets_with_drop_ins

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from bridge.config.paths import Paths
    from bridge.model.address import Address
    from bridge.model.unit import InstalledVassal, Listening, UnitFile, UnitState
    from bridge.systemd.protocol import Manager
    from bridge.units.directory import UnitDirectory


@dataclass(frozen=True, kw_only=True, slots=True)
class ActualState:
    """What exists now."""

    files: Mapping[str, UnitFile] = field(default_factory=dict)
    """Unit files in the bridge's own directory, by unit name."""
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Paths of files of such names in the manager's other directories, by unit name."""
    links: Mapping[str, str] = field(default_factory=dict)
    """The links that have units started, by their path below the unit directory, with what they point to."""
    installed: Mapping[str, InstalledVassal] = field(default_factory=dict)
    """The vassals of this configuration that have unit files, by label."""
    of_others: Mapping[str, InstalledVassal] = field(default_factory=dict)
    """The vassals of other configurations (another bridge.toml on this machine), by label."""
    states: Mapping[str, UnitState] = field(default_factory=dict)
    """Units the manager has loaded, by name."""
    listening: Mapping[str, Listening] = field(default_factory=dict)
    """On what the sockets listen that do not listen where the bridge has put them, by label."""
    is_asked: bool = True
    """Whether the manager was asked. If not, whatever is installed is taken to listen."""
    is_users: bool = False
    """Whether the units are those of a user's own manager."""
    ending: frozenset[int] = frozenset()
    """The inode numbers of sockets that end before anything is started: to listen there is possible then."""

    def state(self, unit: str) -> UnitState:
        """Return the state of a unit, loaded or not."""
        return self.states.get(unit, DOWN)


def _is_where(installed: InstalledVassal, listening: Listening) -> bool:
    """Tell whether a socket listens where the bridge has put it, and nowhere else."""
    wanted = list(zip(installed.addresses, installed.canonical_addresses, strict=True))
    found = listening.addresses
    is_all = all(not {*spellings}.isdisjoint(found) for spellings in wanted)
    return is_all and {address for spellings in wanted for address in spellings}.issuperset(found)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ActualReader:
    """Reads the actual state of all vassals or of some."""

    paths: Paths
    directory: UnitDirectory
    canonical_address: Callable[[Address], Address]
    monitors: frozenset[str] = frozenset()
    """The ids of this configuration's monitors."""

    def read_all(self, manager: Manager | None) -> ActualState:
        """Read everything; without a manager, only what is on disk.

        Raises:
            BridgeError: a directory or the manager cannot be read.
        """
        # The manager answers while the files are read.
        states = manager.begin_units() if manager else dict
        files = self.directory.files()
        return self._state(
            files,
            elsewhere=self.directory.elsewhere(),
            links=self.directory.links(self._boot_target),
            states=states(),
            manager=manager,
        )

    def read_some(self, manager: Manager, labels: Collection[str]) -> ActualState:
        """Read what concerns the vassals with these labels.

        Raises:
            BridgeError: a directory or the manager cannot be read.
        """
        services = [f"vassal-{label}.service" for label in labels]
        units = [*services, *(f"vassal-{label}.socket" for label in labels)]
        return self._state(
            self.directory.files(units),
            elsewhere=self.directory.elsewhere(units),
            links=self.directory.links(self._boot_target, units),
            states=manager.units([TARGET, *units, *map(pause_of, services)]),
            manager=manager,
        )

    @property
    def _boot_target(self) -> str:
        return boot_target(user_manager=self.paths.user_manager)

    def _state(
        self,
        files: Mapping[str, UnitFile],
        *,
        elsewhere: Mapping[str, str],
        links: Mapping[str, str],
        states: Mapping[str, UnitState],
        manager: Manager | None,
    ) -> ActualState:
        found = installed_vassals(files, self.canonical_address)
        own = {label: one for label, one in found.items() if self._owns(one)}
        return ActualState(
            files=files,
            elsewhere=elsewhere,
            links=links,
            installed=own,
            of_others={label: one for label, one in found.items() if label not in own},
            states=states,
            listening=self._listening(own.values(), states, manager) if manager else {},
            is_asked=manager is not None,
            is_users=self.paths.user_manager,
        )

    def _listening(
        self, installed: Collection[InstalledVassal], states: Mapping[str, UnitState], manager: Manager
    ) -> dict[str, Listening]:
        """Ask only about sockets with a drop-in: to ask about each of thousands takes minutes."""
        waiting = {one.socket: one for one in installed if states.get(one.socket, DOWN).active == "active"}
        found = listening_of(sockets_with_drop_ins(waiting, self.paths.unit_path), manager)
        return {
            waiting[unit].label: listening
            for unit, listening in found.items()
            if not _is_where(waiting[unit], listening)
        }

    def _owns(self, installed: InstalledVassal) -> bool:
        """Tell whether a vassal is this configuration's.

        It adopts the vassals of its monitors that are nobody's: an earlier version made them, or the bridge.toml that
        they were made under is gone.
        """
        if installed.configuration == self.paths.configuration:
            return True
        is_nobodys = installed.is_unclaimed or not os.path.lexists(installed.configuration or self.paths.config)
        return is_nobodys and installed.monitor in self.monitors
