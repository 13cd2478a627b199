"""What the journal says of a unit: systemd's own reason for a failure."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_WARNING = 4
_ERROR = 3
_NEWEST = 10
_SYNC_TIMEOUT = 10.0


def failure_reason(*, user_manager: bool) -> Callable[[str], str]:
    """Return a function that finds the manager's own words on why a unit failed, or an empty text."""
    synced = False

    def reason(unit: str) -> str:
        nonlocal synced
        if not synced:
            # What the manager said a moment ago may not be in the journal yet.
            with suppress(OSError, subprocess.SubprocessError):
                subprocess.run(["journalctl", "--sync"], check=False, capture_output=True, timeout=_SYNC_TIMEOUT)
            synced = True
        with suppress(OSError):
            return _last_words(unit, user_manager=user_manager)
        return ""

    return reason


def _last_words(unit: str, *, user_manager: bool) -> str:
    from cysystemd.reader import JournalOpenMode, JournalReader, Rule

    reader = JournalReader()
    if user_manager:
        reader.open(JournalOpenMode.CURRENT_USER)
        reader.add_filter(Rule("USER_UNIT", unit))
    else:
        reader.open(JournalOpenMode.SYSTEM)
        # Its helpers, such as the one that gives a socket its owner, speak from within the unit.
        helper = Rule("UNIT", unit) & Rule("_SYSTEMD_UNIT", unit) & Rule("_UID", "0")
        reader.add_filter((Rule("UNIT", unit) & Rule("_PID", "1")) | helper)
    reader.seek_tail()
    found = ""
    for _ in range(_NEWEST):
        if (entry := reader.previous()) is None:
            break
        # Messages with an identifier only say that the unit failed; those without say why.
        priority = int(entry.data.get("PRIORITY", 7))
        if "MESSAGE_ID" not in entry.data and priority <= _WARNING:
            found = str(entry.data.get("MESSAGE", "")).removeprefix(f"{unit}: ")
            if priority <= _ERROR:
                break
    return found
