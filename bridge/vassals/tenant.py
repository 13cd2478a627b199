"""The tenants' boundary: what root does on a tenant's word in tyrant mode is judged here, and only here.

A tenant is the owner of a config. systemd binds, chowns and unlinks his socket as root, and starts his app with his
rights. So an address, an owner of a socket, a rule file and a symlink count only within what is his, or what the
admin names. See emperor-bridge-security(7).
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bridge.diagnostics import printable
from bridge.host.files import read_foreign
from bridge.host.path_security import PathSecurity, Trust
from bridge.host.users import group_id, groups_of, kept_group_id, kept_user_id, user_name
from bridge.model.address import AbstractAddress, InetAddress

if TYPE_CHECKING:
    from bridge.config.settings import Settings
    from bridge.model.address import Address
    from bridge.model.vassal import Owner, SocketAccess

OWN_FOLDER = "/run/vassals"
"""Each tenant may listen below a folder here that has his name or number. systemd makes it, as root's."""
_PORT_START = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
_SYSTEM_UIDS = 1000
"""Below this number users are services and no people (login.defs(5), ``UID_MIN``)."""


class Refusal(NamedTuple):
    """Why something is not the tenant's to decide, and what to do about it."""

    message: str
    hint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantBoundary:
    """What tenants may decide, by the admin's settings."""

    directories: tuple[str, ...] = ()
    """The folders below which the admin lets all tenants listen."""
    groups: frozenset[int] = frozenset()
    """The groups to which a tenant may give his socket, beside his own."""
    first_port: int = 1024
    """The lowest port that a tenant may listen on."""
    security: PathSecurity = field(default_factory=PathSecurity)

    def judge_address(self, address: Address, tenant: Owner, *, is_admins: bool) -> Refusal | None:
        """Return why a tenant may not listen there. ``is_admins``: the admin's own setting names the folder."""
        if isinstance(address, AbstractAddress):
            return None
        if isinstance(address, InetAddress):
            if address.port >= self.first_port:
                return None
            return Refusal(
                f"port {address.port} is below {self.first_port}, the first that a tenant may listen on",
                f"use a higher port, or let the admin set tenant-first-port = {address.port}",
            )
        return self._judge_path(address.path, tenant, is_admins=is_admins)

    def _judge_path(self, path: str, tenant: Owner, *, is_admins: bool) -> Refusal | None:
        folder = os.path.dirname(path)
        own = {f"{OWN_FOLDER}/{name}" for name in {str(tenant.uid), user_name(tenant.uid)}}
        named = next((one for one in self.directories if _is_below(folder, one)), None)
        if not (is_admins or named or any(_is_below(folder, one) for one in own)):
            return Refusal(
                f"its socket is to be in {printable(folder)}, and tenants may not listen there",
                f"use {OWN_FOLDER}/{tenant.uid}/NAME.sock, an abstract name or a port; "
                f'or let the admin set tenant-socket-directory = "{printable(folder)}"',
            )
        trust = _trust(named, tenant) if named else Trust()
        if unsafe := self.security.unsafe_step(folder, trust=trust, sticky_is_safe=is_admins):
            return Refusal(
                f"its socket is to be in {printable(folder)}, but {printable(unsafe.path)} {unsafe.reason}, "
                "and systemd would bind and unlink there as root",
                f"use {OWN_FOLDER}/{tenant.uid}/NAME.sock, or a folder that only root can change",
            )
        return None

    def judge_access(self, access: SocketAccess, tenant: Owner) -> Refusal | None:
        """Return why a tenant may not give his socket to this user or group."""
        if access.user and kept_user_id(access.user) != tenant.uid:
            return Refusal(
                f"gives the socket to {printable(access.user)}, and a tenant may give it only to himself",
                f"name the tenant as the user: chown-socket = {printable(user_name(tenant.uid))}:GROUP",
            )
        group = kept_group_id(access.group) if access.group else tenant.gid
        if group in {tenant.gid, *self.groups, *groups_of(tenant.uid)}:
            return None
        return Refusal(
            f"gives the socket to the group {printable(access.group)}, which is not one of the tenant's",
            f'use a group of the tenant, or let the admin set tenant-socket-groups = "{printable(access.group)}"',
        )


def make_boundary(settings: Settings) -> TenantBoundary | None:
    """Return the tenants' boundary; None where no tenant decides anything, outside tyrant mode."""
    if not settings.emperor_tyrant:
        return None
    groups = (group_id(name) for name in settings.tenant_socket_groups)
    return TenantBoundary(
        directories=tuple(os.path.normpath(one) for one in settings.tenant_socket_directory),
        groups=frozenset(group for group in groups if group is not None),
        first_port=settings.tenant_first_port or _first_unprivileged_port(),
    )


def read_rule(path: str, tenant: Owner | None, *, max_bytes: int) -> bytes:
    """Read a rule file that the tenant or root made. None: there are no tenants, and every file counts.

    A rule file that a neighbour puts beside a tenant's config must not decide where the tenant's app listens.

    Raises:
        FileNotFoundError: there is none.
        ForeignFileError: somebody else made it, or a symlink on the way to it.
        FileError: it cannot be read.
    """
    owners = frozenset[int]() if tenant is None else frozenset({0, tenant.uid})
    return read_foreign(path, max_bytes=max_bytes, owners=owners)


def start_check(config: str, *, nofollow: bool) -> tuple[str, ...]:
    """Return a command's prefix that refuses to start a config that is no longer its user's.

    The unit keeps its ``User=`` until the next run. Whoever puts a file of his own at the path of a config that was
    removed would run it as that user. Exit code 26 keeps the vassal down until its config changes.
    """
    # test(1), dash(1): -O follows symlinks, find(1) does not. A neighbour's symlink could lead to a file of the user's.
    link = '[ -n "$(find "$0" -prune "(" -user "$(id -u)" -o -user 0 ")")" ]'
    owned = (
        '[ -n "$(find "$0" -prune -user "$(id -u)")" ]'
        if nofollow
        else f'[ -O "$0" ] && {{ [ ! -L "$0" ] || {link}; }}'
    )
    refusal = 'echo "$0 does not belong to uid $(id -u): emperor-bridge sync" >&2; exit 26'
    script = f'{{ {owned}; }} || {{ {refusal}; }}; exec "$@"'
    return ("/bin/sh", "-c", script, config)


def _is_below(folder: str, top: str) -> bool:
    """Tell whether a folder is ``top`` or below it, as it is written and with symlinks resolved."""
    if not _starts_with(folder, top):
        return False
    try:
        return _starts_with(os.path.realpath(folder), os.path.realpath(top))
    except OSError:
        return False


def _starts_with(folder: str, top: str) -> bool:
    return folder == top or folder.startswith(f"{top.rstrip('/')}/")


def _trust(directory: str, tenant: Owner) -> Trust:
    """Return whom the admin trusts by naming a directory: the service that owns it, but no person and no tenant."""
    try:
        info = os.stat(directory)
    except OSError:
        return Trust()
    uid = info.st_uid if info.st_uid < _SYSTEM_UIDS and info.st_uid != tenant.uid else 0
    members = {tenant.gid, *groups_of(tenant.uid)}
    is_group = bool(info.st_mode & stat.S_IWGRP) and info.st_gid < _SYSTEM_UIDS and info.st_gid not in members
    return Trust(uid, info.st_gid if is_group else 0)


def _first_unprivileged_port() -> int:
    """Return the first port that needs no privilege (ip(7), ``ip_unprivileged_port_start``)."""
    try:
        with open(_PORT_START, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 1024
