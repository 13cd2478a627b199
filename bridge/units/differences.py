"""What a changed unit file means for the unit that runs: whether it must be stopped for the new text. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.units.marker import FORMAT, unmarked

if TYPE_CHECKING:
    from bridge.model.unit import UnitFile

_IDENTITY = frozenset(
    {"ListenStream", "SocketMode", "SocketUser", "SocketGroup", "Backlog", "StandardInput", "User", "Group"}
)
"""The settings that say which socket it is, who may use it, and as whom the service runs."""


def needs_restart(file: UnitFile, text: str) -> bool:
    """Tell whether a unit must be stopped for its new text to take effect.

    A unit that another version of the bridge made goes on under its old text until its next start, so that an upgrade
    stops no app: unless it would listen elsewhere, be open to others or run as somebody else.
    """
    if unmarked(file.text) == unmarked(text):
        return False
    if file.mark is not None and file.mark.format == FORMAT:
        return True
    return _identity(file.text) != _identity(text)


def _identity(text: str) -> list[str]:
    return sorted(line for line in text.splitlines() if line.partition("=")[0] in _IDENTITY)
