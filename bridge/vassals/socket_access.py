"""Who may connect to a vassal's unix socket, by ``chmod-socket`` and ``chown-socket`` of its config.

core/uwsgi.c, ``uwsgi_opt_chmod_socket``; core/utils.c, ``uwsgi_chown``. systemd makes the socket so. When uWSGI starts,
it does the same once more, and ends if it cannot.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.diagnostics import printable
from bridge.host.users import kept_group_id, kept_user_id
from bridge.model.address import UnixAddress
from bridge.model.vassal import SocketAccess

if TYPE_CHECKING:
    from bridge.diagnostics import Diagnostic
    from bridge.model.address import Address
    from bridge.model.vassal import SpawnSpec, Vassal
    from bridge.uwsgi.options import Config, Option

_MODE = re.compile(r"[0-7]{3}")
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")
"""Names that are written into a unit as they are; systemd may take no others (systemd.syntax(7))."""
_NO_IDS = frozenset({65535, 2**32 - 1})
"""Numbers that stand for no user and no group."""


class _OwnerError(Exception):
    """An owner that cannot be used; the message continues a sentence that begins with the option."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def find_access(
    config: Config, vassal: Vassal, spawn: SpawnSpec, address: Address | None
) -> tuple[SocketAccess, list[Diagnostic]]:
    """Return who may connect, and why uWSGI or systemd would not accept what the config says."""
    problems = []
    access = SocketAccess(user=spawn.user, group=spawn.group)
    if chmod := config.last("chmod-socket", "chmod"):
        # The bare option of a command line, an XML or a JSON config is a 1. Anything but three digits, uWSGI exits on.
        mode = "666" if chmod.value == "1" else chmod.value
        if not _MODE.fullmatch(mode):
            message = f"is no file mode: {printable(chmod.value)!r}"
            problems.append(_bad(vassal, chmod, message, "write 660 or 666"))
        else:
            access = replace(access, mode="0" + mode)
    if chown := config.last("chown-socket", "chown"):
        try:
            # What a tenant may give is judged elsewhere, and only the files of unix sockets have owners.
            is_limited = bool(spawn.user) and spawn.tenant is None and isinstance(address, UnixAddress)
            access = _owned(access, chown.value, spawn, is_limited=is_limited)
        except _OwnerError as error:
            problems.append(_bad(vassal, chown, str(error), error.hint))
    return access, problems


def _bad(vassal: Vassal, option: Option, message: str, hint: str) -> Diagnostic:
    return vassal.problem("socket-access", f"{option.key} {message}", hint, at=(option.path, option.line))


def _owned(access: SocketAccess, text: str, spawn: SpawnSpec, *, is_limited: bool) -> SocketAccess:
    """Return the access with the owners of a ``USER:GROUP``.

    uWSGI takes an empty name for the number 0, so ``USER:`` gives the socket to the group root, and ``:GROUP`` to the
    user root. Without a colon the group stays.

    Raises:
        _OwnerError: there is no such user or group, or uWSGI cannot give the socket to the user.
    """
    user, colon, group = text.partition(":")
    owner, owner_id = _name(user, "user", text)
    if is_limited and owner_id != kept_user_id(spawn.user):
        given = printable(user) or "root"
        message = f"= {printable(text)} gives the socket to {given}, and uWSGI, which runs as {spawn.user}, may not"
        raise _OwnerError(message, f"write {spawn.user}:{printable(group) or 'GROUP'}")
    if colon:
        access = replace(access, group=_name(group, "group", text)[0])
    # Without a user in the unit it is root's.
    return access if not user and not spawn.user else replace(access, user=owner)


def _name(name: str, kind: str, text: str) -> tuple[str, int]:
    """Return how a unit names a user or group, and its number.

    Raises:
        _OwnerError: there is none.
    """
    if not name:
        return "root", 0
    if name.isascii() and name.isdecimal():
        # A number of thousands of digits is not converted.
        number = int(name) if len(name) <= len(str(2**32)) else 2**32
        if number >= 2**32 or number in _NO_IDS:
            raise _OwnerError(f"names a number that no {kind} has: {name[:20]}", "write USER:GROUP")
        return str(number), number
    found = None if name.isdecimal() or "\0" in name else kept_user_id(name) if kind == "user" else kept_group_id(name)
    if found is None:
        stripped = ":".join(part.strip() for part in text.split(":"))
        hint = "make it, or name another" if stripped == text else f"write {printable(stripped)}, without blanks"
        raise _OwnerError(f"names {kind} {printable(name)!r}, which is not there", hint)
    return name if _PLAIN.fullmatch(name) else str(found), found
