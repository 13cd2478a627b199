"""What ``status`` says of databases and brokers: as of when, and why they cannot be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.status.table import iso_time

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from bridge.mirror.state import MirrorState
    from bridge.monitors.base import Monitor
    from bridge.status.table import Row


@dataclass(frozen=True, kw_only=True, slots=True)
class MirrorStatus:
    """One database or broker."""

    monitor: str
    """Its id."""
    state: MirrorState
    is_asked: bool
    """Whether a daemon asks it, or listens to it."""

    def __str__(self) -> str:
        from bridge.monitors.row_problems import shown_time, unreachable

        state = self.state
        if state.since is not None:
            text = unreachable(state)
        elif state.asked is None:
            text = "it has not answered yet"
        else:
            text = f"as of {shown_time(state.asked)}"
        return f"{self.monitor}: {text}" + ("" if self.is_asked else "; nobody asks it: the daemon does not run")


def mirror_statuses(monitors: Collection[Monitor]) -> list[MirrorStatus]:
    """Return the status of each monitor that is a database or a broker."""
    from bridge.monitors.mirrored import MirroredMonitor

    mirrored = (monitor for monitor in monitors if isinstance(monitor, MirroredMonitor))
    return [MirrorStatus(monitor=m.id, state=m.state(), is_asked=m.folder.has_writer()) for m in mirrored]


def with_mirrors(rows: Iterable[Row], mirrors: Iterable[MirrorStatus]) -> list[Row]:
    """Return the rows of vassals, with what is known of the databases that they come from."""
    states = {mirror.monitor: mirror.state for mirror in mirrors}
    return [_with_state(row, states[row.monitor]) if row.monitor in states else row for row in rows]


def _with_state(row: Row, state: MirrorState) -> Row:
    return row._replace(
        as_of=_iso(state.asked),
        unreachable_since=_iso(state.since),
        unreachable=None if state.since is None else state.why,
    )


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else iso_time(round(seconds * 1e6))
