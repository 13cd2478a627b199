"""Changes the mirror on disk: all of an answer or nothing of it, and each file whole or not at all.

Everything is written beside what is there and flushed before the first file takes its place. A row counts by its note,
which takes its place last. So a process that is killed at any moment leaves each row as it was or as it is to be, and
the next answer finds what is missing.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.diagnostics import count
from bridge.feeder.protocol import BYTES_MAX, ROWS_MAX
from bridge.host.acl import let_read
from bridge.host.files import flush, remove_if_there
from bridge.mirror.rows import encode_row, mirrored, named_users

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from bridge.feeder.protocol import Row
    from bridge.mirror.rows import MirroredRow, Version
    from bridge.mirror.state import MirrorState
    from bridge.mirror.store import MirrorFolder


class LimitError(Exception):
    """The server has more than is taken. The message is for admins."""


class MirrorWriter:
    """The one process that writes a mirror, and what it knows of the rows there."""

    def __init__(self, folder: MirrorFolder, *, reader: int | None = None, is_tyrant: bool = False) -> None:
        """Nothing is touched before :meth:`open`.

        Args:
            folder: where the mirror is.
            reader: the user as whom vassals are started, if that is not the owner of the row, nor root.
            is_tyrant: whether the user of a row reads its text.
        """
        self.folder = folder
        self._reader = reader
        self._is_tyrant = is_tyrant
        self.state: MirrorState | None = None
        """What the process that has the mirror knows of the monitor, though the disk may have no room for it."""
        self._lock = -1
        self._known: dict[str, Version] | None = None

    def open(self) -> bool:
        """Take the mirror for this process; False if another one has it. What a killed one left half done is removed.

        Raises:
            OSError: the folders cannot be made or read.
        """
        folder = self.folder
        for path, mode in ((folder.path, 0o711), (folder.configs, 0o711), (folder.rows, 0o700)):
            _make(path, mode)
        for path in (folder.paths, folder.new):
            _make(path, 0o700)
        lock = os.open(folder.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return False
        self._lock = lock
        for name in os.listdir(folder.new):
            remove_if_there(f"{folder.new}/{name}")
        return True

    def close(self) -> None:
        """Leave the mirror to another process."""
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1
        self.state = None

    @property
    def known(self) -> dict[str, Version]:
        """The versions of all rows by name, which are read when they are first needed.

        Raises:
            OSError: the mirror cannot be read.
        """
        if self._known is None:
            texts = set(os.listdir(self.folder.configs))
            rows = list(self.folder.read_all())
            for name in set(os.listdir(self.folder.rows)) - {row.name for row in rows if row.has_text}:
                # It is damaged, and nothing would ever replace it.
                remove_if_there(f"{self.folder.rows}/{name}")
            is_whole = {row.name: not row.has_text or row.name in texts for row in rows}
            # A row without its text is known as one with another text.
            self._known = {r.name: r.version if is_whole[r.name] else r.version._replace(text=-1) for r in rows}
        return self._known

    def forget(self) -> None:
        """Read the mirror again when it is next needed."""
        self._known = None

    @property
    def is_open(self) -> bool:
        """Whether this process has the mirror."""
        return self._lock >= 0

    def settle(self, is_used: Callable[[str], bool]) -> None:
        """Remove the texts of rows that are gone, but those with names of which a vassal still has units.

        Raises:
            OSError: the file system refuses.
        """
        if self.is_open:
            for name in set(os.listdir(self.folder.configs)) - self.known.keys():
                if not is_used(name):
                    remove_if_there(self.folder.config(name))

    def readers(self, row: Row) -> list[int]:
        """Return the users who must be able to read a row's text, beside root."""
        if self._is_tyrant:
            return [row.uid] if row.uid else []
        chosen = [self._reader] if self._reader else []
        return [*chosen, *named_users(row.config or "")]


