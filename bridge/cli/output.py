"""Print results: tables and progress for people, JSON for scripts. No other module prints."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from bridge.diagnostics import count, errors, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rich.progress import Progress, TaskID
    from rich.table import Table

    from bridge.check.socket_table import SocketRow
    from bridge.diagnostics import Diagnostic
    from bridge.model.change import Change
    from bridge.reconcile.actual import ActualState
    from bridge.reconcile.steps import Plan
    from bridge.status.table import Row

STATUS_VERSION = 1
"""Raised when a key of ``status --json`` is gone or means something else, and not for a new one."""
_PATIENCE = 0.5
"""Seconds of work before a progress bar is drawn."""
_COLORS = {"listening": "36", "starting": "33", "running": "32", "failed": "31", "refused": "31"}
"""The numbers of ECMA-48, "SGR"."""


def print_line(text: str) -> None:
    """Print one line to standard output."""
    sys.stdout.write(text + "\n")


def print_diagnostics(diagnostics: Iterable[Diagnostic]) -> None:
    """Print problems to standard error, one a line."""
    for diagnostic in diagnostics:
        sys.stderr.write(f"{diagnostic}\n")


def print_found_ini(path: str | None) -> None:
    """Print to standard error which emperor.ini is read because it was found in a usual place."""
    if path is not None:
        sys.stderr.write(f"reading {printable(path)} (no bridge.toml names vassals)\n")


def print_json(value: object) -> None:
    """Print a value as JSON for scripts."""
    import json

    # In ASCII: a path may not be valid UTF-8, and the terminal's encoding may not have every character.
    print_line(json.dumps(value, indent=2))


def diagnostics_json(diagnostics: Iterable[Diagnostic]) -> list[dict[str, object]]:
    """Return problems in the form of ``check --json``."""
    return [asdict(diagnostic) for diagnostic in diagnostics]


def changes_json(changes: Iterable[Change]) -> list[dict[str, object]]:
    """Return changes in the form of ``sync --json``."""
    return [asdict(change) for change in changes]


def sync_json(
    changes: Iterable[Change], diagnostics: Iterable[Diagnostic], vassals: int, *, dry_run: bool
) -> dict[str, object]:
    """Return what a run did in the form of ``sync --json``."""
    return {
        "dry_run": dry_run,
        "vassals": vassals,
        "changes": changes_json(changes),
        "diagnostics": diagnostics_json(diagnostics),
    }


def status_json(rows: Iterable[Row]) -> list[dict[str, object]]:
    """Return all vassals in the form of ``status --json``."""
    version: dict[str, object] = {"version": STATUS_VERSION}
    return [version | row._asdict() for row in rows]


def print_changes(changes: Sequence[Change], *, planned: bool) -> None:
    """Print a line for each change to a vassal."""
    for change in changes:
        print_line(printable(change.planned if planned else str(change)))


def summary(
    changes: Sequence[Change], diagnostics: Sequence[Diagnostic], vassals: int, *, places: Iterable[str] = ()
) -> str:
    """Return the line that sums up a run. If there are no vassals, it names the ``places`` where they were looked for.

    ``changes`` and ``diagnostics`` are all of the run's.
    """
    counts: dict[str, int] = {}
    for change in changes:
        counts[change.verb] = counts.get(change.verb, 0) + 1
    done = ", ".join(f"{number} {verb}" for verb, number in counts.items()) or "nothing to do"
    bad = len(errors(diagnostics))
    trouble = f"; {count(bad, 'problem')}" if bad else ""
    looked = ", ".join(map(printable, places)) if not vassals else ""
    return f"{count(vassals, 'vassal')}{f' in {looked}' if looked else ''}: {done}{trouble}"


def repeated(number: int) -> str:
    """Return what to add to the summary if so many warnings of the last run are not printed again."""
    return f"; {count(number, 'warning')} as before (emperor-bridge check lists them)" if number else ""


def print_diff(plan: Plan, actual: ActualState) -> None:
    """Print a plan: the changes to unit files as one unified diff, and the units to stop, start and reload."""
    for unit, text in sorted(plan.write.items()):
        file = actual.files.get(unit)
        _print_lines(_diff(unit, file.text if file else "", text))
    for unit in sorted(plan.remove):
        _print_lines(_diff(unit, actual.files[unit].text, ""))
    for verb, units in (("stop", plan.stop), ("start", plan.start), ("reload", plan.reload)):
        for unit in units:
            print_line(f"{verb} {unit}")


def _diff(unit: str, before: str, after: str) -> Iterator[str]:
    import difflib

    return difflib.unified_diff(
        _lines(before), _lines(after),
        f"a/{unit}" if before else "/dev/null", f"b/{unit}" if after else "/dev/null")  # fmt: skip


def _lines(text: str) -> list[str]:
    # Not splitlines(): a line of a unit file may have other characters that it takes for a line's end.
    return [f"{line}\n" for line in text.removesuffix("\n").split("\n")] if text else []


def _print_lines(lines: Iterable[str]) -> None:
    """Print lines of unit files; a tenant's text in them must not reach the terminal as it is."""
    sys.stdout.writelines("\t".join(map(printable, line.removesuffix("\n").split("\t"))) + "\n" for line in lines)


