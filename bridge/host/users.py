"""Looks up users and groups."""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import suppress
from functools import lru_cache


def missing_owner(user: str, group: str) -> str:
    """Return ``user NAME`` or ``group NAME`` for a name that does not exist, or an empty text. Numbers always exist."""
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


def user_id(user: str) -> int | None:
    """Return the number of a user that is given by name or number; None if there is no such user."""
    if user.isdecimal():
        return int(user)
    with suppress(KeyError):
        return pwd.getpwnam(user).pw_uid
    return None


def group_id(group: str) -> int | None:
    """Return the number of a group that is given by name or number; None if there is no such group."""
    if group.isdecimal():
        return int(group)
    with suppress(KeyError):
        return grp.getgrnam(group).gr_gid
    return None


def user_name(uid: int) -> str:
    """Return the name of a user, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@lru_cache(maxsize=1024)
def groups_of(uid: int) -> frozenset[int]:
    """Return the groups of a user, the primary one included."""
    try:
        user = pwd.getpwuid(uid)
        return frozenset(os.getgrouplist(user.pw_name, user.pw_gid))
    except (KeyError, OSError):
        return frozenset()


def spellings(key: str, own: str) -> set[str]:
    """Return the name and the number of a user (``uid``) or group (``gid``) that is given by either."""
    with suppress(KeyError):
        if key == "uid":
            user = pwd.getpwuid(int(own)) if own.isdecimal() else pwd.getpwnam(own)
            return {user.pw_name, str(user.pw_uid)}
        group = grp.getgrgid(int(own)) if own.isdecimal() else grp.getgrnam(own)
        return {group.gr_name, str(group.gr_gid)}
    return {own}
