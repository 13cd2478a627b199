"""Who can replace a path: every step on the way to a folder is judged by its owner, mode, ACL and mount.

systemd binds, chowns and unlinks a socket as root. That is safe only where nobody but root can put another folder, or a
symlink, in the place of a step on the way.
"""

from __future__ import annotations

import os
import stat
import struct
from typing import NamedTuple

from bridge.host.links import MAX_LINKS

CHANGING_HANDS = frozenset({"/run/user", "/proc", "/sys", "/dev"})
"""Folders below which names and owners change without root's doing: user sessions, processes, devices."""
_FOREIGN_MOUNTS = ("autofs", "fuse", "nfs", "cifs", "smb3", "9p", "proc", "sysfs", "cgroup", "debugfs", "tracefs")
"""Kinds of file systems whose contents somebody else than this machine's root decides (proc(5), ``mountinfo``)."""
_ACL_ENTRY = struct.Struct("<HHI")
_ACL_HEADER = 4
_ACL_USER, _ACL_GROUP, _ACL_MASK, _ACL_WRITE = 0x02, 0x08, 0x10, 2
"""Tags and permission bits of ``struct posix_acl_xattr_entry`` (acl(5))."""


class UnsafeStep(NamedTuple):
    """A step on the way to a folder that somebody else than root can replace."""

    path: str
    reason: str
    """What is unsafe about it; it continues a sentence that begins with the path."""


class Trust(NamedTuple):
    """Who may own, or write to, a folder beside root."""

    uid: int = 0
    gid: int = 0


_ROOT = Trust()


class PathSecurity:
    """Judges folders, each once in a run."""

    def __init__(self) -> None:
        self._mounts: dict[str, str] | None = None
        self._known: dict[tuple[str, Trust, bool], UnsafeStep | None] = {}

    def unsafe_step(self, folder: str, *, trust: Trust = _ROOT, sticky_is_safe: bool = False) -> UnsafeStep | None:
        """Return the first step on the way to a folder that others than root, and whom we trust, can replace, or None.

        A missing folder is safe if only root can change the one it is missing in: then systemd makes it, as root's. In
        a sticky folder such as /tmp anybody can make a missing one; what exists there is safe if the caller says so.
        """
        key = (folder, trust, sticky_is_safe)
        if key not in self._known:
            self._known[key] = self._walk(*key)
        return self._known[key]

    def _walk(self, folder: str, trust: Trust, sticky_is_safe: bool) -> UnsafeStep | None:
        current, links = "/", 0
        todo = _steps(folder)
        unsafe = self._judge("/", trust, sticky_is_safe)
        while todo and unsafe is None:
            step = todo.pop()
            path = os.path.dirname(current) if step == ".." else f"{current.rstrip('/')}/{step}"
            try:
                info = os.lstat(path)
            except FileNotFoundError:
                return _judge_missing(current, trust)
            except OSError as error:
                return UnsafeStep(path, f"cannot be examined: {error.strerror}")
            if stat.S_ISLNK(info.st_mode):
                links += 1
                unsafe = _judge_link(path, info, links)
                target = os.readlink(path)
                current = "/" if target.startswith("/") else current
                todo += _steps(target)
            else:
                unsafe = self._judge(path, trust, sticky_is_safe)
                current = path
        return unsafe

    def _judge(self, path: str, trust: Trust, sticky_is_safe: bool) -> UnsafeStep | None:
        info = os.lstat(path)
        is_sticky = bool(info.st_mode & stat.S_ISVTX) and sticky_is_safe
        reason = ""
        if path in CHANGING_HANDS:
            reason = "has contents that change hands"
        elif (kind := self._mount(path)).startswith(_FOREIGN_MOUNTS):
            reason = f"is a mount of type {kind}"
        elif not stat.S_ISDIR(info.st_mode):
            reason = "is no folder"
        elif info.st_uid not in {0, trust.uid}:
            reason = f"belongs to uid {info.st_uid}"
        elif not is_sticky and (_others_write(info, trust) or _acl_lets_write(path, "access")):
            reason = "can be changed by others than root"
        return UnsafeStep(path, reason) if reason else None

    def _mount(self, path: str) -> str:
        """Return the type of the file system that is mounted at a path; empty if none is."""
        if self._mounts is None:
            self._mounts = _read_mounts()
        return self._mounts.get(path, "")


def _steps(path: str) -> list[str]:
    """Return the steps of a path, the last one first."""
    return [step for step in reversed(path.split("/")) if step not in {"", "."}]


def _judge_link(path: str, info: os.stat_result, links: int) -> UnsafeStep | None:
    if links > MAX_LINKS:
        return UnsafeStep(path, f"is one of more than {MAX_LINKS} symlinks on the way")
    return UnsafeStep(path, f"is a symlink of uid {info.st_uid}") if info.st_uid else None


def _judge_missing(parent: str, trust: Trust) -> UnsafeStep | None:
    """Judge a folder that is missing in ``parent``, which itself is safe unless it is sticky."""
    if _others_write(os.lstat(parent), trust):
        return UnsafeStep(parent, "lets others than root make the folder that is missing there")
    if _acl_lets_write(parent, "default"):
        return UnsafeStep(parent, "has a default ACL that lets others write to new folders")
    return None


def _others_write(info: os.stat_result, trust: Trust) -> bool:
    return bool(info.st_mode & (stat.S_IWOTH | (stat.S_IWGRP if info.st_gid not in {0, trust.gid} else 0)))


def _acl_lets_write(path: str, kind: str) -> bool:
    """Tell whether an ACL (acl(5)) lets a named user or group write; ``kind`` is ``access`` or ``default``."""
    try:
        raw = os.getxattr(path, f"system.posix_acl_{kind}", follow_symlinks=False)
    except OSError:
        # There is none, or the file system has no such thing.
        return False
    body = raw[_ACL_HEADER:]
    entries = list(_ACL_ENTRY.iter_unpack(body[: len(body) - len(body) % _ACL_ENTRY.size]))
    mask = next((permissions for tag, permissions, _ in entries if tag == _ACL_MASK), _ACL_WRITE)
    return any(p & mask & _ACL_WRITE for tag, p, _ in entries if tag in {_ACL_USER, _ACL_GROUP})


def _read_mounts() -> dict[str, str]:
    """Return the types of the mounted file systems by their mount points (proc(5), ``/proc/PID/mountinfo``)."""
    found: dict[str, str] = {}
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.readlines()
    except OSError:
        return {}
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4]
        for octal, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            point = point.replace(octal, character)
        found[point] = after.split(" ", 1)[0]
    return found
