"""Finds what differs between builds of the same uWSGI: the libraries that the installed program was linked with."""

from __future__ import annotations

import functools
import os
import re

_LIBXML2 = re.compile(rb"libxml2\.so\.(\d+)\0")
_SOLE_NODES = 16
"""The library's version since libxml2 2.14; that of all earlier releases is 2."""
_MAX_BYTES = 64 * 1024 * 1024


def joins_cdata(program: str) -> bool:
    """Return whether a uWSGI takes successive CDATA sections of an XML config as one text.

    libxml2 joins them before its release 2.14. A program that names no libxml2 is taken to have an earlier one.
    """
    try:
        status = os.stat(program)
    except (OSError, ValueError):
        return True
    return _libxml2(program, status.st_ino, status.st_mtime_ns) < _SOLE_NODES


@functools.lru_cache(maxsize=4)
def _libxml2(program: str, _inode: int, _changed: int) -> int:
    """Return the version in the name of the libxml2 that a program needs, as its dynamic section has it; or 0."""
    try:
        with open(program, "rb") as file:
            found = _LIBXML2.search(file.read(_MAX_BYTES))
    except OSError:
        return 0
    return int(found[1]) if found else 0
