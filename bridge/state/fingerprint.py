"""A fingerprint of files: one number that is another once any of them has changed, come or gone."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


_TICK = 100_000_000
"""Nanoseconds by which the time of a file may lag behind the clock, and more."""


def digest(files: Iterable[str]) -> int:
    """Return a number that is another once any of the files has changed, come or gone; 0 if there are none."""
    facts: list[int] = []
    for path in files:
        try:
            info = os.lstat(path)
            if stat.S_ISSOCK(info.st_mode):
                # uWSGI sets a socket's mode each time it starts.
                facts += (info.st_dev, info.st_ino)
                continue
            if stat.S_ISLNK(info.st_mode):
                facts += (info.st_ino, info.st_ctime_ns)
                info = os.stat(path)
        except OSError as error:
            facts.append(-(error.errno or 1))
        except ValueError:
            # No file can have such a name, as one with a NUL that a config asks about.
            facts.append(0)
        else:
            facts += (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
    # Of numbers, and so the same in each process.
    return hash(tuple(facts)) if facts else 0


def changed_since(path: str, when: int) -> bool:
    """Tell whether a file may have changed since ``when`` (nanoseconds since the epoch)."""
    with suppress(OSError, ValueError):
        info = os.lstat(path)
        target = os.stat(path) if stat.S_ISLNK(info.st_mode) else info
        return max(info.st_ctime_ns, target.st_ctime_ns) >= when - _TICK
    return False
