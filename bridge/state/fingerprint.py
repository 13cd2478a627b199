"""A fingerprint of files: one number that is another once any of them has changed, come or gone."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


_TICK = 100_000_000
"""Nanoseconds by which the time of a file may lag behind the clock, and more."""


def digest(files: Iterable[str]) -> int:
    """Return a number that is another once any of the files has changed, come or gone; 0 if there are none."""
    facts: list[int] = []
    for path in files:
        _note(path, facts)
    return _number(facts)


def settled_digest(inputs: Iterable[str], outputs: Iterable[str], when: int) -> int:
    """Return the digest of all these; 0 if an input may have changed since ``when`` (nanoseconds since the epoch)."""
    facts: list[int] = []
    for path in inputs:
        if _note(path, facts) >= when - _TICK:
            return 0
    for path in outputs:
        _note(path, facts)
    return _number(facts)


def _note(path: str, facts: list[int]) -> int:
    """Add what is known of a file, and return when it, or the link to it, last changed; 0 if it is not there."""
    changed = 0
    try:
        info = os.lstat(path)
        changed = info.st_ctime_ns
        if stat.S_ISSOCK(info.st_mode):
            # uWSGI sets a socket's mode each time it starts.
            facts += (info.st_dev, info.st_ino)
            return changed
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
        changed = max(changed, info.st_ctime_ns)
    return changed


def _number(facts: list[int]) -> int:
    # Of numbers, and so the same in each process.
    return hash(tuple(facts)) if facts else 0
