"""A second look at files that seem to be gone, before what depends on them is stopped.

Many programs replace a file by removing it and making it anew. A run that looks just then would remove a vassal whose
config is gone, and would close the socket of one whose rule file is gone. A neighbour that waits for this moment would
get its name or its address. Without tenants, a vassal that only waits is removed at once.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from bridge.state import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.config.settings import Settings
    from bridge.monitors.base import Monitor
    from bridge.reconcile.run import PlannedRun

PATIENCE = 0.2
"""Seconds until the next look."""
LOOKS = 3
"""How often a plan is made anew: what is replaced all the time must not hold up a run."""


def with_second_look(plan: Callable[[], PlannedRun], settings: Settings, monitors: Iterable[Monitor]) -> PlannedRun:
    """Return a plan; make it anew if a file may be there again that was gone when it was made.

    A row's files are not looked for: the mirror replaces them in one step.
    """
    of_files = frozenset(monitor.id for monitor in monitors if not monitor.mirror)
    planned = plan()
    seen: dict[str, int] = {}
    for _ in range(LOOKS):
        gone = [*_gone_configs(planned, of_files), *_gone_rules(planned, settings)]
        if not all(map(os.path.lexists, gone)):
            time.sleep(PATIENCE)
        # A rule file that gives no address, or whose maker it does not count for, is there all the time.
        there = {path: fingerprint.digest((path,)) for path in gone if os.path.lexists(path)}
        if there.items() <= seen.items():
            break
        planned, seen = plan(), there
    return planned


def _gone_configs(planned: PlannedRun, monitors: Iterable[str]) -> list[str]:
    """Return the configs of removed vassals that somebody uses, or whose name a neighbour may take."""
    actual = planned.actual
    removed = (one for label in planned.removed if (one := actual.installed[label]).monitor in monitors)
    return [one.config for one in removed if one.tenant is not None or not actual.state(one.service).is_down]


def _gone_rules(planned: PlannedRun, settings: Settings) -> list[str]:
    """Return the rule files of vassals that were on demand and would run always."""
    if not (extension := settings.on_demand_rule.extension):
        return []
    installed = planned.actual.installed
    return [
        one.vassal.config.path + extension
        for one in planned.conflicts.accepted
        if not one.addresses
        and (before := installed.get(one.vassal.label))
        and before.addresses
        and not (one.vassal.row and one.vassal.row.address is not None)
    ]
