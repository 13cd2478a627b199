"""Who can replace a path: every step on the way to a folder is judged by its owner, mode, ACL and mount.

systemd binds, chowns and unlinks a socket as root. That is safe only where nobody but root can put another folder, or a
symlink, in the place of a step on the way.
"""

from __future__ import annotations

import os
import stat
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from bridge.host.links import MAX_LINKS

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHANGING_HANDS = frozenset({"/run/user", "/proc", "/sys", "/dev"})
"""Folders below which root's folders become others', or others' names appear: user sessions, processes, devices."""
_FOREIGN_MOUNTS = ("autofs", "fuse", "nfs", "cifs", "smb3", "9p", "proc", "sysfs", "cgroup", "debugfs", "tracefs")
"""Kinds of file systems (proc(5), ``mountinfo``) of which somebody else than this machine's root decides the contents."""
_ACL_ENTRY = struct.Struct("<HHI")
_ACL_HEADER = 4
_ACL_USER, _ACL_GROUP, _ACL_MASK, _ACL_WRITE = 0x02, 0x08, 0x10, 2
"""Tags and permission bits of ``struct posix_acl_xattr_entry`` (acl(5))."""


class UnsafeStep(NamedTuple):
    """A step on the way to a folder that somebody else than root can replace."""

    path: str
    reason: str
    """What is unsafe about it; it continues a sentence that begins with the path."""


def find_unsafe_step(folder: str, *, sticky_is_safe: bool = False) -> UnsafeStep | None:
    """Return the first step on the way to a folder that others than root can replace, or None.

    A missing folder is safe if only root can change the one it is missing in: then systemd makes it, as root's. In a
    sticky folder such as /tmp anybody can make what is missing, so it is safe only where the caller says so.
    """
    mounts = _mounts(_mount_stamp())
    current, links = "/", 0
    if unsafe := _judge("/", os.lstat("/"), mounts, sticky_is_safe=sticky_is_safe):
        return unsafe
    todo = [step for step in reversed(folder.split("/")) if step not in {"", "."}]
    while todo:
        step = todo.pop()
        if step == "..":
            current = os.path.dirname(current)
            continue
        path = f"{current.rstrip('/')}/{step}"
        try:
            info = os.lstat(path)
        except FileNotFoundError:
            return _judge_missing(current)
        except OSError as error:
            return UnsafeStep(path, f"cannot be examined: {error.strerror}")
        if not stat.S_ISLNK(info.st_mode):
            if unsafe := _judge(path, info, mounts, sticky_is_safe=sticky_is_safe):
                return unsafe
            current = path
            continue
        links += 1
        if links > MAX_LINKS:
            return UnsafeStep(path, f"is one of more than {MAX_LINKS} symlinks on the way")
        if info.st_uid != 0:
            return UnsafeStep(path, f"is a symlink of uid {info.st_uid}")
        target = os.readlink(path)
        current = "/" if target.startswith("/") else current
        todo += [one for one in reversed(target.split("/")) if one not in {"", "."}]
    return None


def _judge(
    path: str, info: os.stat_result, mounts: Mapping[str, str], *, sticky_is_safe: bool
) -> UnsafeStep | None:
    if path in _CHANGING_HANDS:
        return UnsafeStep(path, "has contents that change hands")
    if mounts.get(path, "").startswith(_FOREIGN_MOUNTS):
        return UnsafeStep(path, f"is a mount of type {mounts[path]}")
    if not stat.S_ISDIR(info.st_mode):
        return UnsafeStep(path, "is no folder")
    if info.st_uid != 0:
        return UnsafeStep(path, f"belongs to uid {info.st_uid}")
    others = stat.S_IWOTH | (stat.S_IWGRP if info.st_gid else 0)
    is_sticky = bool(info.st_mode & stat.S_ISVTX) and sticky_is_safe
    if not is_sticky and (info.st_mode & others or _acl_lets_write(path, "access")):
        return UnsafeStep(path, "can be changed by others than root")
    return None


def _judge_missing(parent: str) -> UnsafeStep | None:
    """Judge a folder that is missing in ``parent``, which itself is safe unless it is sticky."""
    info = os.lstat(parent)
    if info.st_mode & (stat.S_IWOTH | (stat.S_IWGRP if info.st_gid else 0)):
        return UnsafeStep(parent, "lets others than root make the folder that is missing there")
    if _acl_lets_write(parent, "default"):
        return UnsafeStep(parent, "has a default ACL that lets others write to new folders")
    return None


def _acl_lets_write(path: str, kind: str) -> bool:
    """Tell whether an ACL (acl(5)) lets a named user or group write; ``kind`` is ``access`` or ``default``."""
    try:
        raw = os.getxattr(path, f"system.posix_acl_{kind}", follow_symlinks=False)
    except OSError:
        # There is none, or the file system has no such thing.
        return False
    entries = list(_ACL_ENTRY.iter_unpack(raw[_ACL_HEADER : len(raw) - (len(raw) - _ACL_HEADER) % _ACL_ENTRY.size]))
    mask = next((permissions for tag, permissions, _ in entries if tag == _ACL_MASK), _ACL_WRITE)
    named = (permissions for tag, permissions, _ in entries if tag in {_ACL_USER, _ACL_GROUP})
    return any(permissions & mask & _ACL_WRITE for permissions in named)


def _mount_stamp() -> float:
    try:
        return os.stat("/etc/mtab").st_mtime
    except OSError:
        return 0.0


@lru_cache(maxsize=1)
def _mounts(_stamp: float) -> dict[str, str]:
    """Return the types of the mounted file systems by their mount points (proc(5), ``/proc/PID/mountinfo``)."""
    found: dict[str, str] = {}
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                before, _, after = line.partition(" - ")
                point = before.split(" ")[4].encode("utf-8", "surrogateescape").decode("unicode_escape", "replace")
                found[point] = after.split(" ", 1)[0]
    except (OSError, IndexError):
        return {}
    return found
