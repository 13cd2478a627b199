"""Symlinks: where they lead, step by step."""

from __future__ import annotations

import os

MAX_LINKS = 40
"""Symlinks the kernel follows in one path (path_resolution(7))."""


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
