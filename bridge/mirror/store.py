"""The mirror of one monitor on disk, as everybody reads it: each row is a note, and most rows have a config beside it.

- ``configs/NAME``: the text of a row, which uWSGI reads.
- ``rows/NAME``: its note, which counts: a row without one is gone.
- ``paths/DIGEST``: the note of a row that has no text, as its name is the path of a config.
- ``state.json``: see :mod:`bridge.mirror.state`.
- ``new/``: what is being written. ``lock``: held by the process that writes.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.host.files import read_regular
from bridge.mirror.rows import decode_row
from bridge.model.digest import blake2b

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.mirror.rows import MirroredRow

NOTE_MAX = 4096
"""Bytes of a note: a name of 254 bytes takes six times as many at most, as JSON."""


@dataclass(frozen=True, slots=True)
class MirrorFolder:
    """The folder of one monitor's mirror."""

    path: str

    @property
    def configs(self) -> str:
        """The folder of the texts."""
        return f"{self.path}/configs"

    @property
    def rows(self) -> str:
        """The folder of the notes of rows with a text."""
        return f"{self.path}/rows"

    @property
    def paths(self) -> str:
        """The folder of the notes of rows without a text."""
        return f"{self.path}/paths"

    @property
    def new(self) -> str:
        """The folder of what is being written."""
        return f"{self.path}/new"

    @property
    def lock(self) -> str:
        """The file that the process locks that writes here."""
        return f"{self.path}/lock"

    def has_writer(self) -> bool:
        """Tell whether a process keeps the mirror up to date, as far as this one may know."""
        try:
            fd = os.open(self.lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            return isinstance(error, PermissionError)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(fd)
        return False

    def config(self, name: str) -> str:
        """Return where the text of a row is, or would be."""
        return f"{self.configs}/{name}"

    def note(self, name: str, *, has_text: bool) -> str:
        """Return where the note of a row is, or would be."""
        if has_text:
            return f"{self.rows}/{name}"
        digest = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        return f"{self.paths}/{digest}"

    def read(self, name: str) -> MirroredRow | None:
        """Return the row of this name; None if there is none."""
        rows = (self._read(self.note(name, has_text=has_text)) for has_text in (True, False))
        return next((row for row in rows if row is not None and row.name == name), None)

    def read_all(self) -> Iterator[MirroredRow]:
        """Yield every row, those with a text first, each kind in the order of its files' names.

        Raises:
            OSError: the folder is not there, or cannot be read.
        """
        for folder in (self.rows, self.paths):
            for name in sorted(os.listdir(folder)):
                row = self._read(f"{folder}/{name}")
                if row is not None and self.note(row.name, has_text=row.has_text) == f"{folder}/{name}":
                    yield row

    def read_paths(self) -> list[MirroredRow]:
        """Return the rows without a text; none if the folder cannot be read."""
        with suppress(OSError):
            rows = (self._read(f"{self.paths}/{name}") for name in sorted(os.listdir(self.paths)))
            return [row for row in rows if row is not None]
        return []

    def names(self) -> list[str]:
        """Return the names of all rows.

        Raises:
            OSError: the folder is not there, or cannot be read.
        """
        return [*os.listdir(self.rows), *(row.name for row in self.read_paths())]

    def _read(self, path: str) -> MirroredRow | None:
        with suppress(OSError, ValueError):
            return decode_row(read_regular(path, max_bytes=NOTE_MAX))
        return None
