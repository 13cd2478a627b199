"""The way back: everything that is the bridge's goes, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.reconcile.plan import Plan, plan_removal

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.reconcile.actual import ActualState
    from bridge.reconcile.reconciler import Reconciler
    from bridge.systemd.manager import Manager


def plan_way_back(reconciler: Reconciler, manager: Manager) -> Plan:
    """Plan to take away all that is the bridge's.

    Raises:
        BridgeError: a directory or the manager cannot be read.
    """
    return plan_removal(_observe_all(reconciler, manager), boot_target=reconciler.boot)


def remove_all(reconciler: Reconciler, manager: Manager, *, waiting: Callable[[], None]) -> Plan:
    """Take away all that is the bridge's.

    Raises:
        BridgeError: the change was refused midway.
    """
    with reconciler.lock.hold(waiting):
        actual = _observe_all(reconciler, manager)
        plan = plan_removal(actual, boot_target=reconciler.boot)
        reconciler.applier(manager).apply(plan, actual.files)
        reconciler.store.clean()
        reconciler.store.forget_pauses(i.service for i in actual.installed.values())
        _forget(reconciler)
        return plan


def tidy(reconciler: Reconciler, *, waiting: Callable[[], None]) -> None:
    """Take away what a killed removal can leave when all units are gone.

    Raises:
        BridgeError: the file system refuses.
    """
    if reconciler.lock.is_there:
        with reconciler.lock.hold(waiting):
            reconciler.store.clean()
            _forget(reconciler)


def _forget(reconciler: Reconciler) -> None:
    reconciler.notebook.forget()
    reconciler.glance.forget()
    reconciler.lock.forget()


def _observe_all(reconciler: Reconciler, manager: Manager) -> ActualState:
    actual = reconciler.observe(manager)
    slices = [unit for unit in actual.states if unit.endswith(".slice")]
    members: dict[str, list[str]] = manager.properties(slices, "Unit", "SliceOf")
    others = sorted({unit for units in members.values() for unit in units} - actual.states.keys())
    down = {unit for unit, state in actual.states.items() if state.is_down}
    down |= {u for u, active in manager.properties(others, "Unit", "ActiveState").items() if active == "inactive"}
    return replace(actual, members={unit: set(units) - down for unit, units in members.items()})
