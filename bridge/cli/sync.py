"""Run ``sync``: plan, carry the plan out, and sort out which problems are new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.cli.session import connected_reconciler, print_waiting
from bridge.cli.shown_warnings import ShownWarnings
from bridge.reconcile.run import RunOptions

if TYPE_CHECKING:
    from bridge.config.load import Invocation
    from bridge.diagnostics import Diagnostic
    from bridge.reconcile.run import PlannedRun


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncResult:
    """What one ``sync`` did, or what a dry run would do."""

    planned: PlannedRun
    diagnostics: tuple[Diagnostic, ...]
    """All problems, but those with the configuration."""
    new: tuple[Diagnostic, ...]
    """All errors, and all warnings that the last ``sync`` did not have, also about the configuration."""
    repeated: int
    """How many warnings the last ``sync`` had too."""
    places: tuple[str, ...]
    """Where vassals were looked for."""


def run_sync(invocation: Invocation, *, dry_run: bool, allow_mass_removal: bool) -> SyncResult:
    """Plan a run, and carry it out unless it is a dry run.

    Raises:
        BridgeError: the settings, the templates or the manager cannot be used, or a change was refused midway.
    """
    options = RunOptions(allow_mass_removal=allow_mass_removal)
    problems: tuple[Diagnostic, ...] = ()
    with connected_reconciler(invocation) as (manager, reconciler):
        shown = ShownWarnings(invocation.paths.last_run)
        places = tuple(monitor.id for monitor in reconciler.monitors)
        if dry_run:
            planned = reconciler.plan(manager, options)
        else:
            with reconciler.hold(print_waiting):
                planned = reconciler.plan(manager, options)
                planned, problems = reconciler.apply(manager, planned)
                shown.write((*invocation.brief_notices, *planned.diagnostics, *problems))
    diagnostics = (*planned.diagnostics, *problems)
    brief = (*invocation.brief_notices, *diagnostics)
    new = shown.new(brief)
    return SyncResult(planned=planned, diagnostics=diagnostics, new=new, repeated=len(brief) - len(new), places=places)
