"""Who is who on this machine, and what whom it belongs to lets others do."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from contextlib import suppress
from pathlib import PurePosixPath


def missing_owner(user: str, group: str) -> str:
    """Return what this machine does not know: ``user NAME``, ``group NAME``, or nothing. Numbers need no entry."""
    try:
        if user and not user.isdecimal():
            pwd.getpwnam(user)
    except KeyError:
        return f"user {user}"
    try:
        if group and not group.isdecimal():
            grp.getgrnam(group)
    except KeyError:
        return f"group {group}"
    return ""


def spellings(key: str, own: str) -> set[str]:
    """Return all ways to name a user (``uid``) or a group (``gid``)."""
    with suppress(KeyError):
        if key == "uid":
            user = pwd.getpwuid(int(own)) if own.isdecimal() else pwd.getpwnam(own)
            return {user.pw_name, str(user.pw_uid)}
        group = grp.getgrgid(int(own)) if own.isdecimal() else grp.getgrnam(own)
        return {group.gr_name, str(group.gr_gid)}
    return {own}


def open_folder(folder: str) -> str | None:
    """Return the first step on the way to a folder that somebody other than root can replace, or None.

    A sticky folder such as /tmp is no such step: nobody can rename there what is not theirs.
    """
    seen: set[str] = set()
    todo = [folder]
    while todo:
        path = todo.pop()
        for step in [*reversed(list(map(str, PurePosixPath(path).parents))), path]:
            if step in seen:
                continue
            seen.add(step)
            try:
                info = os.lstat(step)
            except OSError:
                # systemd makes what is not there, as root's.
                break
            if stat.S_ISLNK(info.st_mode):
                todo.append(os.path.join(os.path.dirname(step), os.readlink(step)))
            others = stat.S_IWOTH | (stat.S_IWGRP if info.st_gid else 0)
            sticky_or_link = stat.S_ISLNK(info.st_mode) or info.st_mode & stat.S_ISVTX
            if info.st_uid != 0 or (info.st_mode & others and not sticky_or_link):
                return step
    return None
