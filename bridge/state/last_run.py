"""What one run leaves for the next to know, besides the units on disk.

It lives in /run beside the lock, and with what the manager has in memory it goes at a reboot. Without it nothing is
broken: the next run only takes whatever is down to be down by accident.
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

    left: frozenset[str] = frozenset()
    """Units that somebody else had stopped; noted before a run changes anything, so that a killed one keeps it."""
    owed: frozenset[str] = frozenset()
    """Configs of vassals that should have been up and were not: they are down by accident."""
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
            return LastRun(left=frozenset(noted["left"]), owed=frozenset(noted["owed"]), folders=dict(noted["folders"]))
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def write(self, run: LastRun) -> None:
        """Keep this for the next run.

        Raises:
            BridgeError: the file system refuses.
        """
        if run == self.read():
            return
        noted = {"left": sorted(run.left), "owed": sorted(run.owed), "folders": run.folders}
        folder, name = os.path.split(self._path)
        try:
            write_all(folder, {name: json.dumps(noted)})
        except OSError as error:
            message = f"what the next run has to know cannot be written: {error.strerror}"
            raise BridgeError(Diagnostic(code="last-run", path=self._path, message=message)) from error

    def forget(self) -> None:
        """Remove it.

        Raises:
            OSError: the file system refuses.
        """
        remove_if_there(self._path)
