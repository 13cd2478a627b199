"""The command line: ``emperor-bridge sync | check | status | render | remove``."""

from __future__ import annotations

import gc
import io
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from bridge import __version__
from bridge.cli.options import settings_options
from bridge.config.load import resolve
from bridge.diagnostics import BridgeError, Diagnostic, count, errors, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.config.paths import Paths
    from bridge.config.settings import Settings
    from bridge.model.vassal import Vassal
    from bridge.progress import Progress
    from bridge.reconcile.reconciler import Reconciler
    from bridge.uwsgi.options import Config

_EPILOG_SYNC = """\b
Examples:
  emperor-bridge sync --emperor /etc/uwsgi/vassals --emperor-on-demand-extension .socket
  emperor-bridge sync --dry-run
  emperor-bridge sync --emperor-ini /etc/uwsgi-emperor/emperor.ini
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="emperor-bridge", message="%(prog)s %(version)s")
def cli() -> None:
    """Run uWSGI's vassals as systemd units, on demand, without an Emperor.

    Vassals and on-demand rules are those of uWSGI's Emperor. Each vassal becomes a service; one with a rule gets a
    socket too, and is started at the first connection.
    """


@cli.command(epilog=_EPILOG_SYNC)
@settings_options
@click.option("--dry-run", is_flag=True, help="Show what would be done, with a diff of the units, and change nothing.")
@click.option(
    "--allow-mass-removal", is_flag=True, help="Remove vassals even if more than half of at least ten are gone at once."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def sync(*, dry_run: bool, allow_mass_removal: bool, as_json: bool, **given: Any) -> None:
    """Bring systemd's units in line with the vassals and rules."""
    from bridge.cli import output
    from bridge.lifecycle.journal import tell_run
    from bridge.systemd.manager import connected

    invocation = resolve(given)
    paths, settings = invocation.paths, invocation.settings
    bar = output.ProgressBar()
    # What a run keeps stays to its end: the collector would only look it over again and again.
    gc.disable()
    try:
        with connected(paths) as manager:
            reconciler = _road(paths, settings, bar)
            planned, problems = (
                (reconciler.look(manager, allow_mass_removal=allow_mass_removal), ())
                if dry_run
                else reconciler.sync(manager, waiting=_waiting, allow_mass_removal=allow_mass_removal)
            )
    finally:
        bar.close()
    diagnostics = (*invocation.notices, *planned.diagnostics, *problems)
    if not dry_run:
        tell_run(planned.plan.changes, diagnostics, user_manager=paths.user_manager)
    vassals = planned.vassals
    if as_json:
        output.print_json(
            {
                "dry_run": dry_run,
                "vassals": vassals,
                "changes": output.changes_json(planned.plan.changes),
                "diagnostics": output.diagnostics_json(diagnostics),
            }
        )
    else:
        output.print_changes(planned.plan.changes, planned=dry_run)
        if dry_run:
            output.print_diff(planned.plan, planned.actual)
        output.print_diagnostics(diagnostics)
        output.print_line(output.summary(planned.plan.changes, diagnostics, vassals))
    _leave(diagnostics)


@cli.command()
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects, one for each problem.")
def check(*, as_json: bool, **given: Any) -> None:
    """Say what is wrong with the vassals and rules; change nothing."""
    from bridge.check.run import check_vassals
    from bridge.cli import output
    from bridge.systemd.manager import connected
    from bridge.vassals.spawn import spawn_defaults

    invocation = resolve(given)
    paths, settings = invocation.paths, invocation.settings
    bar = output.ProgressBar()
    reconciler = _road(paths, settings, bar)
    configs: dict[Vassal, Config] = {}
    gc.disable()
    try:
        with connected(paths) as manager:
            planned = reconciler.look(manager, configs=configs)
    except BridgeError as error:
        if error.diagnostic.code != "no-manager":
            raise
        # Vassals can be checked where no systemd runs, such as in the making of an image.
        planned = reconciler.look(None, configs=configs)
    finally:
        bar.close()
    defaults = spawn_defaults(settings, user_manager=paths.user_manager)
    hazards = check_vassals(planned.desired.resolved, configs, defaults, paths)
    diagnostics = (*invocation.notices, *planned.diagnostics, *hazards)
    if as_json:
        output.print_json(output.diagnostics_json(diagnostics))
    else:
        for diagnostic in diagnostics:
            output.print_line(str(diagnostic))
    _leave(diagnostics)


@cli.command()
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects, one for each vassal.")
@click.option("--follow", is_flag=True, help="Go on to show every change, until interrupted.")
def status(*, as_json: bool, follow: bool, **given: Any) -> None:
    """Show every vassal: where it waits, whether it runs, since when."""
    from functools import partial

    from bridge.cli import follow as live
    from bridge.cli import output
    from bridge.status.live import look as read_status
    from bridge.systemd.manager import connected

    if as_json and follow:
        raise click.UsageError("--json does not go with --follow")
    invocation = resolve(given, needs_vassals=False)
    paths, settings = invocation.paths, invocation.settings
    with connected(paths) as manager:
        reconciler = _road(paths, settings, output.ProgressBar())
        look = partial(
            read_status, manager, reconciler, has_sources=bool(settings.emperor), user_manager=paths.user_manager
        )
        if follow:
            live.follow(manager, look)
            return
        sight = look()
    if as_json:
        output.print_json([output.row_json(row) for row in sight.rows])
    else:
        output.print_table(sight.rows)
        output.print_diagnostics(d for d in sight.diagnostics if d.config is None)


