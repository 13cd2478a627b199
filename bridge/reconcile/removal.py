"""Plans the removal of everything that the bridge made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.reconcile.desired import Desired
from bridge.reconcile.plan import plan_removal
from bridge.reconcile.run import PlannedRun, RunContext
from bridge.reconcile.slices import running_members

if TYPE_CHECKING:
    from bridge.reconcile.planner import Planner
    from bridge.systemd.protocol import Manager


def plan_whole_removal(planner: Planner, manager: Manager) -> PlannedRun:
    """Plan to remove everything the bridge made under this configuration, and nothing else.

    Raises:
        BridgeError: a directory or the manager cannot be read.
    """
    actual = planner.reader().read_all(manager)
    plan = plan_removal(actual, running_members(actual, manager), boot_link=planner.boot_link)
    return PlannedRun(desired=Desired(), actual=actual, plan=plan, context=RunContext(is_removal=True))
