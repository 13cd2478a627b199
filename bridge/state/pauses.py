"""The pause notes: what a vassal's service wrote about its pause after a failure, and its exile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.host.files import read_regular

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.config.paths import Paths

_NOTE_MAX = 64


def pause_reader(paths: Paths) -> Callable[[str], float | None]:
    """Return a function that tells for how many seconds a vassal, by its label, pauses now, if that is known."""

    def pause(label: str) -> float | None:
        try:
            return float(read_regular(f"{paths.pauses}/vassal-{label}.service", max_bytes=_NOTE_MAX))
        except (OSError, ValueError):
            return None

    return pause
