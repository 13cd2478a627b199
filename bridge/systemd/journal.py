"""What the journal says of a unit: systemd's own reason for a failure."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_WARNING = 4
_ERROR = 3
_NEWEST = 10
_SYNC_TIMEOUT = 10.0
_NEVER = 2**62


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
    reader.open(JournalOpenMode.LOCAL_ONLY if user_manager else JournalOpenMode.SYSTEM)
    # In a chain of rules "or" binds closer than "and". The manager's helpers, such as the one that gives a socket its
    # owner, are root's too.
    who = Rule("_UID", str(os.getuid()))
    reader.add_filter(Rule("USER_UNIT" if user_manager else "UNIT", unit) & who)
    # Not seek_tail(): where a filter is set, previous() then leaves out the newest entry. Seen with cysystemd 2.0.5.
    reader.seek_realtime_usec(_NEVER)
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
