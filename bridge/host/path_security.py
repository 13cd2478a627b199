"""Who can replace a path, by the owners and modes of its folders."""

from __future__ import annotations

import os
import stat
from pathlib import PurePosixPath


def open_folder(folder: str) -> str | None:
    """Return the first folder or symlink of a path that a user other than root can replace, or None.

    Sticky folders such as /tmp do not count: in them a user can rename only his own files.
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
                # systemd creates missing folders, owned by root.
                break
            if stat.S_ISLNK(info.st_mode):
                todo.append(os.path.join(os.path.dirname(step), os.readlink(step)))
            others = stat.S_IWOTH | (stat.S_IWGRP if info.st_gid else 0)
            sticky_or_link = stat.S_ISLNK(info.st_mode) or info.st_mode & stat.S_ISVTX
            if info.st_uid != 0 or (info.st_mode & others and not sticky_or_link):
                return step
    return None
