"""A file system of its own for the measured machines: fresh, as fast for the last of them as for the first.

ext4 does not give a freed inode out again for some seconds, and searches past all of them meanwhile
(``recently_deleted`` in fs/ext4/ialloc.c): where machines of thousands of files come and go, to make a file took ten
times as long.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 16 << 30
"""Bytes it may come to hold; the file is sparse."""
PLACE = "EMPEROR_BRIDGE_MACHINE_DIR"


@contextmanager
def fresh_disk() -> Iterator[str]:
    """Have machines keep their files on a fresh ext4; yield what they are on, for the report.

    Where none can be mounted, or the caller has named a place, it is that place.
    """
    if PLACE in os.environ:
        yield os.environ[PLACE]
        return
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="emperor-bridge-bench-") as folder:
        image, place = Path(folder, "image"), Path(folder, "disk")
        place.mkdir()
        with image.open("wb") as file:
            file.truncate(SIZE)
        if not (_run("mkfs.ext4", "-q", "-F", str(image)) and _run("mount", "-o", "loop", str(image), str(place))):
            yield "/var/tmp"
            return
        os.environ[PLACE] = str(place)
        try:
            yield "a fresh ext4 in a file"
        finally:
            del os.environ[PLACE]
            subprocess.run(["umount", "--lazy", str(place)], check=False)


def _run(*argv: str) -> bool:
    return subprocess.run(argv, check=False, capture_output=True).returncode == 0