def print_units(texts: Mapping[str, str]) -> None:
    """Print unit files, each below its name."""
    for unit, text in texts.items():
        _print_lines([f"# {unit}", *text.split("\n")])


def print_table(rows: Sequence[Row]) -> None:
    """Print the table of ``status``: plain text like that of ``ps``, with colors on a terminal."""
    _print_columns(*_cells(rows))


def print_sockets(rows: Iterable[SocketRow]) -> None:
    """Print the table of ``check --sockets``."""
    cells = [
        [printable(row.vassal), row.way, " ".join(map(printable, row.sockets)) or "-", printable(row.reason)]
        for row in rows
    ]
    _print_columns(["VASSAL", "SOCKET IS", "SYSTEMD LISTENS ON", "WHY ALWAYS"], cells)


def _print_columns(headings: list[str], cells: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    is_terminal = sys.stdout.isatty()
    lines = []
    for row in (headings, *cells):
        padded = [text.ljust(width) for text, width in zip(row, widths, strict=True)]
        if is_terminal:
            padded[1] = f"\x1b[{_COLORS.get(row[1], '0')}m{padded[1]}\x1b[0m"
        lines.append("  ".join(padded).rstrip() + "\n")
    sys.stdout.writelines(lines)
    sys.stdout.flush()


def print_event(vassal: str, event: str, text: str) -> None:
    """Print a line for an event of a vassal, with the time."""
    print_line(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {printable(vassal)}: {event}, {printable(text)}")
    sys.stdout.flush()


@contextmanager
def live_table() -> Iterator[Callable[[Sequence[Row]], None]]:
    """Yield a function that redraws a table on the terminal, with as many rows as the terminal has room for."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)

    def draw(rows: Sequence[Row]) -> None:
        room = max(1, console.height - 3)
        table = _table(rows[:room])
        table.caption = f"and {len(rows) - room} more" if len(rows) > room else None
        live.update(table, refresh=True)

    with Live(console=console, auto_refresh=False, screen=False, vertical_overflow="crop") as live:
        yield draw


def _table(rows: Sequence[Row]) -> Table:
    from rich.table import Table
    from rich.text import Text

    headings, cells = _cells(rows)
    table = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left")
    for heading in headings:
        table.add_column(heading, no_wrap=heading != "NOTE", overflow="fold")
    for row in cells:
        state = Text.from_ansi(f"\x1b[{_COLORS.get(row[1], '0')}m{row[1]}\x1b[0m")
        table.add_row(Text(row[0]), state, *map(Text, row[2:]))
    return table


def _cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the cells of the table of ``status``."""
    headings = ["VASSAL", "STATE", "MODE", "SOCKET", "PID", "SINCE"]
    if any(row.note for row in rows):
        headings.append("NOTE")
    cells = [
        [
            printable(row.vassal),
            row.state,
            row.mode or "-",
            printable(row.socket or "-") + (f" +{len(row.sockets) - 1}" if len(row.sockets) > 1 else ""),
            str(row.pid or "-"),
            (row.since or "-")[:19].replace("T", " "),
            printable(row.note),
        ][: len(headings)]
        for row in rows
    ]
    return headings, cells


class ProgressBar:
    """A progress bar, drawn only on a terminal and only for work that takes long."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Draw how many steps of a stage are done."""
        if not sys.stderr.isatty() or time.monotonic() - self._began < _PATIENCE:
            return
        if self._progress is None:
            from rich.console import Console
            from rich.progress import Progress

            self._progress = Progress(console=Console(stderr=True), transient=True)
            self._progress.start()
        if stage not in self._tasks:
            for earlier in self._progress.tasks:
                self._progress.update(earlier.id, completed=earlier.total)
            self._tasks[stage] = self._progress.add_task(stage, total=total)
        self._progress.update(self._tasks[stage], completed=done, total=total)

    def close(self) -> None:
        """Remove the bar from the terminal."""
        if self._progress is not None:
            self._progress.stop()
