"""The command line: ``emperor-bridge sync | check | status | render | remove | retry | take-over | watch …``."""

from __future__ import annotations

import gc
import io
import os
import sys
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from bridge import __version__
from bridge.cli.completion import complete_vassal
from bridge.cli.group import LazyGroup
from bridge.cli.options import settings_options
from bridge.cli.session import connected_reconciler, open_reconciler, print_waiting
from bridge.config.load import load_invocation
from bridge.diagnostics import BridgeError, Diagnostic, bounded, count, errors, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.config.load import Invocation
    from bridge.reconcile.run import PlannedRun

_EPILOG_SYNC = """\b
Examples:
  emperor-bridge sync --emperor /etc/uwsgi/vassals --emperor-on-demand-extension .socket
  emperor-bridge sync --dry-run
  emperor-bridge sync --emperor-ini /etc/uwsgi-emperor/emperor.ini
"""


@click.group(
    cls=LazyGroup,
    lazy={name: f"bridge.cli.{name.replace('-', '_')}" for name in ("pg-trigger", "take-over", "watch")},
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
)
@click.version_option(__version__, prog_name="emperor-bridge", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Run uWSGI's vassals as systemd units, on demand, without an Emperor.

    Vassals and on-demand rules are those of uWSGI's Emperor. Each vassal becomes a service. A vassal with a rule gets a
    socket too, and systemd starts it at the first connection.
    """
    if context.invoked_subcommand is None:
        # click before 8.2 prints this on standard output and exits with 0.
        click.echo(context.get_help(), err=True)
        context.exit(2)


@cli.command(epilog=_EPILOG_SYNC, params=settings_options())
@click.option("--dry-run", is_flag=True, help="Show what sync would do, with a diff of the units, and change nothing.")
@click.option(
    "--allow-mass-removal", is_flag=True, help="Remove vassals even if more than half of at least ten are gone at once."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def sync(*, dry_run: bool, allow_mass_removal: bool, as_json: bool, **given: Any) -> None:
    """Bring systemd's units in line with the vassals and rules."""
    from bridge.cli import output
    from bridge.cli.sync import run_sync

    invocation = load_invocation(given)
    output.print_found_ini(invocation.found_ini)
    done = run_sync(invocation, dry_run=dry_run, allow_mass_removal=allow_mass_removal)
    changes = done.planned.changes
    if not dry_run and (changes or done.new):
        from bridge.lifecycle.journal import tell_run

        tell_run(changes, bounded(done.new), user_manager=invocation.paths.user_manager)
    if as_json:
        told = (*invocation.notices, *done.diagnostics)
        output.print_json(output.sync_json(changes, told, done.planned.vassals, dry_run=dry_run))
    else:
        output.print_changes(changes, planned=dry_run)
        if dry_run:
            output.print_diff(done.planned.plan, done.planned.actual)
        output.print_diagnostics(bounded(done.new))
        summary = output.summary(changes, done.diagnostics, done.planned.vassals, places=done.places)
        output.print_line(summary + output.repeated(done.repeated))
    _exit_on_errors(done.diagnostics)


@cli.command(params=settings_options())
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects, one for each problem.")
@click.option("--sockets", is_flag=True, help="Show how each vassal gets its sockets, and why it runs always.")
def check(*, as_json: bool, sockets: bool, **given: Any) -> None:
    """Report what is wrong with the vassals and rules; change nothing."""
    from bridge.check.mirrors import check_monitors
    from bridge.check.run import VassalChecks, find_hidden_conflicts
    from bridge.cli import output
    from bridge.systemd.manager import connected

    invocation = load_invocation(given)
    output.print_found_ini(invocation.found_ini)
    paths = invocation.paths
    with (
        closing(output.ProgressBar()) as bar,
        closing(open_reconciler(invocation, bar)) as reconciler,
        closing(VassalChecks(invocation.settings, paths)) as checks,
    ):
        options = checks.options(reconciler, covers_all=sockets)
        try:
            with connected(paths) as manager:
                planned = reconciler.plan(manager, options)
                found = checks.found(reconciler, manager)
        except BridgeError as error:
            if error.diagnostic.code != "no-manager":
                raise
            # Vassals can be checked where no systemd runs, such as while an image is built.
            planned = reconciler.plan(None, options)
            found = checks.found(reconciler, None)
        hazards = (*find_hidden_conflicts(planned), *found)
    unsafe = check_monitors(reconciler.monitors, invocation.configuration, user_manager=paths.user_manager)
    diagnostics = (*invocation.notices, *planned.diagnostics, *hazards, *unsafe)
    if sockets:
        _print_sockets(planned, diagnostics, as_json=as_json)
    elif as_json:
        output.print_json(output.diagnostics_json(diagnostics))
    else:
        for diagnostic in diagnostics:
            output.print_line(str(diagnostic))
    _exit_on_errors(diagnostics)


def _print_sockets(planned: PlannedRun, diagnostics: Iterable[Diagnostic], *, as_json: bool) -> None:
    from dataclasses import asdict

    from bridge.check.socket_table import socket_table
    from bridge.cli import output

    rows = socket_table(planned.desired.resolved)
    if as_json:
        output.print_json([asdict(row) for row in rows])
    else:
        output.print_diagnostics(diagnostics)
        output.print_sockets(rows)


@cli.command(params=settings_options())
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects, one for each vassal.")
@click.option("--follow", is_flag=True, help="Go on to show every change, until interrupted.")
def status(*, as_json: bool, follow: bool, **given: Any) -> None:
    """Show every vassal: where it waits, whether it runs, since when."""
    from functools import partial

    from bridge.cli import output
    from bridge.status.report import read_status

    if as_json and follow:
        raise click.UsageError("--json does not go with --follow")
    invocation = load_invocation(given, needs_vassals=False)
    # A bar would be drawn over the table that changes.
    with connected_reconciler(invocation, shows_progress=not follow) as (manager, reconciler):
        paths = invocation.paths
        read = partial(read_status, manager, reconciler, user_manager=paths.user_manager, unit_path=paths.unit_path)
        if follow:
            from bridge.cli.follow import follow as follow_changes

            gc.enable()
            follow_changes(manager, read)
            return
        report = read()
    if as_json:
        output.print_json(output.status_json(report.rows))
    else:
        output.print_table(report.rows)
        for mirror in report.mirrors:
            output.print_line(printable(str(mirror)))
        mirrored = {mirror.monitor for mirror in report.mirrors}
        output.print_diagnostics(d for d in report.diagnostics if d.key is None and d.path not in mirrored)


@cli.command(short_help="Print the units of one vassal.", params=settings_options())
@click.argument("vassal", shell_complete=complete_vassal)
def render(*, vassal: str, **given: Any) -> None:
    """Print the units of one VASSAL, named by its config, its name or its unit."""
    from bridge.cli import output
    from bridge.reconcile.by_name import render as render_by_name

    with closing(open_reconciler(load_invocation(given))) as reconciler:
        texts, diagnostics = render_by_name(reconciler.planner, vassal)
    output.print_units(texts)
    output.print_diagnostics(diagnostics)
    if not texts and not errors(diagnostics):
        raise _unknown(vassal)
    _exit_on_errors(diagnostics)


@cli.command(short_help="Remove everything the bridge made.", params=settings_options())
@click.option("--yes", is_flag=True, help="Do not ask first.")
def remove(*, yes: bool, **given: Any) -> None:
    """Stop all vassals and remove every unit that the bridge made, and nothing else."""
    from bridge.cli import output
    from bridge.cli.shown_warnings import ShownWarnings
    from bridge.lifecycle.journal import tell_run
    from bridge.reconcile.removal import plan_whole_removal

    invocation = _without_monitors(given)
    paths = invocation.paths
    with connected_reconciler(invocation) as (manager, reconciler):
        planned = plan_whole_removal(reconciler.planner, manager)
        is_needed = not planned.plan.is_empty
        if is_needed and not yes:
            _confirm_removal(len(planned.plan.changes))
        # A removal that was killed can leave files of the bridge when all units are gone.
        if is_needed or os.path.exists(paths.lock):
            with reconciler.hold(print_waiting):
                planned = plan_whole_removal(reconciler.planner, manager)
                planned, _ = reconciler.apply(manager, planned)
                ShownWarnings(paths.last_run).forget()
                reconciler.forget()
    changes = planned.changes
    if not is_needed:
        output.print_line("nothing to remove")
        return
    tell_run(changes, (), user_manager=paths.user_manager)
    output.print_changes(changes, planned=False)
    output.print_line(output.summary(changes, (), len(changes)))


def _confirm_removal(number: int) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("not on a terminal, so there is nobody to ask: give --yes")
    click.confirm(f"Stop and remove {count(number, 'vassal')}?", abort=True)


@cli.command(params=settings_options())
@click.argument("vassal", shell_complete=complete_vassal)
def retry(*, vassal: str, **given: Any) -> None:
    """Start at once a VASSAL that failed, or that asked not to be started again."""
    from bridge.cli import output
    from bridge.lifecycle.journal import tell_run

    invocation = _without_monitors(given)
    with (
        connected_reconciler(invocation, shows_progress=False) as (manager, reconciler),
        reconciler.hold(print_waiting),
    ):
        changes = reconciler.retry(manager, vassal)
    if not changes:
        raise _unknown(vassal)
    tell_run(changes, (), user_manager=invocation.paths.user_manager)
    output.print_changes(changes, planned=False)


def main() -> None:
    """Run the command line. The exit status is 0; 1 if something was rejected or failed; 2 if the usage is wrong."""
    for stream in (sys.stdout, sys.stderr):
        # The terminal's encoding may not have every character of a name.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        # The name is also part of the variable by which a shell asks for completions.
        cli.main(prog_name="emperor-bridge", standalone_mode=True)
    except BridgeError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2 if error.diagnostic.code in {"settings", "no-vassals", "monitor-unknown"} else 1)
    except BrokenPipeError:
        # The reader closed the pipe. Python must not write to it again at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _unknown(vassal: str) -> BridgeError:
    return BridgeError(
        Diagnostic(
            code="vassal-unknown",
            message=f"there is no vassal {printable(vassal)!r}",
            hint="emperor-bridge status lists them",
        )
    )


def _without_monitors(given: dict[str, Any]) -> Invocation:
    """Return the configuration for a command that works on what is installed: no monitor is opened for it."""
    invocation = load_invocation(given, needs_vassals=False, looks_for_emperor=False, is_removal=True)
    return replace(invocation, settings=replace(invocation.settings, emperor=(), monitor=()))


def _exit_on_errors(diagnostics: Sequence[Diagnostic]) -> None:
    if errors(diagnostics):
        sys.exit(1)
