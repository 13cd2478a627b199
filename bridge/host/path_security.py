"""Who can replace a path: the folders on the way to a file, judged by their owners and modes."""

from __future__ import annotations

import os
import stat
from pathlib import PurePosixPath


def open_folder(folder: str) -> str | None:
    """Return the first step on the way to a folder that somebody other than root can replace, or None.

    A sticky folder such as /tmp is no such step: nobody can rename there what is not theirs.
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
                # systemd makes what is not there, as root's.
                break
            if stat.S_ISLNK(info.st_mode):
                todo.append(os.path.join(os.path.dirname(step), os.readlink(step)))
            others = stat.S_IWOTH | (stat.S_IWGRP if info.st_gid else 0)
            sticky_or_link = stat.S_ISLNK(info.st_mode) or info.st_mode & stat.S_ISVTX
            if info.st_uid != 0 or (info.st_mode & others and not sticky_or_link):
                return step
    return None
