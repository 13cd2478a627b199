"""Run ``sync``: plan, carry the plan out, and sort out which problems are new."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.cli.session import connected_reconciler, print_waiting
from bridge.cli.shown_warnings import ShownWarnings
from bridge.monitors import has_mirrors
from bridge.reconcile.run import RunOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.config.load import Invocation
    from bridge.diagnostics import Diagnostic
    from bridge.reconcile.reconciler import Reconciler
    from bridge.reconcile.run import PlannedRun


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
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
        with asked(invocation, reconciler, is_asking=not dry_run) as told:
            if dry_run:
                planned = reconciler.plan(manager, options)
            else:
                with reconciler.hold(print_waiting):
                    planned = reconciler.plan(manager, options)
                    planned, problems = reconciler.apply(manager, planned)
                    # What the run met with is told each time: check does not list it.
                    shown.write((*invocation.brief_notices, *_merged(planned, told)))
    diagnostics = (*_merged(planned, told), *problems)
    brief = (*invocation.brief_notices, *diagnostics)
    new = shown.new(brief)
    return SyncResult(planned=planned, diagnostics=diagnostics, new=new, repeated=len(brief) - len(new), places=places)


def _merged(planned: PlannedRun, told: tuple[Diagnostic, ...]) -> tuple[Diagnostic, ...]:
    """Return the problems of a plan and those of the monitors: a plan of some vassals, or of none, lacks the latter."""
    return tuple(dict.fromkeys((*planned.diagnostics, *told)))


@contextmanager
def asked(invocation: Invocation, reconciler: Reconciler, *, is_asking: bool) -> Iterator[tuple[Diagnostic, ...]]:
    """Ask databases and brokers once, where no daemon does; yield what is wrong with all of them.

    A dry run changes nothing, so it takes what they said last.
    """
    if not has_mirrors(invocation.settings):
        yield ()
        return
    from bridge.monitors.asking import ask_once, leave, troubles_of
    from bridge.systemd.transient import TransientServices

    is_users = invocation.paths.user_manager
    monitors = reconciler.monitors
    try:
        more = ask_once(monitors, TransientServices(user=is_users), is_users=is_users) if is_asking else []
        yield (*more, *troubles_of(monitors))
    finally:
        leave(monitors)
