"""What happened to each vassal since boot, from the manager's own entries in the journal.

All but :func:`read_histories` is pure: entries in, facts out.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from bridge.lifecycle.events import Ending, Event
from bridge.model.unit_names import vassal_unit
from bridge.systemd.journal import JournalFilter, newest_entries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bridge.systemd.journal import JournalEntry


class SystemdMessage(StrEnum):
    """What the manager reports about a unit, by its ``MESSAGE_ID`` (sd-messages(3), sd-messages.h)."""

    STARTED = "39f53479d3a045ac8e11786248231fbf"
    STOPPING = "de5b426a63be47a7b6ac3eaac82e2f6f"
    SUCCESS = "7ad2d189f7e94e70a38c781354912448"
    FAILURE = "d9b373ed55a64feb8242e02dbe79a49c"
    EXITED = "98e322203f7a4ed290d09fe03c09fe15"
    """How a process ended. It is not sent for a process that succeeded."""
    OUT_OF_MEMORY = "fe6faa94e7774663a0da52717891d8ef"
    """The kernel killed a process of the unit for want of memory. The unit may go on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One message of the manager about a vassal's service."""

    message: SystemdMessage
    unit: str
    at: int
    """When, in µs since the epoch."""
    result: str = ""
    exited: int | None = None
    """The status the process exited with."""
    killed_by: int | None = None
    """The signal that killed the process."""
    is_main: bool = True
    """Whether the process was the main one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """What happened to one vassal since boot. Times are in µs since the epoch; None means never."""

    last_wake: int | None = None
    last_idle_exit: int | None = None
    wakes: int = 0
    """How often it was started and became ready."""
    last_failure: int | None = None
    failure: str | None = None
    """Why it failed then, for people."""


UNKNOWN = History()
"""The history of a vassal about which the journal has no entry."""


class _Record:
    """One vassal's history, built from entry after entry."""

    __slots__ = (
        "failed_at",
        "failure",
        "idle_at",
        "is_ready",
        "is_stopping",
        "out_of_memory",
        "process",
        "wakes",
        "woken_at",
    )

    def __init__(self) -> None:
        self.woken_at: int | None = None
        self.idle_at: int | None = None
        self.failed_at: int | None = None
        self.failure: str | None = None
        self.wakes = 0
        self.is_ready = self.is_stopping = self.out_of_memory = False
        self.process: Entry | None = None
        """How the main process ended, if the manager has not yet reported the result of the run."""

    def add(self, entry: Entry) -> None:
        match entry.message:
            case SystemdMessage.STARTED:
                self._begin(is_ready=True)
                self.woken_at = entry.at
                self.wakes += 1
            case SystemdMessage.STOPPING:
                self.is_stopping = True
            case SystemdMessage.SUCCESS:
                if self.is_ready and not self.is_stopping:
                    self.idle_at = entry.at
                self._begin(is_ready=False)
            case SystemdMessage.EXITED if entry.is_main:
                # During the pause after a failure this is the only entry. The result follows the pause.
                self.process = entry
                self._fail(entry, "oom-kill" if self.out_of_memory else "")
            case SystemdMessage.OUT_OF_MEMORY:
                self.out_of_memory = True
                self._fail(entry, "oom-kill")
            case SystemdMessage.FAILURE if entry.result == "protocol" and self.process is None:
                # It exited with 0, and could not tell systemd that it was ready.
                self.idle_at = entry.at
                self._begin(is_ready=False)
            case SystemdMessage.FAILURE:
                self._fail(entry, entry.result)
                self._begin(is_ready=False)

    def _begin(self, *, is_ready: bool) -> None:
        self.is_ready = is_ready
        self.is_stopping = self.out_of_memory = False
        self.process = None

    def _fail(self, entry: Entry, result: str) -> None:
        process = self.process
        ending = Ending(
            result="oom-kill" if self.out_of_memory else result or "exit-code",
            status=process.exited if process else None,
            killed_by=process.killed_by if process else None,
            was_ready=self.is_ready,
        )
        self.failure = ending.text
        self.failed_at = process.at if process else entry.at

    def finished(self) -> History:
        return History(
            last_wake=self.woken_at,
            last_idle_exit=self.idle_at,
            wakes=self.wakes,
            last_failure=self.failed_at,
            failure=self.failure,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Histories:
    """The histories of all vassals."""

    by_service: Mapping[str, History] = field(default_factory=dict)
    since: int | None = None
    """The time of the oldest entry that was read, if older ones were left out. None: the histories begin at boot."""

    def of(self, service: str | None) -> History:
        """Return the history of the vassal with this service."""
        return self.by_service.get(service or "", UNKNOWN)


def make_histories(entries: Iterable[Entry]) -> dict[str, History]:
    """Return the history of each vassal by the name of its service. The entries are in the order of their time."""
    records: dict[str, _Record] = {}
    for entry in entries:
        if (record := records.get(entry.unit)) is None:
            parts = vassal_unit(entry.unit)
            if parts is None or parts[1] != "service":
                continue
            record = records[entry.unit] = _Record()
        record.add(entry)
    return {unit: record.finished() for unit, record in records.items()}


def advance(history: History, event: Event, text: str, at: int) -> History:
    """Return a history with one more event in it, as it will be read from the journal later."""
    match event:
        case Event.RUNNING:
            return replace(history, last_wake=at, wakes=history.wakes + 1)
        case Event.IDLE_EXIT:
            return replace(history, last_idle_exit=at)
        case Event.CRASHED | Event.FAILED_START | Event.EXILED | Event.OOM_KILLED:
            return replace(history, last_failure=at, failure=text)
    return history


NEWEST = 10_000
"""Entries of the manager that are read at most, the newest. Each takes some 40 µs."""
_DIGITS = 20
"""Digits of the greatest number in an entry, a time in 64 bits."""
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def read_histories(*, user_manager: bool) -> Histories:
    """Read what happened to each vassal since boot, in one pass over the journal; no daemon is needed.

    Only entries of the manager itself count. Where there are more than :data:`NEWEST`, the older ones are left out.
    Where the journal cannot be read, all histories are empty.
    """
    # The journal vouches for names that begin with an underscore. A user's manager has no fixed PID.
    sender = {"_SYSTEMD_USER_UNIT": "init.scope", "_UID": str(os.getuid())} if user_manager else {"_PID": "1"}
    entries: deque[Entry] = deque()
    read, oldest = 0, None
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            boot = file.read().strip().replace("-", "")
        wanted = JournalFilter(
            alternatives=("MESSAGE_ID", map(str, SystemdMessage)),
            required={**sender, "_BOOT_ID": boot},
            user_manager=user_manager,
        )
        for found in newest_entries(wanted, NEWEST):
            read, oldest = read + 1, found.written
            if (entry := parse_entry(found, user_manager=user_manager)) is not None:
                entries.appendleft(entry)
    except OSError:
        return Histories()
    return Histories(by_service=make_histories(entries), since=oldest if read == NEWEST else None)


def parse_entry(found: JournalEntry, *, user_manager: bool) -> Entry | None:
    """Return what an entry of the manager says about a vassal's service. None: it is about another unit."""
    fields = found.fields
    unit = fields.get("USER_UNIT" if user_manager else "UNIT", "")
    parts = vassal_unit(unit)
    if parts is None or parts[1] != "service":
        return None
    status = _number(fields.get("EXIT_STATUS"))
    has_exited = fields.get("EXIT_CODE") == "exited"
    return Entry(
        message=SystemdMessage(fields["MESSAGE_ID"]),
        unit=unit,
        at=_number(fields.get("_SOURCE_REALTIME_TIMESTAMP")) or found.written,
        result=fields.get("UNIT_RESULT", ""),
        exited=status if has_exited else None,
        killed_by=None if has_exited else status,
        is_main=fields.get("COMMAND") == "ExecStart",
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) <= _DIGITS else None
