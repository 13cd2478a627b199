"""The compiled templates, kept from run to run. To compile those of a vassal takes about 15 ms."""

from __future__ import annotations

import marshal
import os
from typing import TYPE_CHECKING

from jinja2 import BytecodeCache

from bridge.host.files import read_regular, write_all

if TYPE_CHECKING:
    from jinja2.bccache import Bucket

_MAX = 4 * 1024 * 1024


class TemplateCache(BytecodeCache):
    """A file with mode 0600, in a folder of the bridge's own. Jinja compiles what is not in it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._known: dict[str, tuple[str, bytes]] | None = None
        """The checksum of each template's source, and its code."""
        self._is_new = False

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give a template its code, if its source is the same."""
        checksum, code = self._read().get(bucket.key, ("", b""))
        if checksum == bucket.checksum:
            bucket.bytecode_from_string(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Note the code of a template."""
        self._read()[bucket.key] = (bucket.checksum, bucket.bytecode_to_string())
        self._is_new = True

    def save(self) -> None:
        """Write what is new to the disk.

        Raises:
            OSError: the file system refuses.
        """
        if self._is_new:
            folder, _, name = self._path.rpartition("/")
            os.makedirs(folder, exist_ok=True)
            write_all(folder, {name: marshal.dumps(self._known)}, mode=0o600)
            self._is_new = False

    def _read(self) -> dict[str, tuple[str, bytes]]:
        if self._known is None:
            try:
                self._known = dict(marshal.loads(read_regular(self._path, max_bytes=_MAX)))  # noqa: S302 - our own file
            except (OSError, EOFError, ValueError, TypeError):
                self._known = {}
        return self._known
