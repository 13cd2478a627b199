"""What became of each vassal since boot, from the manager's own entries in the journal. Pure: entries in, facts out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bridge.lifecycle.events import Ending, Event
from bridge.lifecycle.tracker import vassal_unit

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
