"""Which warnings the last ``sync`` printed or counted, so that the next one prints only new ones.

The file is in /run beside the note of the last run. Without it, all warnings are printed once more.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.diagnostics import Severity
from bridge.host.files import read_regular, remove_if_there, write_all
from bridge.model.digest import blake2b

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.diagnostics import Diagnostic

_DIGEST = 8
"""Bytes of the hash of a warning."""
_MAX = 4096
"""Warnings that are remembered at most. Further ones are printed each time."""


class ShownWarnings:
    """The warnings of the last ``sync``. Only a run that holds the lock may write or forget them."""

    def __init__(self, last_run: str) -> None:
        """Use the file beside ``last_run``, the note of the last run."""
        self._path = f"{last_run}-warnings"
        self._hashes = self._read()

    def new(self, diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
        """Return all errors, and those warnings that the last ``sync`` did not have."""
        return tuple(d for d in diagnostics if d.severity is Severity.ERROR or _hash(d) not in self._hashes)

    def write(self, diagnostics: Sequence[Diagnostic]) -> None:
        """Remember these warnings for the next ``sync``, in place of all others."""
        warnings = (d for d in diagnostics if d.severity is Severity.WARNING)
        # In their order, so that of too many the same ones are remembered each time.
        hashes = list(dict.fromkeys(map(_hash, warnings)))[:_MAX]
        if set(hashes) == self._hashes:
            return
        folder, name = os.path.split(self._path)
        with suppress(OSError):
            if hashes:
                write_all(folder, {name: "\n".join(hashes)})
            else:
                remove_if_there(self._path)

    def forget(self) -> None:
        """Remove the file."""
        with suppress(OSError):
            remove_if_there(self._path)

    def _read(self) -> set[str]:
        with suppress(OSError, ValueError):
            return set(read_regular(self._path, max_bytes=_MAX * (2 * _DIGEST + 1)).decode("ascii").split())
        return set()


def _hash(diagnostic: Diagnostic) -> str:
    return blake2b(str(diagnostic).encode(errors="backslashreplace"), digest_size=_DIGEST).hexdigest()
