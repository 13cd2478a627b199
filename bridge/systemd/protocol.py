"""What the bridge asks of a service manager, so that tests can put another in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from bridge.model.unit import UnitState
    from bridge.progress import StageProgress


class Manager(Protocol):
    """The calls that the bridge makes to a service manager."""

    def units(self, only: Collection[str] | None = None) -> dict[str, UnitState]:
        """Return the state of the vassals' loaded units, or of ``only`` these, with one call."""

    def begin_units(self, only: Collection[str] | None = None) -> Callable[[], dict[str, UnitState]]:
        """Ask as :meth:`units`, and do not wait for the answer: the function returned does. Ask so once at a time."""

    def own_properties(self, *names: str) -> dict[str, Any]:
        """Return properties of the manager itself, such as ``Version``."""

    def properties(self, units: Sequence[str], interface: str, name: str) -> dict[str, Any]:
        """Return one property of each unit, without units for which the manager answers with an error."""

    def start(self, units: Collection[str], *, timeout: float, progress: StageProgress) -> None:
        """Start units as one job and wait for it; :meth:`units` returns which of them are active then."""

    def stop(
        self, units: Collection[str], *, timeout: float, progress: StageProgress, down: Collection[str] = ()
    ) -> None:
        """Stop units as one job, in the order of their dependencies, and wait for it.

        Once units have ended, and then none for a moment, it waits no longer; :meth:`units` returns which are left.
        ``down`` are those that seem to be down: their end is no sign that the others will end soon.
        """

    def kill(self, units: Collection[str]) -> None:
        """Kill all processes of services (``SIGKILL``)."""

    def launch(self, units: Collection[str]) -> None:
        """Queue the start of units as one job, and do not wait; :meth:`join` waits."""

    def await_loaded(self) -> None:
        """Wait until the manager has read the units of all launched jobs."""

    def join(self, *, timeout: float, progress: StageProgress) -> None:
        """Wait for all launched jobs."""

    def reload_units(self, units: Collection[str]) -> dict[str, str]:
        """Queue the reload of running services; return the manager's error for each that it refuses."""

    def hang_up(self, units: Collection[str]) -> None:
        """Send SIGHUP to the main processes of services that the manager cannot reload, because they start."""

    def reset_failed(self, units: Collection[str]) -> None:
        """Reset the failed state of units."""

    def daemon_reload(self) -> None:
        """Have the manager read all unit files again."""
