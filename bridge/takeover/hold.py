"""Holds back apps that connections wake, until all addresses listen.

In a switch, hundreds of sockets begin to listen at about the same time, and clients wait for many of them. The apps
that these wake would take the processors from systemd and from the apps that bind their own sockets: seconds would pass
until the last address listens. So their services are ordered after a service that only sleeps. It ends by itself, also
if the bridge is killed. Connections wait in the queues of the sockets meanwhile.
"""

from __future__ import annotations

import os
from contextlib import suppress
from glob import escape, glob
from typing import TYPE_CHECKING

from bridge.host.files import remove_with_folder
from bridge.model.unit_names import PREFIX
from bridge.progress import no_progress
from bridge.systemd.transient import StartError, TransientServices

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.config.paths import Paths
    from bridge.systemd.protocol import Manager

LONGEST = 6
"""Seconds after which the apps start in any case."""
DROP_IN = "emperor-bridge-take-over.conf"
_UNIT = "emperor-bridge-hold.service"
_TEXT = f"# Made by emperor-bridge for a take-over.\n[Unit]\nAfter={_UNIT}\n"
_SLEEP = ["/bin/sh", "-c", f"exec sleep {LONGEST}"]
_END_PATIENCE = 2.0


class Hold:
    """Holds back services of one switch."""

    def __init__(self, paths: Paths, manager: Manager) -> None:
        self._folder = paths.runtime_units
        self._services = TransientServices(user=paths.user_manager)
        self._manager = manager
        self._is_on = False

    def prepare(self, services: Iterable[str]) -> None:
        """Have these services wait, once the hold has begun. systemd must not have loaded them yet.

        Raises:
            OSError: the file system refuses.
        """
        for service in services:
            folder = f"{self._folder}/{service}.d"
            os.makedirs(folder, exist_ok=True)
            # Nothing needs to be whole here: without its text the service just does not wait.
            with open(f"{folder}/{DROP_IN}", "w", encoding="utf-8") as file:
                file.write(_TEXT)

    def begin(self) -> None:
        """Begin to hold, if it has not begun. If systemd refuses, the apps just start at once."""
        if self._is_on:
            return
        self._is_on = True
        with suppress(StartError):
            self._services.start(
                _UNIT,
                [
                    ("Description", ("s", "Hold of uWSGI vassals during a take-over")),
                    ("Type", ("s", "oneshot")),
                    ("CollectMode", ("s", "inactive-or-failed")),
                    ("ExecStart", ("a(sasb)", [(_SLEEP[0], _SLEEP, False)])),
                ],
            )

    @property
    def is_on(self) -> bool:
        """Whether it has begun and was not ended."""
        return self._is_on

    def end(self) -> None:
        """Let the services start.

        Raises:
            BridgeError: systemd does not answer.
        """
        self._is_on = False
        self._manager.stop([_UNIT], timeout=_END_PATIENCE, progress=no_progress)

    def forget(self) -> bool:
        """Remove all drop-ins, also those of a killed run; tell whether there were any, so that a reload is due.

        Raises:
            OSError: the file system refuses.
        """
        found = glob(f"{escape(self._folder)}/{PREFIX}*.service.d/{DROP_IN}")
        for path in found:
            remove_with_folder(path)
        return bool(found)
