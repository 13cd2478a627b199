"""The command ``take-over``: from a running Emperor to the bridge, and back."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.options import settings_options
from bridge.cli.session import connected_reconciler, print_waiting
from bridge.config.load import load_invocation
from bridge.diagnostics import bounded, errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.config.load import Invocation
    from bridge.model.change import Change
    from bridge.takeover.gap import Gap
    from bridge.takeover.run import TakeOverResult

_EPILOG = """\b
Examples:
  emperor-bridge take-over --dry-run
  emperor-bridge take-over
  emperor-bridge take-over uwsgi-emperor
  emperor-bridge take-over --back
"""


@click.command(
    "take-over",
    epilog=_EPILOG,
    short_help="Take over all vassals from a running Emperor.",
    params=settings_options(),
)
@click.argument("unit", required=False)
@click.option("--dry-run", is_flag=True, help="Show what would be done, with a diff of the units, and change nothing.")
@click.option("--back", is_flag=True, help="Go back: remove the vassals' units and start the Emperor again.")
@click.option("--force", is_flag=True, help="Go on even if some vassals are refused, or do not come up.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def take_over(*, unit: str | None, dry_run: bool, back: bool, force: bool, as_json: bool, **given: Any) -> None:
    """Take over all vassals from a running Emperor, named by its UNIT or the id of its process, or else found.

    Everything is checked and written first. Then the Emperor is stopped, and each vassal is started as soon as nothing
    of it runs any more; one that only waits at a unix socket even before that. If a vassal that the Emperor served does
    not come up, the Emperor is started again. The gap is printed: for how long addresses were not served.
    """
    from bridge.cli import output
    from bridge.lifecycle.journal import tell_run

    if back and (dry_run or force or unit):
        raise click.UsageError("--back goes with neither --dry-run nor --force, and takes no UNIT")
    invocation = load_invocation(given)
    output.print_found_ini(invocation.found_ini)
    result = _run(invocation, unit, dry_run=dry_run, back=back, force=force)
    changes = () if result.is_undone else result.planned.changes
    if not dry_run:
        tell_run(changes, bounded(result.diagnostics), user_manager=invocation.paths.user_manager)
    if as_json:
        output.print_json(
            {
                "dry_run": dry_run,
                "outcome": str(result.outcome),
                "emperor": list(result.units),
                "vassals": result.planned.vassals,
                "changes": output.changes_json(changes),
                "gap": _gap_json(result.gap),
                "diagnostics": output.diagnostics_json((*invocation.notices, *result.diagnostics)),
            }
        )
    else:
        _print(result, changes, is_planned=dry_run)
    if errors(result.diagnostics):
        sys.exit(1)


def _run(invocation: Invocation, unit: str | None, *, dry_run: bool, back: bool, force: bool) -> TakeOverResult:
    from bridge.cli.shown_warnings import ShownWarnings
    from bridge.cli.sync import asked
    from bridge.takeover.run import TakeOverRun

    with (
        connected_reconciler(invocation) as (manager, reconciler),
        asked(invocation, reconciler, is_asking=not (dry_run or back)),
    ):
        run = TakeOverRun(invocation.paths, manager, reconciler)
        if dry_run:
            return run.plan(unit)
        with reconciler.hold(print_waiting):
            _guard_signals()
            if back:
                result = run.back()
                ShownWarnings(invocation.paths.last_run).forget()
                return result
            return run.take_over(unit, is_forced=force)


def _guard_signals() -> None:
    """Let a lost terminal end nothing, and the first interruption lead back to the Emperor: more would end that."""

    def interrupt(*_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)


def _print(result: TakeOverResult, changes: Sequence[Change], *, is_planned: bool) -> None:
    from bridge.cli import output
    from bridge.takeover.run import Outcome

    emperor, planned = result.units[0], result.planned
    output.print_changes(changes, planned=is_planned)
    if is_planned:
        output.print_diff(planned.plan, planned.actual)
        for unit in result.units:
            output.print_line(f"stop and disable {unit}")
    output.print_diagnostics(bounded(result.diagnostics))
    output.print_line(output.summary(changes, result.diagnostics, planned.vassals))
    if result.outcome is Outcome.DONE:
        output.print_line(f"{emperor} is stopped and disabled; the way back: emperor-bridge take-over --back")
    elif result.outcome is Outcome.BACK:
        output.print_line(f"{emperor} is in charge again")
    elif result.outcome is Outcome.REFUSED:
        output.print_line("nothing was changed; --force takes over all the same")
    if result.gap.seconds:
        output.print_line(_gap_line(result.gap))


def _gap_line(gap: Gap) -> str:
    where, worst = gap.worst
    found = f"median {gap.median:.3f} s, worst {worst:.3f} s{f' ({where})' if worst else ''}"
    return f"gap: of {len(gap.seconds)} addresses, {gap.refused} were not served for a time: {found}"


def _gap_json(gap: Gap) -> dict[str, object]:
    where, worst = gap.worst
    return {
        "addresses": len(gap.seconds),
        "refused": gap.refused,
        "median": round(gap.median, 3),
        "worst": round(worst, 3),
        "worst_address": where or None,
    }
