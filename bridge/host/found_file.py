"""Finds a file without opening it, so that it is judged before a byte of it is read.

A path of a tenant's can lead anywhere. To open a device may start it, to read a file of the kernel may consume it, as
with /proc/kmsg. A file that is found by ``O_PATH`` (open(2)) is neither opened nor read, and nobody can replace it
between the judgement and the reading.
"""

from __future__ import annotations

import errno
import functools
import os
import stat
from typing import TYPE_CHECKING

from bridge.host.acl import is_named_reader
from bridge.host.links import MAX_LINKS
from bridge.host.users import groups_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

CHUNK = 1 << 16
"""Bytes that are read at once where a size is not known."""
_PATH_MAX = 4096
_MAX_STEPS = 256
"""Steps of one path: the targets of forty links can have tens of thousands."""
_FLAGS = os.O_PATH | os.O_CLOEXEC
_KERNELS_OWN = frozenset(
    {0x9FA0, 0x62656572, 0x64626720, 0x74726163, 0x73636673, 0x62656570, 0x27E0EB, 0x63677270, 0xCAFE4A11}
    | {0x6165676C, 0xDE5E81E4, 0x42494E4D, 0xF97CFF8C, 0x43415D53, 0x6E736673, 0x1CD1, 0x19800202, 0x7655821, 0x187}
)
"""Types of file systems whose files are the kernel's answers (statfs(2)): proc, sysfs, debugfs, cgroup and the like."""


class NotAFileError(OSError):
    """What is no regular file on a disk. The message is for admins."""


class FoundFile:
    """A file that was found, and is not opened yet. Use it in a ``with`` statement."""

    def __init__(self, path: str, *, user: int | None = None) -> None:
        """Find the file at an absolute path, as ``user`` would, or as this process.

        Raises:
            OSError: there is none, or the user may not go there.
        """
        self._fd = os.open(path, _FLAGS) if user is None else _find_as(path, user)
        try:
            self.status = os.fstat(self._fd)
        except OSError:
            os.close(self._fd)
            raise

    def __enter__(self) -> FoundFile:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        os.close(self._fd)

    @property
    def real(self) -> str:
        """Its path without symlinks, as the kernel knows it."""
        return os.readlink(f"/proc/self/fd/{self._fd}")

    def may_be_read_by(self, user: int) -> bool:
        """Tell whether the mode of the file, or its access control list by the user's name, lets a user read it."""
        return _may(self._fd, self.status, user, stat.S_IROTH) or is_named_reader(self._fd, user)

    def read(self, max_bytes: int) -> bytes:
        """Return the contents, but not more than ``max_bytes`` and one byte.

        Raises:
            NotAFileError: it is a folder, a device, a FIFO or the like, or a file of the kernel.
            OSError: it cannot be read.
        """
        if not stat.S_ISREG(self.status.st_mode):
            raise NotAFileError(errno.EINVAL, "it is not a regular file")
        if _file_system(self._fd) in _KERNELS_OWN:
            raise NotAFileError(errno.EINVAL, "it is a file of the kernel, such as those in /proc and /sys")
        fd = os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            # Python makes room for all that it is to read, and a file has seldom more than its status says.
            pieces = [os.read(fd, min(self.status.st_size, max_bytes) + 1)]
            left = max_bytes - len(pieces[0])
            while left >= 0 and (piece := os.read(fd, min(left + 1, CHUNK))):
                pieces.append(piece)
                left -= len(piece)
        finally:
            os.close(fd)
        return b"".join(pieces)


def _find_as(path: str, user: int) -> int:
    """Go through a path as a user would, step by step; return a descriptor of what is there.

    Raises:
        PermissionError: the user may not search a folder on the way.
        OSError: it does not exist, or has too many links or steps.
    """
    if len(os.fsencode(path)) >= _PATH_MAX:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    at = os.open("/", _FLAGS)
    try:
        todo = path.split("/")[::-1]
        links = steps = 0
        while todo:
            if (name := todo.pop()) in {"", "."}:
                continue
            steps += 1
            if not _may(at, os.fstat(at), user, stat.S_IXOTH):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            new = os.open(name, _FLAGS | os.O_NOFOLLOW, dir_fd=at)
            if not stat.S_ISLNK(os.fstat(new).st_mode):
                os.close(at)
                at = new
                continue
            target = _target(new)
            links += 1
            if links > MAX_LINKS or steps > _MAX_STEPS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if target.startswith("/"):
                os.close(at)
                at = os.open("/", _FLAGS)
            todo += target.split("/")[::-1]
    except BaseException:
        os.close(at)
        raise
    return at


def _target(link: int) -> str:
    """Return where a symlink leads, and close its descriptor.

    Raises:
        PermissionError: it is one of the kernel's, which may lead where no path does, such as /proc/self/root.
    """
    try:
        if _file_system(link) in _KERNELS_OWN:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return os.readlink("", dir_fd=link)
    finally:
        os.close(link)


def _may(fd: int, status: os.stat_result, user: int, bit: int) -> bool:
    """Tell whether a user has a right that others may have (``bit``). Where an ACL decides, the answer is no."""
    if user == 0:
        return True
    if status.st_uid == user:
        return bool(status.st_mode & (bit << 6))
    others, group = bool(status.st_mode & bit), bool(status.st_mode & (bit << 3))
    # To look up the user's groups takes time, and most often the group has the same right as others.
    is_allowed = others if others == group else (group if status.st_gid in groups_of(user) else others)
    return is_allowed and not _has_acl(fd)


def _has_acl(fd: int) -> bool:
    try:
        os.getxattr(f"/proc/self/fd/{fd}", "system.posix_acl_access")
    except OSError:
        return False
    return True


def _file_system(fd: int) -> int:
    """Return the type of the file system of a file (statfs(2), ``f_type``)."""
    return _statfs()(fd)


@functools.cache
def _statfs() -> Callable[[int], int]:
    # Imported here because it loads slowly.
    from ctypes import CDLL, c_long, get_errno

    fstatfs = CDLL(None, use_errno=True).fstatfs
    # Of ``struct statfs`` only the first number is of use; it has 15.
    structure = c_long * 64

    def statfs(fd: int) -> int:
        buffer = structure()
        if fstatfs(fd, buffer):
            raise OSError(get_errno(), os.strerror(get_errno()))
        return int(buffer[0]) & 0xFFFFFFFF

    return statfs
