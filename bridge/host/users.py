"""Looks up users and groups.

What a run asks for each vassal is kept until the next run begins: each look-up reads /etc/passwd, or asks a server.
"""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

_NO_SHELLS = frozenset(
    f"{folder}/{name}" for folder in ("/bin", "/sbin", "/usr/bin", "/usr/sbin") for name in ("nologin", "false", "true")
)
"""Shells that systemd takes for none (``is_nologin_shell``)."""

_NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Login:
    """What systemd tells the services of a user about the user: an empty text for what it leaves out."""

    name: str
    home: str
    shell: str


_UNKNOWN = (KeyError, ValueError)
"""What a look-up raises for a name that nobody has, and for one that nobody can have, such as one with a NUL."""


_kept = lru_cache(maxsize=1024)


def forget_users() -> None:
    """Have users and groups looked up anew: a run begins, and they may have changed since the last."""
    for look_up in (kept_user_id, kept_group_id, primary_group, user_name, groups_of):
        look_up.cache_clear()


def missing_owner(user: str, group: str) -> str:
    """Return ``user NAME`` or ``group NAME`` for a name that does not exist, or an empty text. Numbers always exist."""
    try:
        if user and not user.isdecimal():
            pwd.getpwnam(user)
    except _UNKNOWN:
        return f"user {user}"
    try:
        if group and not group.isdecimal():
            grp.getgrnam(group)
    except _UNKNOWN:
        return f"group {group}"
    return ""


def user_id(user: str) -> int | None:
    """Return the number of a user that is given by name or number; None if there is no such user."""
    if user.isdecimal():
        return int(user)
    with suppress(*_UNKNOWN):
        return pwd.getpwnam(user).pw_uid
    return None


@_kept
def primary_group(uid: int) -> int | None:
    """Return the group of a user's number; None if there is no such user."""
    with suppress(*_UNKNOWN):
        return pwd.getpwuid(uid).pw_gid
    return None


def group_id(group: str) -> int | None:
    """Return the number of a group that is given by name or number; None if there is no such group."""
    if group.isdecimal():
        return int(group)
    with suppress(*_UNKNOWN):
        return grp.getgrnam(group).gr_gid
    return None


@_kept
def user_name(uid: int) -> str:
    """Return the name of a user, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except _UNKNOWN:
        return str(uid)


@_kept
def groups_of(uid: int) -> frozenset[int]:
    """Return the groups of a user, the primary one included."""
    try:
        user = pwd.getpwuid(uid)
        return frozenset(os.getgrouplist(user.pw_name, user.pw_gid))
    except (KeyError, OSError):
        return frozenset()


def spellings(key: str, own: str) -> set[str]:
    """Return the name and the number of a user (``uid``) or group (``gid``) that is given by either."""
    with suppress(*_UNKNOWN):
        if key == "uid":
            user = pwd.getpwuid(int(own)) if own.isdecimal() else pwd.getpwnam(own)
            return {user.pw_name, str(user.pw_uid)}
        group = grp.getgrgid(int(own)) if own.isdecimal() else grp.getgrnam(own)
        return {group.gr_name, str(group.gr_gid)}
    return {own}


def find_login(user: str) -> Login | None:
    """Look up a user by name or number as systemd does for ``User=``. None: there is no such user.

    src/basic/user-util.c, ``get_user_creds`` with ``USER_CREDS_CLEAN``: a home that is none and a shell that refuses
    logins are left out, and root and nobody are not looked up.
    """
    try:
        entry = pwd.getpwuid(int(user)) if user.isascii() and user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        return None
    if entry.pw_uid == _NOBODY:
        return Login(entry.pw_name, "", "")
    home = "/root" if entry.pw_uid == 0 else entry.pw_dir
    is_home = home.startswith("/") and home.strip("/")
    is_shell = entry.pw_shell.startswith("/") and entry.pw_shell not in _NO_SHELLS
    return Login(entry.pw_name, home if is_home else "", entry.pw_shell if is_shell else "")


kept_user_id = _kept(user_id)
kept_group_id = _kept(group_id)
"""The same as without ``kept``, for what is asked for each vassal of a run."""
