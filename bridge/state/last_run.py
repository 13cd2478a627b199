"""What one run leaves for the next, besides the units on disk.

The file lies in /run: like the manager's memory it is gone after a reboot. Without it nothing breaks: the next run only
takes every unit that is down to be down by accident.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.host.files import remove_if_there, write_all

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True, slots=True)
class LastRun:
    """What was so at the end of the last run."""

    stopped_by_admin: frozenset[str] = frozenset()
    """Units that somebody else had stopped. Noted before a run changes anything, so that a killed run keeps it."""
    failed: frozenset[str] = frozenset()
    """Keys of vassals that should have been up and were not: they are down by accident."""
    folders: Mapping[str, int] = field(default_factory=dict)
    """The inode of each folder that configs are in."""


class LastRunFile:
    """The file that keeps it. Whoever uses it holds the lock."""

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self) -> LastRun | None:
        """Return what the last run left; None if there was none since the boot."""
        try:
            with open(self._path, encoding="utf-8", errors="surrogateescape") as file:
                noted = json.load(file)
            # The names on disk are those of version 0.1.0, so that an upgrade knows what an admin has stopped.
            return LastRun(
                stopped_by_admin=frozenset(noted["left"]),
                failed=frozenset(noted["owed"]),
                folders=dict(noted["folders"]),
            )
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def write(self, run: LastRun) -> None:
        """Keep this for the next run.

        Raises:
            BridgeError: the file system refuses.
        """
        if run == self.read():
            return
        noted = {"left": sorted(run.stopped_by_admin), "owed": sorted(run.failed), "folders": run.folders}
        folder, name = os.path.split(self._path)
        try:
            write_all(folder, {name: json.dumps(noted)})
        except OSError as error:
            message = f"what the next run has to know cannot be written: {error.strerror}"
            raise BridgeError(Diagnostic(code="last-run", path=self._path, message=message)) from error

    def forget(self) -> None:
        """Remove the file.

        Raises:
            OSError: the file system refuses.
        """
        remove_if_there(self._path)
