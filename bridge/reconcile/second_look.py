"""A second look at tenants' vassals that seem to be gone, before their units are removed.

Many programs replace a file by removing it and making it anew. A run that looks just then would remove the vassal. A
neighbour that waits for this moment would get its name or its address.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.reconcile.run import PlannedRun

PATIENCE = 0.2
"""Seconds until the second look."""


def with_second_look(plan: Callable[[], PlannedRun]) -> PlannedRun:
    """Return a plan; make it anew if a config is there again that was gone when it was made."""
    planned = plan()
    gone = [one for label in planned.removed if (one := planned.actual.installed[label]).tenant is not None]
    if not gone:
        return planned
    time.sleep(PATIENCE)
    return plan() if any(os.path.lexists(one.config) for one in gone) else planned
