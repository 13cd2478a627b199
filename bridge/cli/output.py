"""How results are shown: tables and progress for people, JSON for scripts. Nothing else prints."""

from __future__ import annotations

import difflib
import json
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from bridge.diagnostics import count, errors, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.progress import Progress, TaskID
    from rich.table import Table

    from bridge.diagnostics import Diagnostic
    from bridge.model.change import Change
    from bridge.reconcile.actual import ActualState
    from bridge.reconcile.plan import Plan
    from bridge.status.table import Row

_PATIENCE = 0.5
"""Seconds before a progress bar is worth showing."""
_COLORS = {"listening": "36", "starting": "33", "running": "32", "failed": "31", "refused": "31"}
"""By the numbers of ECMA-48, "SGR"."""


def print_line(text: str) -> None:
    """Print one line of result."""
    sys.stdout.write(text + "\n")


def print_diagnostics(diagnostics: Iterable[Diagnostic]) -> None:
    """Print problems to standard error, one a line."""
    for diagnostic in diagnostics:
        sys.stderr.write(f"{diagnostic}\n")


def print_json(value: object) -> None:
    """Print a value as JSON for scripts."""
    # In ASCII: a path need not be valid UTF-8, nor the terminal's encoding hold every name.
    print_line(json.dumps(value, indent=2))


def diagnostics_json(diagnostics: Iterable[Diagnostic]) -> list[dict[str, object]]:
    """Return problems in the form of ``check --json``."""
    return [asdict(diagnostic) for diagnostic in diagnostics]


def changes_json(changes: Iterable[Change]) -> list[dict[str, object]]:
    """Return what was done in the form of ``sync --json``."""
    return [asdict(change) for change in changes]


def row_json(row: Row) -> dict[str, object]:
    """Return a vassal in the form of ``status --json``."""
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


def print_changes(changes: Sequence[Change], *, planned: bool) -> None:
    """Print a line for each vassal that changed."""
    for change in changes:
        print_line(printable(change.planned if planned else str(change)))


def summary(changes: Sequence[Change], diagnostics: Sequence[Diagnostic], vassals: int) -> str:
    """Return the one line that sums a sync up."""
    counts: dict[str, int] = {}
    for change in changes:
        counts[change.verb] = counts.get(change.verb, 0) + 1
    done = ", ".join(f"{number} {verb}" for verb, number in counts.items()) or "nothing to do"
    bad = len(errors(diagnostics))
    trouble = f"; {count(bad, 'problem')}" if bad else ""
    return f"{count(vassals, 'vassal')}: {done}{trouble}"


def print_diff(plan: Plan, actual: ActualState) -> None:
    """Print what a plan would change in the unit files as one unified diff, and what it would start and stop."""
    for unit, text in sorted(plan.write.items()):
        file = actual.files.get(unit)
        _say_lines(_diff(unit, file.text if file else "", text))
    for unit in sorted(plan.remove):
        _say_lines(_diff(unit, actual.files[unit].text, ""))
    for verb, units in (("stop", plan.stop), ("start", plan.start), ("reload", plan.reload)):
        for unit in units:
            print_line(f"{verb} {unit}")


def _diff(unit: str, before: str, after: str) -> Iterator[str]:
    return difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True),
        f"a/{unit}" if before else "/dev/null", f"b/{unit}" if after else "/dev/null")  # fmt: skip


def _say_lines(lines: Iterable[str]) -> None:
    sys.stdout.writelines(lines)


def print_table(rows: Sequence[Row]) -> None:
    """Print the table of ``status``: as plain as ``ps``, with colors on a terminal."""
    headings, cells = _cells(rows)
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
    """Print a line for what happened to a vassal just now."""
    print_line(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {printable(vassal)}: {event}, {printable(text)}")
    sys.stdout.flush()


@contextmanager
def live_table() -> Iterator[Callable[[Sequence[Row]], None]]:
    """Take the terminal over for a table that changes; yield what draws it anew, as much of it as there is room for."""
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
            printable(row.socket or "-"),
            str(row.pid or "-"),
            (row.since or "-")[:19].replace("T", " "),
            printable(row.note),
        ][: len(headings)]
        for row in rows
    ]
    return headings, cells


class ProgressBar:
    """A progress bar on a terminal, for work that takes long; elsewhere, and for quick work, nothing."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage has come."""
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
        """Take the bar off the terminal."""
        if self._progress is not None:
            self._progress.stop()
