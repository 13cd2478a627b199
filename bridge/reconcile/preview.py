"""What ``check`` looks at: a plan that is not applied, and all configs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.reconcile.run import PlannedRun, RunContext, Scope

if TYPE_CHECKING:
    from collections.abc import Collection

    from bridge.reconcile.desired import Desired
    from bridge.reconcile.planner import Planner
    from bridge.reconcile.reconciler import Changed
    from bridge.systemd.protocol import Manager


def plan_changes(planner: Planner, manager: Manager, context: RunContext, found: Changed) -> PlannedRun | None:
    """Plan for the vassals that changed; None if a plan of all has more to say.

    Raises:
        BridgeError: the settings, the templates or the manager cannot be used.
    """
    changed, cache, digests = found
    if not changed.keys:
        return PlannedRun.of_nothing(context, cache.served(()))
    planned = planner.plan_scope(manager, replace(context, digests=digests), changed, cache)
    return None if planned is None or planned.rejections else planned


def read(planner: Planner, manager: Manager | None, keys: Collection[str] | None) -> Desired:
    """Read what is desired of these vassals, or of all, and keep their configs.

    Raises:
        BridgeError: the settings or the manager cannot be used.
    """
    found: list[Desired] = []
    scope = Scope.all() if keys is None else Scope.of(keys)
    planner.loader(planner.reader(), manager).load(scope, with_configs=found.append)
    return found[0]
