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
from bridge.model.vassal import SocketAccess, SocketOptions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.diagnostics import Diagnostic
    from bridge.model.address import Address
    from bridge.model.vassal import SpawnSpec, Vassal
    from bridge.uwsgi.options import Config, Option

_MODE = re.compile(r"[0-7]{3}")
_CHOWN = ("chown-socket", "chown")
_LATE = ("master-as-root", "drop-after-init", "drop-after-apps")
"""With one of these, uWSGI binds its sockets before it changes its user (core/uwsgi.c, ``uwsgi_start``)."""
_MASK = re.compile(r"[0-7]{1,4}")
_UMASK = 0o022
"""systemd starts services with it (systemd.exec(5), ``UMask=``)."""
_NUMBER = re.compile(r"[0-9]{1,9}")
_SOCKET_TIMEOUT = 4
"""uWSGI's default of ``socket-timeout``, in seconds."""
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
    config: Config, vassal: Vassal, spawn: SpawnSpec, addresses: Iterable[Address], *, is_own: bool = False
) -> tuple[SocketAccess, list[Diagnostic]]:
    """Return who may connect, and why uWSGI or systemd would not accept what the config says.

    ``is_own``: the sockets are those that the config would bind itself. They are open to the same users.
    """
    problems = []
    access = _as_bound(config, spawn) if is_own else SocketAccess(user=spawn.user, group=spawn.group)
    if chmod := config.last("chmod-socket", "chmod"):
        # The bare option of a command line, an XML or a JSON config is a 1. Anything but three digits, uWSGI exits on.
        mode = "666" if chmod.value == "1" else chmod.value
        if not _MODE.fullmatch(mode):
            message = f"is no file mode: {printable(chmod.value)!r}"
            problems.append(_bad(vassal, chmod, message, "write 660 or 666"))
        else:
            access = replace(access, mode="0" + mode)
    if chown := config.last(*_CHOWN):
        try:
            # What a tenant may give is judged elsewhere, and only the files of unix sockets have owners.
            is_unix = any(isinstance(address, UnixAddress) for address in addresses)
            is_limited = bool(spawn.user) and spawn.tenant is None and is_unix
            access = _owned(access, chown.value, spawn, is_limited=is_limited)
        except _OwnerError as error:
            problems.append(_bad(vassal, chown, str(error), error.hint))
    if is_own and not spawn.user and access.user and not access.group:
        # systemd would take the group of the user.
        access = replace(access, group="root")
    return access, problems


def socket_options(config: Config) -> SocketOptions:
    """Return what uWSGI would set on the sockets of a config (core/socket.c, ``bind_to_tcp``)."""
    is_deferred = not (config.flag("no-defer-accept") or config.last("undeferred-shared-socket"))
    return SocketOptions(
        keep_alive=config.flag("so-keepalive"),
        reuse_port=config.flag("reuse-port"),
        send_buffer=_number(config.last("socket-sndbuf"), 0),
        receive_buffer=_number(config.last("socket-rcvbuf"), 0),
        defer_accept=_number(config.last("socket-timeout"), _SOCKET_TIMEOUT) if is_deferred else 0,
    )


def _number(option: Option | None, default: int) -> int:
    return int(option.value) if option and _NUMBER.fullmatch(option.value) else default


def _as_bound(config: Config, spawn: SpawnSpec) -> SocketAccess:
    """Return who could connect to a socket that uWSGI bound itself: core/socket.c, ``bind_to_unix``.

    A master that root starts binds as the user of its config, unless an option has it stay root for longer.
    """
    umask = config.last("umask")
    mask = int(umask.value, 8) if umask and _MASK.fullmatch(umask.value) else _UMASK
    user, group = spawn.user, spawn.group
    if not user:
        immediate = config.last("immediate-uid") is not None
        is_late = any(config.flag(option) for option in _LATE) or config.last(*_CHOWN) is not None
        if immediate or not is_late:
            uid = config.last("immediate-uid") or config.last("uid")
            gid = config.last("immediate-gid") or config.last("gid")
            user = uid.value if uid and kept_user_id(uid.value) is not None else ""
            group = gid.value if gid and kept_group_id(gid.value) is not None else ""
    return SocketAccess(mode=f"{0o777 & ~mask:04o}", user=user, group=group)


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
