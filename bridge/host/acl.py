"""Gives single users the right to read a file of root's, with a POSIX access control list (acl(5)).

Python has no calls for these lists, but the kernel takes them as an extended attribute (linux/posix_acl_xattr.h).
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

_ATTRIBUTE = "system.posix_acl_access"
_VERSION = 2
_ENTRY = struct.Struct("<HHI")
_USER_OBJ, _USER, _GROUP_OBJ, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
_NO_ID = 0xFFFFFFFF
_READ, _WRITE = 4, 2
_UNSUPPORTED = frozenset({errno.ENOTSUP, errno.ENOSYS})


def encode(readers: Collection[int]) -> bytes:
    """Return the list of a file that its owner may read and write, these users may read, and nobody else."""
    users = [(_USER, _READ, uid) for uid in sorted(set(readers))]
    entries = [
        (_USER_OBJ, _READ | _WRITE, _NO_ID),
        *users,
        (_GROUP_OBJ, 0, _NO_ID),
        (_MASK, _READ, _NO_ID),
        (_OTHER, 0, _NO_ID),
    ]
    return struct.pack("<I", _VERSION) + b"".join(_ENTRY.pack(*entry) for entry in entries)


def names_reader(raw: bytes, uid: int) -> bool:
    """Tell whether a list names this user as one who may read; what groups may do is left out."""
    if len(raw) % _ENTRY.size != 4 or raw[:4] != struct.pack("<I", _VERSION):
        return False
    entries = list(_ENTRY.iter_unpack(raw[4:]))
    mask = next((rights for tag, rights, _ in entries if tag == _MASK), _READ)
    return any(tag == _USER and one == uid and rights & mask & _READ for tag, rights, one in entries)


def let_read(fd: int, readers: Collection[int]) -> None:
    """Let these users read an open file that was made with mode 0600, and nobody else.

    Where the file system has no such lists, the first of the users becomes the file's owner, who may only read it.

    Raises:
        OSError: the file system refuses.
    """
    if not (others := [uid for uid in readers if uid != os.geteuid()]):
        return
    try:
        os.setxattr(fd, _ATTRIBUTE, encode(others))
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        os.fchmod(fd, 0o400)
        os.fchown(fd, others[0], -1)


def is_named_reader(fd: int, uid: int) -> bool:
    """Tell whether the list of a file, by a descriptor that may be of ``O_PATH``, lets this user read it."""
    try:
        return names_reader(os.getxattr(f"/proc/self/fd/{fd}", _ATTRIBUTE), uid)
    except OSError:
        return False
