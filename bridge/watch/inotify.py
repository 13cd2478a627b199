"""Watch folders with inotify(7), and hold changed files back while a process still writes them."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import stat
import time
from typing import TYPE_CHECKING

from inotify_simple import INotify, flags

from bridge.host.path_watch import leads_on, of_interest

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
_NO_ROOM = frozenset({errno.ENOSPC, errno.ENOMEM})
"""What the kernel says if it allows no more watches (inotify_add_watch(2))."""
_GONE = flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT | flags.IGNORED


class FileWatch:
    """The folders that the kernel watches, and the files in them that are being written."""

    def __init__(self) -> None:
        self._inotify = INotify(nonblocking=True)
        self._by_descriptor: dict[int, str] = {}
        self._descriptors: dict[str, int] = {}
        self._names: Mapping[str, set[str]] = {}
        self.open: set[str] = set()
        """Files that a process wrote to and has not closed: their content is not complete."""
        self.written_at = 0.0
        """When such a file was last written to, by ``time.monotonic()``; infinite once :meth:`resolve` asked."""

    def fileno(self) -> int:
        """Return the inotify descriptor."""
        descriptor: int = self._inotify.fileno()
        return descriptor

    def close(self) -> None:
        """Stop watching. The daemon never does, for it watches as long as its process lives."""
        self._inotify.close()

    def watch(self, names: Mapping[str, set[str]]) -> set[str]:
        """Watch these names in these folders and nothing else; return the folders that were not watched before.

        Changes in a new folder before this call were not seen. A folder that does not exist is skipped: the names
        include it in its parent.

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
            except OSError as error:
                if error.errno in _NO_ROOM:
                    raise
                # It is not there, or nobody can reach it, such as a folder behind a loop of links.
                continue
            # The kernel gives one descriptor for one folder, also by a second path (a bind mount).
            self._by_descriptor[descriptor] = folder
            self._descriptors[folder] = descriptor
            added.add(folder)
        return added

    def changed(self, is_known: Callable[[str], bool]) -> set[str] | None:
        """Read all events; return the changed paths, or None if any path may have changed.

        Paths that are still being written are left out, and so are those that ``is_known`` accepts.
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
            elif of_interest(names := self._names.get(folder, ()), event.name):
                path = f"{folder.rstrip('/')}/{event.name}"
                if self._is_finished(path, event.mask) and not is_known(path):
                    paths.add(path)
                    is_clear = is_clear and not (event.mask & flags.ISDIR and leads_on(names, event.name))
        return paths if is_clear else None

    def resolve(self) -> set[str]:
        """Return the files that no process has open for writing any more, and count them as finished.

        The kernel sends no event when a file is finished by other means than closing it.
        """
        finished = {path for path in self.open if not _has_writer(path)}
        self.open -= finished
        self.written_at = math.inf
        return finished

    def _is_finished(self, path: str, mask: int) -> bool:
        """Return whether the event is a finished change of the path; remember the path if it is being written."""
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
                # The folder was deleted, and the kernel has dropped its watch.
                return

    def _forget(self, descriptor: int, folder: str) -> None:
        self._by_descriptor.pop(descriptor, None)
        self._descriptors.pop(folder, None)


def _has_writer(path: str) -> bool:
    """Return whether a process has the file open for writing: then the kernel grants no read lease (fcntl(2))."""
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
    """Return whether a file that just appeared may still be written: a symlink, a hard link or a device is complete."""
    try:
        info = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(info.st_mode) and info.st_nlink == 1