class Change:
    """Rows that are about to be new, changed or gone. Ends with :meth:`commit` or :meth:`abort`."""

    def __init__(self, writer: MirrorWriter, *, is_whole: bool) -> None:
        """Begin. With ``is_whole``, the rows that are put are all there are: the others are gone."""
        self._writer = writer
        self._folder = writer.folder
        self._is_whole = is_whole
        self._put: dict[str, MirroredRow] = {}
        """The rows that are not as the mirror has them. Their files are in the folder ``new``."""
        self._numbers: dict[str, int] = {}
        self._texts: set[str] = set()
        """The names of those whose text is written anew."""
        self._gone: set[str] = set()
        self._kept: set[str] = set()
        """The names of all rows that stay, new or not."""
        self._bytes = 0 if is_whole else sum(one.size for one in writer.known.values())

    def put(self, row: Row) -> None:
        """Add a judged row, or replace it. One that only says that it is touched keeps what the mirror has of it.

        Raises:
            LimitError: the server has more rows, or more text, than the mirror takes.
            OSError: it cannot be written.
        """
        known = self._writer.known.get(row.name)
        if row.keep_known and (before := self._put.get(row.name) or self._known(row.name)):
            new = replace(before, ts=max(before.ts, row.ts))
        else:
            new = mirrored(row, self._writer.readers(row))
        self._count(new, known)
        self._gone.discard(row.name)
        is_touched = known is None or new.ts > known.ts
        if not is_touched and known is not None:
            if row.name not in self._put and known[:2] == new.version[:2]:
                return
            new = replace(new, ts=known.ts)
        is_other = is_touched or known is None or known.text != new.text or row.name in self._texts
        has_new_text = row.config is not None and is_other
        self._stage(new, row.config if has_new_text else None, self._writer.readers(row))

    def keep(self, name: str) -> None:
        """Leave a row as it is, if the mirror has it: what the server says of it now cannot be used."""
        self._kept.add(name)

    def remove(self, name: str) -> None:
        """Have a row gone."""
        self._drop(name)
        self._kept.discard(name)
        self._gone.add(name)

    def abort(self) -> None:
        """Leave the mirror as it is."""
        for name in list(self._put):
            self._drop(name)

    def commit(self) -> bool:
        """Put everything in its place, and have it on disk; tell whether anything changed.

        Raises:
            OSError: the file system refuses. What is in place by then stays, and the next answer brings the rest.
        """
        gone = self._gone & self._writer.known.keys()
        if self._is_whole:
            gone |= self._writer.known.keys() - self._kept
        if not self._put and not gone:
            return False
        try:
            flush(self._folder.new)
            for name in list(self._put):
                self._place(name, self._put[name])
                del self._put[name]
            for name in gone:
                self._unlink(name)
            flush(self._folder.rows)
        except OSError:
            self._writer.forget()
            self.abort()
            raise
        return True

    def _known(self, name: str) -> MirroredRow | None:
        is_there = name in self._writer.known and name not in self._gone
        return self._folder.read(name) if is_there else None

    def _count(self, new: MirroredRow, known: Version | None) -> None:
        is_counted = new.name in self._kept or (known is not None and not self._is_whole)
        before = self._put[new.name].size if new.name in self._put else known.size if known and is_counted else 0
        self._bytes += new.size - before
        self._kept.add(new.name)
        rows = len(self._kept) if self._is_whole else len(self._kept | self._writer.known.keys())
        if rows > ROWS_MAX:
            raise LimitError(f"there are more than {count(ROWS_MAX, 'row')}")
        if self._bytes > BYTES_MAX:
            raise LimitError(f"the configs have more than {BYTES_MAX:,} bytes in all")

    def _stage(self, new: MirroredRow, text: str | None, readers: Collection[int]) -> None:
        number = self._numbers.setdefault(new.name, len(self._numbers))
        self._put[new.name] = new
        if text is not None:
            _write(f"{self._folder.new}/{number}.config", text.encode(), readers)
            self._texts.add(new.name)
        _write(f"{self._folder.new}/{number}.row", encode_row(new), ())

    def _place(self, name: str, row: MirroredRow) -> None:
        staged = f"{self._folder.new}/{self._numbers[name]}"
        known = self._writer.known.pop(name, None)
        if name in self._texts:
            os.rename(f"{staged}.config", self._folder.config(name))
        elif row.has_text and known is not None and row.ts > known.ts:
            # Touched: the vassal is to be reloaded with the text that it has.
            os.utime(self._folder.config(name))
        os.rename(f"{staged}.row", self._folder.note(name, has_text=row.has_text))
        if known is not None and bool(known.text) != row.has_text:
            remove_if_there(self._folder.note(name, has_text=not row.has_text))
        self._writer.known[name] = row.version

    def _unlink(self, name: str) -> None:
        known = self._writer.known.pop(name)
        remove_if_there(self._folder.note(name, has_text=bool(known.text)))

    def _drop(self, name: str) -> None:
        self._put.pop(name, None)
        self._texts.discard(name)
        if (number := self._numbers.get(name)) is not None:
            for kind in ("config", "row"):
                with suppress(OSError):
                    remove_if_there(f"{self._folder.new}/{number}.{kind}")


def _make(path: str, mode: int) -> None:
    os.makedirs(path, mode=mode, exist_ok=True)
    with suppress(PermissionError):
        os.chmod(path, mode)


def _write(path: str, content: bytes, readers: Collection[int]) -> None:
    """Write a file anew, readable by root and these users only."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o600)
    except FileExistsError:
        # An earlier version of this row, in the same change.
        os.unlink(path)
        fd = os.open(path, flags, 0o600)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(fd, left) :]
        let_read(fd, readers)
    finally:
        os.close(fd)
