"""Warns of files that a config needs and that its user does not find or may not read."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from bridge.check.needed_files import find_needs
from bridge.diagnostics import Severity, printable
from bridge.host.as_user import Identity, look
from bridge.host.users import groups_of, kept_group_id, kept_user_id, primary_group, user_name
from bridge.uwsgi.options import written

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bridge.check.needed_files import Need
    from bridge.diagnostics import Diagnostic
    from bridge.model.vassal import ResolvedVassal
    from bridge.uwsgi.options import Config

PATIENCE = 10.0
"""Seconds that the file systems may take to answer about all files of one user."""


def find_missing_files(
    read: Iterable[tuple[ResolvedVassal, Config]], plugin_folder: str, *, user_manager: bool
) -> Iterator[Diagnostic]:
    """Yield a warning for each option that names a file that is not there, as the vassal's user sees it."""
    asked: dict[Identity, list[tuple[ResolvedVassal, Need]]] = {}
    for resolved, config in read:
        for need in find_needs(resolved, config, plugin_folder):
            if (identity := _identity(resolved, config, need, user_manager=user_manager)) is not None:
                asked.setdefault(identity, []).append((resolved, need))
    for identity, needs in asked.items():
        # Many vassals need the same, such as a plugin.
        groups = list(dict.fromkeys(need.places for _, need in needs))
        errors = dict(zip(groups, look(groups, identity, timeout=PATIENCE) or (), strict=False))
        for resolved, need in needs:
            if error := errors.get(need.places):
                yield _problem(resolved, need, error, identity)


def _identity(resolved: ResolvedVassal, config: Config, need: Need, *, user_manager: bool) -> Identity | None:
    """Return as whom uWSGI looks for a file: the user of its service, or later the one that its config names."""
    if user_manager:
        return Identity(os.geteuid(), os.getegid(), tuple(os.getgroups()))
    spawn = resolved.spawn
    user, group = spawn.user, spawn.group
    if not user and not need.is_early:
        by_key = {key: option.value for key in ("uid", "gid") if (option := config.last(key))}
        user, group = by_key.get("uid", ""), by_key.get("gid", group)
    uid = kept_user_id(user) if user else 0
    if uid is None:
        return None
    gid = kept_group_id(group) if group else primary_group(uid)
    groups = () if spawn.drops_groups else tuple(sorted(groups_of(uid)))
    return None if gid is None else Identity(uid, gid, groups)


def _problem(resolved: ResolvedVassal, need: Need, error: int, identity: Identity) -> Diagnostic:
    option, path = need.option, printable(need.places[0].path)
    what = written(option)
    user = printable(user_name(identity.uid))
    if need.name and error == errno.ENOENT:
        where = sorted({os.path.dirname(place.path) for place in need.places if not place.is_pattern}) or [
            os.path.dirname(need.places[0].path)
        ]
        message, hint = (
            f"there is no {printable(need.name)} in {printable(' or '.join(where))}",
            "install or correct it",
        )
    elif error in {errno.ENOENT, errno.ENOTDIR} and need.places[0].is_written:
        message, hint = f"the folder of {path} is not there", "create it, or correct the path"
    elif error == errno.ENOENT:
        message, hint = f"{path} is not there", "create it, or correct the path"
    elif error == errno.ENOTDIR:
        message, hint = f"{path} is no folder", "correct the path"
    elif error == errno.EISDIR:
        message, hint = f"{path} is a folder", "name a file"
    elif error == errno.EACCES:
        verb = "write" if need.places[0].is_written else "read"
        message, hint = f"user {user} may not {verb} {path}", f"give {user} access to it and to its folders"
    else:
        message, hint = f"{path} cannot be used: {os.strerror(error)}", "correct the path"
    # An option of the command line, or of a variable, has no file.
    at = (None, None) if option.path.startswith("$") else (option.path, option.line)
    return resolved.vassal.problem("file-missing", f"{what}: {message}", hint, at=at, severity=Severity.WARNING)
