"""Looks up users and groups."""

from __future__ import annotations

import grp
import pwd
from contextlib import suppress


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


def spellings(key: str, own: str) -> set[str]:
    """Return the name and the number of a user (``uid``) or group (``gid``) that is given by either."""
    with suppress(KeyError):
        if key == "uid":
            user = pwd.getpwuid(int(own)) if own.isdecimal() else pwd.getpwnam(own)
            return {user.pw_name, str(user.pw_uid)}
        group = grp.getgrgid(int(own)) if own.isdecimal() else grp.getgrnam(own)
        return {group.gr_name, str(group.gr_gid)}
    return {own}
