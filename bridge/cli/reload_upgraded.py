"""After an upgrade of uWSGI's packages: reloads the running vassals that still run with what was replaced.

The packages run it as ``reload-vassals BATCH``. A vassal that waits gets the new uWSGI when it starts.
"""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING

from bridge.config.paths import make_paths
from bridge.diagnostics import BridgeError, count
from bridge.reconcile.reloads import STEADY, Reloads
from bridge.systemd.manager import connected
from bridge.units.directory import UnitDirectory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.systemd.protocol import Manager

PATIENCE = 60.0
"""Seconds that a batch gets to run what is new; ``worker-reload-mercy`` of uWSGI is 60 s."""
_AGAIN = 0.5
_REPLACED = re.compile(r" /usr/(?:bin/uwsgi\S*|lib/uwsgi/\S*) \(deleted\)$", re.MULTILINE)


def runs_replaced(pid: int) -> bool:
    """Say whether a process has a file of uWSGI's packages that is no longer on disk (proc_pid_maps(5))."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
            return bool(_REPLACED.search(file.read()))
    except OSError:
        return False


def own_services() -> list[str]:
    """Return the services of all vassals that the bridge made."""
    found = set()
    for runtime in (False, True):
        files = UnitDirectory(make_paths(user=False, runtime=runtime)).files()
        found |= {name for name, file in files.items() if name.endswith(".service") and file.mark and file.mark.config}
    return sorted(found)


class Renewal:
    """Reloads services in batches. A batch begins when the one before runs what is new, or is late."""

    def __init__(
        self,
        manager: Manager,
        is_stale: Callable[[int], bool] = runs_replaced,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._manager = manager
        self._is_stale = is_stale
        self._sleep = sleep

    def stale(self, services: Sequence[str]) -> list[str]:
        """Return those that run what was replaced."""
        states = self._manager.units(services) if services else {}
        running = [unit for unit in services if unit in states and not states[unit].is_down]
        pids = self._manager.properties(running, "Service", "MainPID") if running else {}
        return [unit for unit in running if pids.get(unit) and self._is_stale(pids[unit])]

    def run(self, services: Sequence[str], size: int) -> tuple[int, list[str]]:
        """Reload all that need it; return how many do no longer, and those that still do.

        Raises:
            BridgeError: the manager does not answer.
        """
        stale = self.stale(services)
        late: list[str] = []
        for first in range(0, len(stale), size):
            late += self._renew(stale[first : first + size])
            self._sleep(STEADY)
        return len(stale) - len(late), late

    def _renew(self, batch: Sequence[str]) -> list[str]:
        reloads = Reloads(self._manager, sleep=self._sleep)
        untold = reloads.tell_in_time(reloads.tell(batch))
        for _ in range(int(PATIENCE / _AGAIN)):
            if not (batch := self.stale(batch)):
                break
            self._sleep(_AGAIN)
            untold = frozenset(reloads.tell(untold.intersection(batch)))
        return list(batch)


def main() -> None:
    """Run it. The exit status is 1 if a vassal still runs the old uWSGI."""
    (batch,) = sys.argv[1:]
    if not (batch.isdecimal() and int(batch)):
        sys.exit(f"RELOAD_BATCH is {batch!r}, and must be a number from 1 on; no vassal was reloaded")
    try:
        with connected(make_paths(user=False, runtime=False)) as manager:
            number, late = Renewal(manager).run(own_services(), int(batch))
    except BridgeError as error:
        sys.exit(str(error))
    sys.stdout.write(f"{count(number, 'vassal')} reloaded after an upgrade of uWSGI\n")
    if late:
        sys.exit(f"these still run the old uWSGI; restart them: {' '.join(late)}")
