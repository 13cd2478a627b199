"""Where servers of these tests have their files."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def folder_for_postgres() -> Iterator[Path]:
    # The user postgres cannot enter pytest's folders.
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o755)  # noqa: S103
        yield Path(name)
