"""What is known of a monitor beside its rows: when it was asked, why it cannot be, what is wrong with its rows."""

from __future__ import annotations

import json
import os
from contextlib import suppress
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
    """Write the state, whole or not at all. If there is no room for another file, it takes the place of the last one.

    Raises:
        OSError: the disk or the file system refuses.
    """
    text = json.dumps(asdict(state), indent=1).encode()
    try:
        write_all(folder, {"state.json": text}, mode=0o600)
    except OSError:
        if not _overwrite(f"{folder}/state.json", text):
            raise


def _overwrite(path: str, text: bytes) -> bool:
    """Write a file where it is, in one go, if it needs no more of the disk than it has; return whether it is done."""
    with suppress(OSError), open(path, "rb+", buffering=0) as file:
        has = os.fstat(file.fileno())
        if len(text) <= has.st_blocks * 512:
            # Spaces at the end are no part of JSON.
            return file.write(text.ljust(has.st_size)) >= len(text)
    return False


def _short(note: Note) -> Note:
    return replace(
        note,
        code=cut(note.code, 40),
        message=cut(note.message, TEXT_MAX),
        hint=cut(note.hint, TEXT_MAX),
        name=cut(note.name, _NAME_MAX),
    )
