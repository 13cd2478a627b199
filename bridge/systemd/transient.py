"""Starts services that have no unit file, and hands them a descriptor (org.freedesktop.systemd1(5))."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError
from bridge.systemd.bus import Bus, CallError
from bridge.systemd.object_paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SERVICE = "org.freedesktop.systemd1"
_MANAGER = f"{_SERVICE}.Manager"
_EXISTS = f"{_SERVICE}.UnitExists"


class StartError(Exception):
    """A service was not started. The message is for admins."""


class TransientServices:
    """The system's service manager or the user's, asked to start services."""

    def __init__(self, *, user: bool) -> None:
        self._user = user
        self._while_waiting: Callable[[], None] = lambda: None

    def while_waiting(self, call: Callable[[], None]) -> None:
        """Have ``call`` called at least once a second while this process waits for the manager."""
        self._while_waiting = call

    def start(self, unit: str, properties: Sequence[tuple[str, tuple[str, object]]]) -> None:
        """Start a service and wait until the manager has accepted that, not until it runs.

        Raises:
            StartError: the manager refuses, or cannot be reached. One that still runs is stopped, for the next try.
        """
        try:
            with closing(Bus(user=self._user, service=_SERVICE, passes_descriptors=True)) as bus:
                bus.while_waiting(self._while_waiting)
                try:
                    bus.call(
                        ROOT, _MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "replace", list(properties), []
                    )
                except CallError as error:
                    if error.name == _EXISTS:
                        bus.call(ROOT, _MANAGER, "StopUnit", "ss", unit, "replace")
                    raise
        except CallError as error:
            raise StartError(f"systemd does not start {unit}: {error}") from error
        except BridgeError as error:
            raise StartError(error.diagnostic.message) from error
