"""Print what stands below some folders as JSON: each path's kind, mode, owner, and a digest of its content.

`snapshot.py ROOT…`. It opens only regular files, and follows no link. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LARGEST = 8 << 20
"""Bytes of a file that are read; of a larger one, its size counts."""


class Seen(NamedTuple):
    """One path as it was found."""

    kind: str
    """``-``, ``d``, ``l``, ``s``, ``p``, ``c`` or ``b``, as `ls -l` shows it."""
    mode: int
    uid: int
    gid: int
    content: str
    """A digest of a file, the target of a link, the number of a device."""


def look(path: str, *, opens: bool) -> Seen:
    """Return what stands at a path; without ``opens``, a file's content does not count."""
    info = os.lstat(path)
    kind = stat.filemode(info.st_mode)[0]
    content = ""
    if kind == "l":
        content = os.readlink(path)
    elif kind in "bc":
        content = f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
    elif kind == "-" and opens:
        content = str(info.st_size)
        if info.st_size <= LARGEST:
            with open(path, "rb") as file:
                content = blake2b(file.read(LARGEST), digest_size=12).hexdigest()
    return Seen(kind, stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, content)


def walk(root: str, is_left_out: Callable[[str], bool], opens: Callable[[str], bool]) -> Iterator[tuple[str, Seen]]:
    """Yield every path at and below a folder. What disappears meanwhile is left out."""
    waiting = [root]
    while waiting:
        path = waiting.pop()
        if is_left_out(path):
            continue
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            seen = look(path, opens=opens(path))
            yield path, seen
            if seen.kind == "d":
                waiting += (f"{path.rstrip('/')}/{name}" for name in os.listdir(path))


def main() -> None:
    """Read the roots from the arguments, and the paths to leave out from standard input, one a line."""
    left_out = set(sys.stdin.read().split("\n"))
    found: dict[str, Seen] = {}
    for root in sys.argv[1:]:
        found.update(walk(root, left_out.__contains__, lambda _path: True))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
