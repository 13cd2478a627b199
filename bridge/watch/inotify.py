"""What the kernel tells of files: the rim of the watch daemon that speaks inotify(7)."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import stat
import time
from typing import TYPE_CHECKING

from inotify_simple import INotify, flags

from bridge.host.path_watch import of_interest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MASK = (
    flags.CREATE
    | flags.MODIFY
    | flags.ATTRIB
    | flags.CLOSE_WRITE
    | flags.DELETE
    | flags.MOVED_FROM
    | flags.MOVED_TO
    | flags.DELETE_SELF
    | flags.MOVE_SELF
    | flags.ONLYDIR
    | flags.EXCL_UNLINK
)
_GONE = flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT | flags.IGNORED


class FileWatch:
    """The folders that are watched now, and the files in them that somebody is just writing."""

    def __init__(self) -> None:
        self._inotify = INotify(nonblocking=True)
        self._by_descriptor: dict[int, str] = {}
        self._descriptors: dict[str, int] = {}
        self._names: Mapping[str, set[str]] = {}
        self.open: set[str] = set()
        """Files written to and not yet closed: what is in them is not what will be."""
        self.written_at = 0.0
        """When such a file was last written to, by ``time.monotonic()``."""

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        descriptor: int = self._inotify.fileno()
        return descriptor

    def close(self) -> None:
        """Stop watching."""
        self._inotify.close()

    def watch(self, names: Mapping[str, set[str]]) -> set[str]:
        """Watch these names in these folders and nothing else; return the folders that are new among them.

        What happened in a new one before may have been missed. A folder that is not there is none: its parent is
        watched for it.

        Raises:
            OSError: the kernel allows no more watches (``fs.inotify.max_user_watches``).
        """
        self._names = names
        for folder in self._descriptors.keys() - names.keys():
            self._drop(folder)
        added: set[str] = set()
        for folder in names.keys() - self._descriptors.keys():
            try:
                descriptor = self._inotify.add_watch(folder, _MASK)
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue
            # The same folder by another path (a bind mount) has the same descriptor.
            self._by_descriptor[descriptor] = folder
            self._descriptors[folder] = descriptor
            added.add(folder)
        return added

    def changed(self, is_known: Callable[[str], bool]) -> set[str] | None:
        """Read all that happened; return the files it happened to, or None if it may have happened to any.

        A file that is still being written does not count, nor does one that ``is_known`` to be as it should.
        """
        paths: set[str] = set()
        is_clear = True
        for event in self._inotify.read(timeout=0):
            if event.mask & flags.Q_OVERFLOW:
                self.open.clear()
                is_clear = False
                continue
            folder = self._by_descriptor.get(event.wd)
            if folder is None:
                continue
            if event.mask & _GONE:
                self._forget(event.wd, folder)
                is_clear = False
            elif of_interest(self._names.get(folder, ()), event.name):
                path = f"{folder.rstrip('/')}/{event.name}"
                if self._note(path, event.mask) and not is_known(path):
                    paths.add(path)
                    is_clear = is_clear and not event.mask & flags.ISDIR
        return paths if is_clear else None

    def resolve(self) -> set[str]:
        """Take files that nobody has open for writing any more as finished, and return them.

        One that is made by other means than to open, write and close it, is never told to be closed.
        """
        finished = {path for path in self.open if not _has_writer(path)}
        self.open -= finished
        self.written_at = math.inf
        return finished

    def _note(self, path: str, mask: int) -> bool:
        if mask & flags.ISDIR:
            return not mask & flags.ATTRIB or bool(mask & ~(flags.ATTRIB | flags.ISDIR))
        if mask & flags.MODIFY or (mask & flags.CREATE and _is_being_written(path)):
            self.open.add(path)
            self.written_at = time.monotonic()
            return False
        self.open.discard(path)
        return True

    def _drop(self, folder: str) -> None:
        descriptor = self._descriptors.pop(folder)
        if self._by_descriptor.get(descriptor) == folder:
            del self._by_descriptor[descriptor]
            try:
                self._inotify.rm_watch(descriptor)
            except OSError:
                # The kernel has dropped it already, with the folder.
                return

    def _forget(self, descriptor: int, folder: str) -> None:
        self._by_descriptor.pop(descriptor, None)
        self._descriptors.pop(folder, None)


def _has_writer(path: str) -> bool:
    """Tell whether some process has the file open for writing: then the kernel grants no read lease (fcntl(2))."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    else:
        return False
    finally:
        os.close(fd)


def _is_being_written(path: str) -> bool:
    """Tell whether a file that just appeared was made to be written: a link or a device has all it will ever have."""
    try:
        info = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(info.st_mode) and info.st_nlink == 1
