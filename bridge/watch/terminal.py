"""Print the daemon's lines where a person started it by hand."""

from __future__ import annotations

import sys

from bridge.diagnostics import printable


def print_line(text: str) -> None:
    """Print a line if standard error is a terminal: under systemd it is the journal, which has the entry already."""
    if sys.stderr.isatty():
        sys.stderr.write(printable(text) + "\n")
