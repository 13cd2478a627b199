"""Reads files that untrusted users may have prepared, and writes files atomically."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from bridge.host.found_file import CHUNK, FoundFile
from bridge.host.links import link_owners

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

TEMPORARY_PREFIX = ".emperor-bridge.tmp."
"""Prefix of files that are being written; a killed run may leave one behind."""


class FileError(OSError):
    """A file that exists but cannot or must not be read; the message is for admins."""


class ForeignFileError(FileError):
    """A file that others than those asked for made, or that a symlink of theirs leads to."""

    def __init__(self, owner: int) -> None:
        super().__init__(f"uid {owner} made it, or a symlink on the way to it")
        self.owner = owner


def read_regular(path: str, *, max_bytes: int) -> bytes:
    """Read a whole regular file of root's own folders.

    The call never blocks on a FIFO and never reads a device. It follows no symlink to a file
    that the symlink's owner may not read, because the bridge runs as root and quotes files in messages.

    Raises:
        FileNotFoundError: the file does not exist.
        FileError: it is no regular file, too large, not readable, or a symlink to a file that is not public.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            _check_link(path, status)
            return _read_bounded(fd, status, max_bytes)
        finally:
            os.close(fd)
    except (FileNotFoundError, FileError):
        raise
    except OSError as error:
        raise FileError(error.strerror) from error


def read_foreign(path: str, *, max_bytes: int, owners: frozenset[int] = frozenset()) -> bytes:
    """Read a whole regular file that others than root may have put there: it is judged before it is opened.

    If ``owners`` are given, they must have made the file, and the symlinks that lead to it. What somebody else puts at
    the path in the meantime is never read.

    Raises:
        FileNotFoundError: the file does not exist.
        ForeignFileError: somebody else than the ``owners`` made it.
        FileError: as for :func:`read_regular`, or it is a file of the kernel.
    """
    try:
        with FoundFile(path) as found:
            _check_owners(path, found.status, owners)
            _check_link(path, found.status)
            raw = found.read(max_bytes)
    except (FileNotFoundError, FileError):
        raise
    except OSError as error:
        _check_owners(path, None, owners)
        raise FileError(error.strerror) from error
    if len(raw) > max_bytes:
        raise FileError(f"it is larger than {max_bytes} bytes")
    return raw


def read_text(path: str, *, max_bytes: int = 1 << 20) -> str:
    """Read a regular file as UTF-8 as :func:`read_regular` does; return an empty text if that fails."""
    try:
        return read_regular(path, max_bytes=max_bytes).decode(errors="replace")
    except OSError:
        return ""


def is_socket(path: str) -> bool:
    """Tell whether a path leads to a unix socket, be it through symlinks."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def _check_owners(path: str, opened: os.stat_result | None, owners: frozenset[int]) -> None:
    """Refuse a file that others made; ``opened`` is its status, if it could be opened."""
    if not owners:
        return
    # Whoever put a link or a file of his own there in the meantime is its owner, too.
    entry = os.lstat(path)
    found = {entry.st_uid, *link_owners(path), *([] if opened is None else [opened.st_uid])}
    if foreign := found - owners:
        raise ForeignFileError(min(foreign))


def _check_link(path: str, opened: os.stat_result) -> None:
    entry = os.lstat(path)
    if (entry.st_dev, entry.st_ino) == (opened.st_dev, opened.st_ino):
        return
    is_secret = opened.st_uid == 0 and not opened.st_mode & stat.S_IROTH
    if is_secret or entry.st_uid not in {0, opened.st_uid}:
        raise FileError("it is a symlink to a file that not everybody may read")


def _read_bounded(fd: int, status: os.stat_result, max_bytes: int) -> bytes:
    if not stat.S_ISREG(status.st_mode):
        raise FileError("it is not a regular file")
    raw = b""
    # Python makes room for all that it is to read. Files of /proc and /sys have no size.
    room = max(status.st_size + 1, CHUNK)
    while chunk := os.read(fd, min(room, max_bytes + 1 - len(raw))):
        raw += chunk
        if len(raw) > max_bytes:
            raise FileError(f"it is larger than {max_bytes} bytes")
    return raw


def write_all(directory: str, texts: Mapping[str, str | bytes], *, mode: int = 0o644) -> None:
    """Write or replace files of one directory atomically: a reader sees the old text of a file or the new one.

    The caller must keep other processes from writing there at the same time.

    Raises:
        OSError: a file could not be written; files that were not yet renamed are unchanged.
    """
    with staged(directory, texts, mode=mode) as publish:
        publish(directory)


@contextmanager
def staged(folder: str, texts: Mapping[str, str | bytes], *, mode: int = 0o644) -> Iterator[Callable[[str], None]]:
    """Write files under temporary names in a folder; yield what moves them to a directory of the same file system.

    All texts are flushed to the disk before the first rename, so that a power cut leaves no empty file; one flush does
    for any number of files. Files that are not published are removed.

    Raises:
        OSError: a file could not be written or published.
    """
    temporaries: dict[str, str] = {}

    def publish(directory: str) -> None:
        for name in texts:
            os.rename(temporaries[name], f"{directory}/{name}")
            del temporaries[name]

    try:
        mask = os.umask(0)
        try:
            for number, (name, text) in enumerate(texts.items()):
                temporary = f"{folder}/{TEMPORARY_PREFIX}{number}"
                temporaries[name] = temporary
                _write_new(temporary, text if isinstance(text, bytes) else text.encode("utf-8"), mode)
        finally:
            os.umask(mask)
        if temporaries:
            flush(folder)
        yield publish
    finally:
        for temporary in temporaries.values():
            remove_if_there(temporary)


def _write_new(path: str, content: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, mode)
    except FileExistsError:
        # A killed run left it behind.
        os.unlink(path)
        fd = os.open(path, flags, mode)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(fd, left) :]
    finally:
        os.close(fd)


def remove_if_there(path: str) -> None:
    """Unlink ``path``, if it exists.

    Raises:
        OSError: it exists and cannot be removed.
    """
    with suppress(FileNotFoundError):
        os.unlink(path)


def remove_with_folder(path: str) -> None:
    """Remove a file that :func:`write_all` wrote alone, what a killed run left of it, and the folder if that is empty.

    Raises:
        OSError: the file system refuses.
    """
    folder = os.path.dirname(path)
    for file in (path, f"{folder}/{TEMPORARY_PREFIX}0"):
        remove_if_there(file)
    with suppress(OSError):
        os.rmdir(folder)


def flush(directory: str) -> None:
    """Have everything on disk that was written to the file system of a directory.

    Raises:
        OSError: it is not there, or the disk refuses.
    """
    import ctypes

    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), directory)
    finally:
        os.close(fd)
