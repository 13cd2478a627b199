"""What runs in the slices of the vassals: to stop a slice stops all units in it, anybody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.reconcile.actual import ActualState
    from bridge.systemd.protocol import Manager


def running_members(actual: ActualState, manager: Manager) -> dict[str, set[str]]:
    """Return the units that run in each slice of the vassals.

    Raises:
        BridgeError: the manager cannot be asked.
    """
    slices = [unit for unit in actual.states if unit.endswith(".slice")]
    members: dict[str, list[str]] = manager.properties(slices, "Unit", "SliceOf")
    others = sorted({unit for units in members.values() for unit in units} - actual.states.keys())
    down = {unit for unit, state in actual.states.items() if state.is_down}
    down |= {u for u, active in manager.properties(others, "Unit", "ActiveState").items() if active == "inactive"}
    return {unit: set(units) - down for unit, units in members.items()}
