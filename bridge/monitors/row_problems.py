"""What is wrong with a database or a broker, and with its rows, in the words of diagnostics. Pure."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from bridge.diagnostics import Diagnostic, Severity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from bridge.mirror.state import MirrorState
    from bridge.mirror.store import MirrorFolder


class Place(NamedTuple):
    """What a diagnostic names in place of a file and a line."""

    monitor: str
    """The monitor's id."""
    folder: MirrorFolder

    def problem(self, code: str, message: str, hint: str, name: str = "") -> Diagnostic:
        """Return a diagnostic about a row, or without a name about the whole monitor."""
        if not name:
            return Diagnostic(code=code, path=self.monitor, message=message, hint=hint)
        return Diagnostic(
            code=code,
            path=origin(self.monitor, name),
            vassal=name,
            config=name if "/" in name else self.folder.config(name),
            key=f"{self.monitor}:{name}",
            message=message,
            hint=hint,
        )


def origin(monitor: str, name: str) -> str:
    """Return where people find a row: the monitor's id and its name."""
    return f"{monitor} {name}"


def about_state(place: Place, state: MirrorState, unit: str) -> Iterator[Diagnostic]:
    """Yield what is wrong with the whole monitor; ``unit`` is the service that asks it."""
    if state.since is not None:
        yield place.problem("monitor-unreachable", unreachable(state), state.hint)
    elif state.asked is None:
        silent = place.problem(
            "monitor-silent",
            "it has not answered yet, so nothing is known of its vassals",
            f"emperor-bridge watch asks it; see systemctl status {unit}",
        )
        yield replace(silent, severity=Severity.WARNING)
    if state.more_notes:
        yield place.problem(
            "more-problems", f"and {state.more_notes:,} more problems with its rows", "mend those that are shown"
        )


def about_rows(place: Place, state: MirrorState, names: Collection[str] | None) -> Iterator[Diagnostic]:
    """Yield what was noted of the rows with these names, or of all rows, and of what concerns no single row."""
    for note in state.notes:
        if names is None or note.name in names:
            # A feeder's code is no more than a word.
            code = re.sub(r"[^a-z-]", "", note.code) or "row"
            problem = place.problem(code, note.message, note.hint, note.name)
            yield replace(problem, severity=Severity.WARNING) if note.is_warning else problem


def about_missing(place: Place, name: str, path: str) -> Diagnostic:
    """Return the warning about a row whose config is a file that is not there."""
    hint = "it runs as soon as the file is there"
    return replace(place.problem("config-vanished", f"there is no {path}", hint, name), severity=Severity.WARNING)


def unreachable(state: MirrorState) -> str:
    """Return as of when the mirror is, since when the server cannot be asked, and why."""
    known = "nothing is known of its vassals yet" if state.asked is None else f"as of {shown_time(state.asked)}"
    return f"{known}; cannot be asked since {shown_time(state.since or 0.0)}: {state.why}"


def shown_time(seconds: float) -> str:
    """Return a time, given in seconds since the epoch, as people read it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
