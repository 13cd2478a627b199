"""The pause notes: what a vassal's service wrote about its pause after a failure, or about its exile.

The script ``vassals-pause`` (templates/vassals-pause.j2) writes them, one file for each service: the seconds of the
pause, or the word ``exile`` after an exit with code 26. The second line has the ids of the runs that it follows
(``InvocationID``). The script ``vassals-brake`` does the same where systemd could not run the first.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.host.files import read_regular, remove_if_there
from bridge.model.unit_names import vassal_unit

if TYPE_CHECKING:
    from collections.abc import Iterable

_NOTE_MAX = 512
_EXILE = b"exile"


class PauseNotes:
    """The folder of the pause notes."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def exiled(self) -> frozenset[str]:
        """Return the labels of vassals that asked, with exit code 26, not to be started again."""
        try:
            names = os.listdir(self._folder)
        except OSError:
            return frozenset()
        found = set()
        for name in names:
            with suppress(OSError):
                if (parts := vassal_unit(name)) and self._read(name).strip() == _EXILE:
                    found.add(parts[0])
        return frozenset(found)

    def pause(self, service: str) -> float | None:
        """Return for how many seconds a service pauses now, if that is known."""
        try:
            return float(self._read(service))
        except (OSError, ValueError):
            return None

    def forget(self, services: Iterable[str]) -> None:
        """Forget that services failed before, so that their next pause is a short one.

        Raises:
            OSError: the file system refuses.
        """
        for service in services:
            for note in (service, f"{service.removesuffix('.service')}.ends"):
                remove_if_there(f"{self._folder}/{note}")
        with suppress(OSError):
            os.rmdir(self._folder)

    def _read(self, service: str) -> bytes:
        return read_regular(f"{self._folder}/{service}", max_bytes=_NOTE_MAX).partition(b"\n")[0]
