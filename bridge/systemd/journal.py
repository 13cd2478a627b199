"""Read the journal: the newest entries that match, and the manager's own reason for a unit's failure."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_ERROR = 3
_WARNING = 4
"""Priorities, in syslog's numbers."""
_READ = 40
"""Entries about one unit that are read at most to find the reason of its failure."""
_CONSIDERED = 10
"""How many of them are considered, beside warnings that systemd ignored: older ones are of earlier failures."""
_SYNC_TIMEOUT = 10.0
_NEVER = 2**62
"""A time in µs since the epoch that is later than every entry."""
_IGNORED = re.compile(r"[,.;:)] ignoring\b|[,.;:)] proceeding (anyway|without)\b", re.IGNORECASE | re.DOTALL)
"""How systemd ends a warning about what it does without: such a failure stops no unit."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One entry of the journal."""

    fields: Mapping[str, str]
    written: int = 0
    """When the journal received it, in µs since the epoch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalFilter:
    """Which entries to read: every field in ``required`` matches, and one of the values in ``alternatives``."""

    required: Mapping[str, str]
    alternatives: tuple[str, Iterable[str]] | None = None
    """The name of a field and the values it may have."""
    user_manager: bool = False
    """Whether to search a user's entries too, which the journal may keep in files of their own."""


def newest_entries(wanted: JournalFilter, limit: int) -> Iterator[JournalEntry]:
    """Yield at most ``limit`` matching entries, the newest first.

    Raises:
        OSError: the journal cannot be read.
    """
    from cysystemd.reader import JournalOpenMode, JournalReader, Rule

    reader = JournalReader()
    # Without a journal on disk, a user's entries are among the system's, for those who may read it.
    reader.open(JournalOpenMode.LOCAL_ONLY if wanted.user_manager else JournalOpenMode.SYSTEM)
    # In a chain of rules "or" binds closer than "and", whatever the parentheses. Each rule can be used only once.
    rules = None
    if wanted.alternatives is not None:
        name, values = wanted.alternatives
        for value in values:
            rule = Rule(name, value)
            rules = rule if rules is None else rules | rule
    for name, value in wanted.required.items():
        rule = Rule(name, value)
        rules = rule if rules is None else rules & rule
    reader.add_filter(rules)
    # Not seek_tail(): with a filter, previous() then leaves out the newest entry. Seen with cysystemd 2.0.5.
    reader.seek_realtime_usec(_NEVER)
    for _ in range(limit):
        if (found := reader.previous()) is None:
            return
        yield JournalEntry(found.data, found.get_realtime_usec())


def failure_reason(*, user_manager: bool) -> Callable[[str], str]:
    """Return a function that finds the manager's own words on why a unit failed, or an empty text."""
    is_synced = False

    def reason(unit: str) -> str:
        nonlocal is_synced
        if not is_synced:
            _sync()
            is_synced = True
        # Helpers of the manager, such as the one that gives a socket its owner, run as the same user.
        required = {"USER_UNIT" if user_manager else "UNIT": unit, "_UID": str(os.getuid())}
        wanted = JournalFilter(required=required, user_manager=user_manager)
        with suppress(OSError):
            return choose_reason(unit, newest_entries(wanted, _READ))
        return ""

    return reason


def _sync() -> None:
    """Wait until the journal has stored everything that was sent to it."""
    import subprocess

    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run(["journalctl", "--sync"], check=False, capture_output=True, timeout=_SYNC_TIMEOUT)


def choose_reason(unit: str, entries: Iterable[JournalEntry]) -> str:
    """Return the message that says why a unit failed, from its entries, the newest first. Empty: none does.

    This is the newest error, or else the oldest warning. Messages with an identifier only say that the unit failed.
    Warnings about what systemd ignored are no reason.
    """
    found = ""
    for entry in islice((entry for entry in entries if not _is_ignored(entry)), _CONSIDERED):
        priority = _priority(entry)
        if "MESSAGE_ID" in entry.fields or priority > _WARNING:
            continue
        found = entry.fields.get("MESSAGE", "").removeprefix(f"{unit}: ")
        if priority <= _ERROR:
            break
    return found


def _priority(entry: JournalEntry) -> int:
    """Return an entry's priority. Whoever sends an entry chooses this field's text; one that is none is the lowest."""
    text = entry.fields.get("PRIORITY", "")
    return int(text) if text in {"0", "1", "2", "3", "4", "5", "6"} else 7


def _is_ignored(entry: JournalEntry) -> bool:
    return _IGNORED.search(entry.fields.get("MESSAGE", "")) is not None
