"""Symlinks: where they lead, step by step."""

from __future__ import annotations

import os
import stat

MAX_LINKS = 40
"""Symlinks the kernel follows in one path (path_resolution(7))."""


def link_owners(path: str) -> frozenset[int]:
    """Return the owners of all symlinks on the way to a file, itself and its folders included."""
    owners: set[int] = set()
    current, links = "/", 0
    todo = [step for step in reversed(path.split("/")) if step]
    while todo and links <= MAX_LINKS:
        step = todo.pop()
        if step == "..":
            current = os.path.dirname(current)
            continue
        entry = f"{current.rstrip('/')}/{step}"
        try:
            info = os.lstat(entry)
            target = os.readlink(entry) if stat.S_ISLNK(info.st_mode) else None
        except OSError:
            break
        if target is None:
            current = entry
            continue
        links += 1
        owners.add(info.st_uid)
        current = "/" if target.startswith("/") else current
        todo += [one for one in reversed(target.split("/")) if one not in {"", "."}]
    return frozenset(owners)


def link_targets(path: str) -> tuple[str, ...]:
    """Return the files that a symlink at ``path`` leads to, one for each link on the way; empty if it is none.

    Only the last step of each path is followed: folders that are symlinks stay as they are written.
    """
    found: list[str] = []
    for _ in range(MAX_LINKS):
        try:
            target = os.readlink(path)
        except OSError:
            break
        path = os.path.normpath(os.path.join(os.path.dirname(path), target))
        found.append(path)
    return tuple(found)
