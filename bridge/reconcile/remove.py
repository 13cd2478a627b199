"""The way back: everything that is the bridge's goes, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.reconcile.plan import Plan, plan_removal

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.model.unit import Observed
    from bridge.reconcile.reconciler import Road
    from bridge.systemd.manager import Manager


def plan_way_back(road: Road, manager: Manager) -> Plan:
    """Plan to take away all that is the bridge's.

    Raises:
        BridgeError: a directory or the manager cannot be read.
    """
    return plan_removal(_observe_all(road, manager), boot_target=road.boot)


def remove_all(road: Road, manager: Manager, *, waiting: Callable[[], None]) -> Plan:
    """Take away all that is the bridge's.

    Raises:
        BridgeError: the change was refused midway.
    """
    with road.lock.hold(waiting):
        observed = _observe_all(road, manager)
        plan = plan_removal(observed, boot_target=road.boot)
        road.applier(manager).apply(plan, observed.files)
        road.store.clean()
        road.store.forget_pauses(i.service for i in observed.installed.values())
        _forget(road)
        return plan


def tidy(road: Road, *, waiting: Callable[[], None]) -> None:
    """Take away what a killed removal can leave when all units are gone.

    Raises:
        BridgeError: the file system refuses.
    """
    if road.lock.is_there:
        with road.lock.hold(waiting):
            road.store.clean()
            _forget(road)


def _forget(road: Road) -> None:
    road.notebook.forget()
    road.glance.forget()
    road.lock.forget()


def _observe_all(road: Road, manager: Manager) -> Observed:
    observed = road.observe(manager)
    slices = [unit for unit in observed.states if unit.endswith(".slice")]
    members: dict[str, list[str]] = manager.properties(slices, "Unit", "SliceOf")
    others = sorted({unit for units in members.values() for unit in units} - observed.states.keys())
    down = {unit for unit, state in observed.states.items() if state.is_down}
    down |= {u for u, active in manager.properties(others, "Unit", "ActiveState").items() if active == "inactive"}
    return replace(observed, members={unit: set(units) - down for unit, units in members.items()})
