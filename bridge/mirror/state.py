"""What is known of a monitor beside its rows: when it was asked, why it cannot be, what is wrong with its rows."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

from bridge.diagnostics import TEXT_MAX, cut
from bridge.feeder.protocol import NOTES_MAX, Note
from bridge.host.files import read_regular, write_all

_NAME_MAX = 255
_FILE_MAX = 8 * 1024 * 1024
"""Bytes of the file that are read: more than ``NOTES_MAX`` notes have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MirrorState:
    """The state of a monitor. Times are in seconds since the epoch."""

    asked: float | None = None
    """When it last said what it has. None: never."""
    since: float | None = None
    """Since when it cannot be asked. None: it can."""
    why: str = ""
    """Why it cannot be asked."""
    hint: str = ""
    notes: tuple[Note, ...] = ()
    """What is wrong with rows, or worth a warning."""
    more_notes: int = 0
    """How many notes there were beside these."""

    def well(self, now: float) -> MirrorState:
        """Return the state once the monitor has answered."""
        return replace(self, asked=now, since=None, why="", hint="")

    def trouble(self, now: float, why: str, hint: str) -> MirrorState:
        """Return the state once the monitor could not be asked. Why that began is kept up to date."""
        return replace(self, since=self.since or now, why=cut(why, TEXT_MAX), hint=cut(hint, TEXT_MAX))

    def noting(self, notes: list[Note], more: int = 0) -> MirrorState:
        """Return the state with these notes instead of those it has."""
        kept = tuple(_short(note) for note in notes[:NOTES_MAX])
        return replace(self, notes=kept, more_notes=more + len(notes) - len(kept))

    def looks_like(self, other: MirrorState) -> bool:
        """Tell whether both lead to the same problems and vassals; the time of the last answer may differ."""
        return (self.asked is None) == (other.asked is None) and replace(self, asked=other.asked) == other


def read_state(folder: str) -> MirrorState:
    """Read the state in a mirror's folder; one that is missing or damaged is that of a monitor never asked."""
    try:
        body = json.loads(read_regular(f"{folder}/state.json", max_bytes=_FILE_MAX))
        notes = tuple(Note(**note) for note in body.pop("notes"))
        return MirrorState(**body, notes=notes)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return MirrorState()


def write_state(folder: str, state: MirrorState) -> None:
    """Write the state, whole or not at all.

    Raises:
        OSError: the disk or the file system refuses.
    """
    write_all(folder, {"state.json": json.dumps(asdict(state), indent=1)}, mode=0o600)


def _short(note: Note) -> Note:
    return replace(
        note,
        code=cut(note.code, 40),
        message=cut(note.message, TEXT_MAX),
        hint=cut(note.hint, TEXT_MAX),
        name=cut(note.name, _NAME_MAX),
    )
