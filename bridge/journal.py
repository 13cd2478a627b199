"""What the journal says of a unit: systemd's own reason for a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_WARNING = 4
_NEWEST = 50


def failure_reason(*, user_manager: bool) -> Callable[[str], str]:
    """Return a function that finds the manager's last warning or error about a unit, or an empty text."""
    field = "USER_UNIT" if user_manager else "UNIT"

    def reason(unit: str) -> str:
        from cysystemd.reader import JournalOpenMode, JournalReader, Rule

        reader = JournalReader()
        reader.open(JournalOpenMode.CURRENT_USER if user_manager else JournalOpenMode.SYSTEM)
        reader.add_filter(Rule(field, unit))
        reader.seek_tail()
        for _ in range(_NEWEST):
            if not reader.previous():
                break
            for entry in reader:
                if int(entry.data.get("PRIORITY", 7)) <= _WARNING:
                    return str(entry.data.get("MESSAGE", "")).removeprefix(f"{unit}: ")
                break
        return ""

    return reason
