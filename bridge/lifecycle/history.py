"""What became of each vassal since boot, from the manager's own entries in the journal. Pure: entries in, facts out."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bridge.lifecycle.events import Ending, Event
from bridge.model.unit_names import vassal_unit

if TYPE_CHECKING:
    from collections.abc import Iterable


class SystemdMessage(StrEnum):
    """What the manager says of a unit, by the ``MESSAGE_ID`` it says it under (sd-messages(3), sd-messages.h)."""

    STARTED = "39f53479d3a045ac8e11786248231fbf"
    STOPPING = "de5b426a63be47a7b6ac3eaac82e2f6f"
    SUCCESS = "7ad2d189f7e94e70a38c781354912448"
    FAILURE = "d9b373ed55a64feb8242e02dbe79a49c"
    EXITED = "98e322203f7a4ed290d09fe03c09fe15"
    """How a process ended; not said of one that ended well."""
    OUT_OF_MEMORY = "fe6faa94e7774663a0da52717891d8ef"
    """The kernel ended a process of the unit; the unit may live on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One thing said of a unit."""

    said: SystemdMessage
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
    """A vassal since boot; times are in µs since the epoch, None: never."""

    last_wake: int | None = None
    last_idle_exit: int | None = None
    wakes: int = 0
    """How often it was started and became ready."""
    last_failure: int | None = None
    failure: str | None = None
    """Why it failed then, for people."""


UNKNOWN = History()
"""Of a vassal of which nothing is known."""


class _Record:
    """A history in the making."""

    __slots__ = (
        "failed_at",
        "failure",
        "idle_at",
        "is_ready",
        "is_told",
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
        self.is_ready = self.is_told = self.out_of_memory = False
        self.process: Entry | None = None
        """How the main process ended, of a run whose end is not yet complete."""

    def add(self, entry: Entry) -> None:
        match entry.said:
            case SystemdMessage.STARTED:
                self._begin(is_ready=True)
                self.woken_at = entry.at
                self.wakes += 1
            case SystemdMessage.STOPPING:
                self.is_told = True
            case SystemdMessage.SUCCESS:
                if self.is_ready and not self.is_told:
                    self.idle_at = entry.at
                self._begin(is_ready=False)
            case SystemdMessage.EXITED if entry.is_main:
                # While a pause lasts this is all that is said; the result comes after it.
                self.process = entry
                self._fail(entry, "oom-kill" if self.out_of_memory else "")
            case SystemdMessage.OUT_OF_MEMORY:
                self.out_of_memory = True
                self._fail(entry, "oom-kill")
            case SystemdMessage.FAILURE:
                self._fail(entry, entry.result)
                self._begin(is_ready=False)

    def _begin(self, *, is_ready: bool) -> None:
        self.is_ready = is_ready
        self.is_told = self.out_of_memory = False
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


def make_histories(entries: Iterable[Entry]) -> dict[str, History]:
    """Return the history of each vassal's service by unit; the entries are in the order of their time."""
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
    """Return a history with one more event in it, as the journal would tell it once it is written there."""
    from dataclasses import replace

    match event:
        case Event.RUNNING:
            return replace(history, last_wake=at, wakes=history.wakes + 1)
        case Event.IDLE_EXIT:
            return replace(history, last_idle_exit=at)
        case Event.CRASHED | Event.FAILED_START | Event.EXILED | Event.OOM_KILLED:
            return replace(history, last_failure=at, failure=text)
    return history


NEWEST = 10_000
"""Entries of the manager's that are read at most, the newest: some 40 µs each."""


_NEVER = 2**62


_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def read_histories(*, user_manager: bool) -> tuple[dict[str, History], int | None]:
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
