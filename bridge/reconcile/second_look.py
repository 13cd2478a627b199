"""A second look at files that seem to be gone, before what depends on them is stopped.

Many programs replace a file by removing it and making it anew. A run that looks just then would remove a vassal whose
config is gone, and would close the socket of one whose rule file is gone. A neighbour that waits for this moment would
get its name or its address.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.config.settings import Settings
    from bridge.reconcile.run import PlannedRun

PATIENCE = 0.2
"""Seconds until the next look."""
LOOKS = 3
"""How often a plan is made anew: what is replaced all the time must not hold up a run."""


def with_second_look(plan: Callable[[], PlannedRun], settings: Settings) -> PlannedRun:
    """Return a plan; make it anew if a file is there again that was gone when it was made."""
    planned = plan()
    for _ in range(LOOKS):
        gone = [*_gone_configs(planned), *_gone_rules(planned, settings)]
        if not gone:
            break
        time.sleep(PATIENCE)
        if not any(map(os.path.lexists, gone)):
            break
        planned = plan()
    return planned


def _gone_configs(planned: PlannedRun) -> list[str]:
    """Return the configs of removed vassals that somebody uses, or whose name a neighbour may take."""
    actual = planned.actual
    removed = [actual.installed[label] for label in planned.removed]
    return [one.config for one in removed if one.tenant is not None or not actual.state(one.service).is_down]


def _gone_rules(planned: PlannedRun, settings: Settings) -> list[str]:
    """Return the rule files of vassals that were on demand and would run always."""
    if not (extension := settings.on_demand_rule.extension):
        return []
    installed = planned.actual.installed
    return [
        one.vassal.config.path + extension
        for one in planned.conflicts.accepted
        if not one.addresses and (before := installed.get(one.vassal.label)) and before.addresses
    ]
