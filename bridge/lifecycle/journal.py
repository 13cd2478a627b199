"""The journal, written and read: what happens to vassals goes in, what became of them since boot comes out."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.diagnostics import Severity
from bridge.lifecycle.events import Priority
from bridge.lifecycle.history import Entry, SystemdMessage, make_histories

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bridge.diagnostics import Diagnostic
    from bridge.lifecycle.events import LifecycleEvent
    from bridge.lifecycle.history import History
    from bridge.model.change import Change

IDENTIFIER = "emperor-bridge"
NEWEST = 10_000
"""Entries of the manager's that are read at most, the newest: some 40 µs each."""

_NEVER = 2**62
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def tell(event: LifecycleEvent, *, vassal: str, user_manager: bool) -> None:
    """Write a moment of a vassal's life as one entry: ``journalctl VASSAL=NAME`` then tells its story.

    Values may be any text: sd_journal_sendv(3), which this goes to, interprets nothing.

    Raises:
        OSError: the journal does not take it.
    """
    from cysystemd.journal import send

    fields = {
        **event.fields,
        "MESSAGE": f"{vassal}: {event.event}: {event.text}",
        "MESSAGE_ID": event.message_id,
        "PRIORITY": int(event.priority),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        "USER_UNIT" if user_manager else "UNIT": event.unit,
        "VASSAL": vassal,
        "VASSAL_EVENT": str(event.event),
    }
    send(**{key: _utf8(value) if isinstance(value, str) else value for key, value in fields.items()})


def history(*, user_manager: bool) -> tuple[dict[str, History], int | None]:
    """Return what became of each vassal since boot, by the name of its service; one pass, with or without a daemon.

    Only what the manager itself said counts. Where it said more than :data:`NEWEST` things, the older are left out:
    then the second value is when the oldest was said that was read, in µs since the epoch. Empty where the journal
    cannot be read.
    """
    try:
        entries, since = _entries(user_manager=user_manager)
    except OSError:
        return {}, None
    return make_histories(entries), since


def _entries(*, user_manager: bool) -> tuple[deque[Entry], int | None]:
    """Return the manager's newest entries in the order of their time, and since when, if there may be older ones."""
    from cysystemd.reader import JournalOpenMode, JournalReader, Rule

    reader = JournalReader()
    # Without a journal on disk, a user's entries are among the system's, for those who may read it.
    reader.open(JournalOpenMode.LOCAL_ONLY if user_manager else JournalOpenMode.SYSTEM)
    # The journal vouches for names that begin with an underscore. A user's manager has the pid that it happens to get.
    trusted = {"_SYSTEMD_USER_UNIT": "init.scope", "_UID": str(os.getuid())} if user_manager else {"_PID": "1"}
    trusted["_BOOT_ID"] = _BOOT_ID.read_text(encoding="ascii").strip().replace("-", "")
    # In a chain of rules "or" binds closer than "and", whatever the parentheses; a rule serves once.
    first, *more = (Rule("MESSAGE_ID", str(said)) for said in SystemdMessage)
    rules = first
    for rule in more:
        rules |= rule
    for name, value in trusted.items():
        rules &= Rule(name, value)
    reader.add_filter(rules)
    # Not seek_tail(): where a filter is set, previous() then leaves out the newest entry. Seen with cysystemd 2.0.5.
    reader.seek_realtime_usec(_NEVER)
    newest: deque[Entry] = deque()
    oldest = None
    for _ in range(NEWEST):
        if (found := reader.previous()) is None:
            return newest, None
        oldest = found.get_realtime_usec()
        if (entry := _entry(found.data, oldest, user_manager=user_manager)) is not None:
            newest.appendleft(entry)
    return newest, oldest


def _entry(data: Mapping[str, Any], written: int, *, user_manager: bool) -> Entry | None:
    unit = str(data.get("USER_UNIT" if user_manager else "UNIT", ""))
    if not unit.startswith("vassal-") or not unit.endswith(".service"):
        return None
    status = _number(data.get("EXIT_STATUS"))
    has_exited = data.get("EXIT_CODE") == "exited"
    return Entry(
        said=SystemdMessage(str(data["MESSAGE_ID"])),
        unit=unit,
        at=_number(data.get("_SOURCE_REALTIME_TIMESTAMP")) or written,
        result=str(data.get("UNIT_RESULT", "")),
        exited=status if has_exited else None,
        killed_by=None if has_exited else status,
        is_main=data.get("COMMAND") == "ExecStart",
    )


def _number(text: object) -> int | None:
    return int(text) if isinstance(text, str) and text.isdecimal() else None


def _utf8(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


CHANGE_IDS = {
    "added": "4a72bd53435d465c96077ae4642a6ab9",
    "changed": "3ea6dcce21e64deb9072580cf8663234",
    "started": "4be2b93657e248e3873698ab7202a978",
    "reloaded": "79fdda5ead7b457486a470aa87499e26",
    "retried": "8edb1b3b67f24f99b3f82df933dca156",
    "mended": "3efd2ea022ce4d68a214de9ae7dcc46b",
    "removed": "729daf4141b54efa99736ec7b358f0b3",
}
"""The journal's ``MESSAGE_ID=`` of what the bridge itself does to a vassal; they never change."""
PROBLEM_ID = "8ca7e53a54524f68a4a53c6f0d9444f7"
"""The journal's ``MESSAGE_ID=`` of a problem: why a vassal's config is not in force."""


def tell_run(changes: Iterable[Change], problems: Iterable[Diagnostic], *, user_manager: bool) -> None:
    """Write what a run did to each vassal and what is wrong; a journal that does not take it stops no run."""
    with suppress(OSError):
        for change in changes:
            _tell_change(change, user_manager=user_manager)
        for problem in problems:
            _tell_problem(problem)


def _tell_change(change: Change, *, user_manager: bool) -> None:
    unit = {"USER_UNIT" if user_manager else "UNIT": change.unit}
    _send(
        MESSAGE=f"{change.vassal}: {change.verb}{f', {change.detail}' if change.detail else ''}",
        MESSAGE_ID=CHANGE_IDS[change.verb],
        PRIORITY=Priority.NOTICE,
        VASSAL=change.vassal,
        VASSAL_EVENT=str(change.verb),
        **unit,
    )


def _tell_problem(problem: Diagnostic) -> None:
    about = {"VASSAL": problem.vassal, "VASSAL_EVENT": "refused"} if problem.vassal else {}
    is_error = problem.severity is Severity.ERROR
    _send(
        MESSAGE=str(problem),
        MESSAGE_ID=PROBLEM_ID,
        PRIORITY=Priority.ERROR if is_error else Priority.WARNING,
        EMPEROR_BRIDGE_CODE=problem.code,
        **about,
    )


def _send(**fields: str | int) -> None:
    from cysystemd.journal import send

    known = {key: _utf8(value) if isinstance(value, str) else int(value) for key, value in fields.items()}
    send(SYSLOG_IDENTIFIER=IDENTIFIER, **known)
