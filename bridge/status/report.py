"""``status``: read the present from the manager and the past from the journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.lifecycle.history import read_histories
from bridge.reconcile.sockets import lost_sockets
from bridge.status.table import table
from bridge.vassals.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.diagnostics import Diagnostic
    from bridge.lifecycle.history import Histories
    from bridge.model.unit import UnitState
    from bridge.reconcile.reconciler import Reconciler
    from bridge.status.table import Row
    from bridge.systemd.manager import SystemdManager


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusReport:
    """What ``status`` shows at one moment, and what it was made from."""

    rows: list[Row]
    states: dict[str, UnitState]
    histories: Histories
    diagnostics: Sequence[Diagnostic] = ()


def read_status(manager: SystemdManager, reconciler: Reconciler, *, user_manager: bool) -> StatusReport:
    """Read the state of all vassals. If the settings name no monitor, these are the installed ones.

    Raises:
        BridgeError: systemd or the monitors cannot be asked.
    """
    assessment = reconciler.assess(manager) if reconciler.monitors else reconciler.observe(manager)
    histories = read_histories(user_manager=user_manager)
    lost = lost_sockets(assessment.actual, manager, Guard())
    return StatusReport(
        rows=table(assessment, manager, histories, lost),
        states=dict(assessment.actual.states),
        histories=histories,
        diagnostics=assessment.diagnostics,
    )
