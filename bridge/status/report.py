"""``status``: read the present from the manager and the past from the journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.check.obstacles import Obstacles
from bridge.lifecycle.history import read_histories
from bridge.reconcile.sockets import lost_sockets
from bridge.status.table import State, table
from bridge.vassals.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.diagnostics import Diagnostic
    from bridge.lifecycle.history import Histories
    from bridge.model.unit import UnitState
    from bridge.reconcile.reconciler import Reconciler
    from bridge.status.mirrors import MirrorStatus
    from bridge.status.table import Row
    from bridge.systemd.manager import SystemdManager


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusReport:
    """What ``status`` shows at one moment, and what it was made from."""

    rows: list[Row]
    states: dict[str, UnitState]
    histories: Histories
    diagnostics: Sequence[Diagnostic] = ()
    mirrors: Sequence[MirrorStatus] = ()
    """The databases and brokers that vassals come from."""


def read_status(
    manager: SystemdManager, reconciler: Reconciler, *, user_manager: bool, unit_path: Sequence[str] = ()
) -> StatusReport:
    """Read the state of all vassals. If the settings name no monitor, these are the installed ones.

    Raises:
        BridgeError: systemd or the monitors cannot be asked.
    """
    assessment = reconciler.assess(manager)
    histories = read_histories(user_manager=user_manager)
    obstacles = Obstacles(unit_path, of_many=True)
    lost = lost_sockets(assessment.actual, manager, Guard())
    rows = [_with_obstacle(row, obstacles) for row in table(assessment, manager, histories, lost)]
    mirrors: Sequence[MirrorStatus] = ()
    if any(monitor.mirror for monitor in reconciler.monitors):
        from bridge.status.mirrors import mirror_statuses, with_mirrors

        mirrors = mirror_statuses(reconciler.monitors)
        rows = with_mirrors(rows, mirrors)
    return StatusReport(
        rows=rows,
        states=dict(assessment.actual.states),
        histories=histories,
        diagnostics=assessment.diagnostics,
        mirrors=mirrors,
    )


def _with_obstacle(row: Row, obstacles: Obstacles) -> Row:
    """Return a row that says why systemd cannot start the vassal, if a drop-in or a failure gives cause to look."""
    if row.problem or row.unit is None or row.state is State.RUNNING:
        return row
    found = next(obstacles.of(row.unit, drop_ins_only=row.state is not State.FAILED), None)
    return row if found is None else row._replace(problem=f"systemd cannot start it: {found}")