@cli.command(short_help="Print the units of one vassal.")
@settings_options
@click.argument("vassal")
def render(*, vassal: str, **given: Any) -> None:
    """Print the units of one VASSAL, named by its config, its name or its unit."""
    from bridge.cli import output

    invocation = resolve(given)
    paths, settings = invocation.paths, invocation.settings
    reconciler = _road(paths, settings, output.ProgressBar())
    texts, diagnostics = reconciler.render(vassal)
    for unit, text in texts.items():
        output.print_line(f"# {unit}\n{text}")
    output.print_diagnostics(diagnostics)
    if not texts and not errors(diagnostics):
        raise _unknown(vassal)
    _leave(diagnostics)


@cli.command(short_help="Take away everything the bridge made.")
@settings_options
@click.option("--yes", is_flag=True, help="Do not ask first.")
def remove(*, yes: bool, **given: Any) -> None:
    """Stop all vassals and take away every unit the bridge made, and nothing else."""
    from bridge.cli import output
    from bridge.lifecycle.journal import tell_run
    from bridge.reconcile.remove import plan_way_back, remove_all, tidy
    from bridge.systemd.manager import connected

    invocation = resolve(given, needs_vassals=False, looks_for_emperor=False)
    paths, settings = invocation.paths, invocation.settings
    bar = output.ProgressBar()
    try:
        with connected(paths) as manager:
            reconciler = _road(paths, settings, bar)
            plan = plan_way_back(reconciler, manager)
            if plan.is_empty:
                tidy(reconciler, waiting=_waiting)
                output.print_line("nothing to remove")
                return
            if not yes:
                if not sys.stdin.isatty():
                    raise click.UsageError("not on a terminal, so there is nobody to ask: give --yes")
                click.confirm(f"Stop and remove {count(len(plan.changes), 'vassal')}?", abort=True)
            done = remove_all(reconciler, manager, waiting=_waiting)
    finally:
        bar.close()
    tell_run(done.changes, (), user_manager=paths.user_manager)
    output.print_changes(done.changes, planned=False)
    output.print_line(output.summary(done.changes, (), len(done.changes)))


@cli.command()
@settings_options
@click.argument("vassal")
def retry(*, vassal: str, **given: Any) -> None:
    """Try a VASSAL at once that failed, or that asked not to be started again."""
    from bridge.cli import output
    from bridge.lifecycle.journal import tell_run
    from bridge.systemd.manager import connected

    invocation = resolve(given, needs_vassals=False, looks_for_emperor=False)
    with connected(invocation.paths) as manager:
        reconciler = _road(invocation.paths, invocation.settings, output.ProgressBar())
        changes = reconciler.retry(manager, vassal, waiting=_waiting)
    if not changes:
        raise _unknown(vassal)
    tell_run(changes, (), user_manager=invocation.paths.user_manager)
    output.print_changes(changes, planned=False)


@cli.command()
@settings_options
def watch(**given: Any) -> None:
    """Keep systemd true to the vassals, and tell their lives to the journal; until stopped."""
    from bridge.state.pauses import pause_reader
    from bridge.systemd.manager import connected
    from bridge.watch.configuration import LoadedConfig
    from bridge.watch.daemon import Daemon
    from bridge.watch.notifier import Notifier

    def make_setup() -> LoadedConfig:
        invocation = resolve(given)
        reconciler = _road(invocation.paths, invocation.settings, lambda *_: None)
        return LoadedConfig(reconciler=reconciler, settings=invocation.settings, configuration=invocation.configuration)

    paths = resolve(given).paths
    with connected(paths) as manager:
        Daemon(manager, make_setup, Notifier(user_manager=paths.user_manager, pause=pause_reader(paths))).run()


def main() -> None:
    """Run the command line; the exit status is 0 all well, 1 something was refused or failed, 2 wrong usage."""
    for stream in (sys.stdout, sys.stderr):
        # A name need not be printable in the terminal's encoding.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        cli.main(standalone_mode=True)
    except BridgeError as error:
        sys.stderr.write(f"{error.diagnostic}\n")
        sys.exit(2 if error.diagnostic.code in {"settings", "no-vassals", "monitor-unknown"} else 1)
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing more may be written, not even at exit.
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


def _road(paths: Paths, settings: Settings, tell: Progress) -> Reconciler:
    from bridge.reconcile.reconciler import Reconciler

    return Reconciler(paths, settings, tell)


def _waiting() -> None:
    sys.stderr.write("another emperor-bridge is at work; waiting for it\n")
    sys.stderr.flush()


def _leave(diagnostics: Sequence[Diagnostic]) -> None:
    if errors(diagnostics):
        sys.exit(1)
