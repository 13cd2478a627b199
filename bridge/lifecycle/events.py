"""The events in a vassal's life, and what the end of its main process means.

Pure. How a run ends, and what follows:

==================================  ================  =================================================
main process                        event             then
==================================  ================  =================================================
0 by itself, when ready             ``idle-exit``     listening: woken by the next connection
whatever, after it was told to end  ``stopped``       as told
26 (UWSGI_EXILE_CODE)               ``exiled``        down until its config changes, or ``retry``
other status or a signal            ``crashed``       ``throttled``, then listening, its queue kept
any end before it was ready         ``failed-start``  ``throttled``, then listening, its queue kept
ended by the OOM killer             ``oom-killed``    ``throttled``, then listening, its queue kept
==================================  ================  =================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


import signal
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

EXILE = 26
"""The exit status with which a vassal says "do not start me again" (``UWSGI_EXILE_CODE`` in uwsgi.h)."""


class Event(StrEnum):
    """What happens to a vassal, as in the journal's ``VASSAL_EVENT=``."""

    WAITING = "waiting"
    """Nothing of it runs, and its socket listens."""
    STARTING = "starting"
    """Its process was started: by a connection, a command, or because it runs always."""
    RUNNING = "running"
    """uWSGI says that it is ready."""
    RELOADED = "reloaded"
    """It was told to read its config again, and is ready for it."""
    IDLE_EXIT = "idle-exit"
    """It ended by itself and well, as with ``die-on-idle``."""
    STOPPED = "stopped"
    """It was told to end, and did; or it ended when nobody could see how."""
    CRASHED = "crashed"
    """It ended otherwise, after it was ready."""
    FAILED_START = "failed-start"
    """It ended before it was ready, or could not be started at all."""
    EXILED = "exiled"
    """It asked not to be started again."""
    OOM_KILLED = "oom-killed"
    """The kernel ended a process of it for want of memory."""
    THROTTLED = "throttled"
    """A pause before it may be started again has begun."""
    CLOSED = "closed"
    """Its socket listens no more, because somebody closed it."""
    SOCKET_FAILED = "socket-failed"
    """Its socket cannot listen."""


MESSAGE_IDS = {
    Event.WAITING: "4bb21b13900f4d9bb393578a0b310c7a",
    Event.STARTING: "1e81a6bc9b26448c9f9339975ceb11d5",
    Event.RUNNING: "65e83e4ebd864640afb55954752b07fb",
    Event.RELOADED: "31a460f3859441aeb1709737e7ef4242",
    Event.IDLE_EXIT: "67d1356258334759a40cc72bc504cd8c",
    Event.STOPPED: "c6226b3f200b4893af6f865ed5541222",
    Event.CRASHED: "2c014066404941f29706afc47aea0b68",
    Event.FAILED_START: "40bcdaf5ceeb4406811ae56fe148a9a2",
    Event.EXILED: "de40df775f154a8b86004316665892d1",
    Event.OOM_KILLED: "bba36349cf184297892d0c30ff18af68",
    Event.THROTTLED: "d2b4f46646304130b2bc13c443fa4683",
    Event.CLOSED: "333d95849ccf4c00b6f8956cecc2a9b0",
    Event.SOCKET_FAILED: "e6db80f68c7c478a85c839a96c70f019",
}
"""The journal's ``MESSAGE_ID=`` of each event; they never change."""


class Priority(IntEnum):
    """How loud an event is, in syslog's numbers."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


_PRIORITIES = {
    Event.SOCKET_FAILED: Priority.ERROR,
    Event.OOM_KILLED: Priority.ERROR,
    Event.CRASHED: Priority.WARNING,
    Event.FAILED_START: Priority.WARNING,
    Event.EXILED: Priority.WARNING,
    Event.THROTTLED: Priority.NOTICE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class LifecycleEvent:
    """One event in the life of one vassal."""

    label: str
    """The vassal's label, as in ``vassal-LABEL.service``."""
    unit: str
    """The unit it happened to."""
    event: Event
    text: str
    """What happened, for people; the vassal is not named in it."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """More for the journal, under systemd's own names: ``UNIT_RESULT``, ``EXIT_CODE``, ``EXIT_STATUS``."""

    @property
    def message_id(self) -> str:
        """The journal's ``MESSAGE_ID=``."""
        return MESSAGE_IDS[self.event]

    @property
    def priority(self) -> Priority:
        """How loud it is."""
        return _PRIORITIES.get(self.event, Priority.INFO)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How a run of a vassal ended, as the manager tells it."""

    result: str
    """The unit's ``Result`` (systemd.exec(5), ``$SERVICE_RESULT``)."""
    status: int | None = None
    """The main process's exit status, if it exited."""
    killed_by: int | None = None
    """The signal that ended the main process, if one did."""
    was_ready: bool = True
    """Whether it had said that it was ready."""
    was_told: bool = False
    """Whether the manager had been told to end it."""

    @property
    def event(self) -> Event:
        """What kind of end it was."""
        if self.result == "oom-kill":
            return Event.OOM_KILLED
        if self.was_told:
            return Event.STOPPED
        if self.status == EXILE:
            return Event.EXILED
        if self.result == "success":
            return Event.IDLE_EXIT if self.status == 0 else Event.STOPPED
        return Event.CRASHED if self.was_ready else Event.FAILED_START

    @property
    def text(self) -> str:
        """What happened, for people."""
        if self.event is Event.STOPPED and self.result == "success":
            return "ended as it was told" if self.was_told else f"ended by itself: {self._process}"
        if self.event is Event.IDLE_EXIT:
            return "ended by itself, all well"
        if self.event is Event.EXILED:
            return f"asked not to be started again: {self._process}"
        reason = self._late if self.result == "timeout" else _RESULTS.get(self.result)
        if reason:
            return f"{reason} ({self._process})" if self._process else reason
        if not self._process:
            return self.result
        return self._process if self.was_ready or self.was_told else f"{self._process} before it was ready"

    @property
    def fields(self) -> dict[str, str]:
        """Return the facts for the journal, under systemd's own names."""
        fields = {"UNIT_RESULT": self.result}
        if self.status is not None:
            fields |= {"EXIT_CODE": "exited", "EXIT_STATUS": str(self.status)}
        elif self.killed_by is not None:
            fields |= {"EXIT_CODE": "killed", "EXIT_STATUS": str(self.killed_by)}
        return fields

    @property
    def _late(self) -> str:
        if self.was_told:
            return "did not end in time"
        return "ran for longer than it may" if self.was_ready else "was not ready in time"

    @property
    def _process(self) -> str:
        if self.status is not None:
            # systemd's own numbers, from 200 on, say what it could not do before the program ran.
            why = _SETUP.get(self.status, "")
            return f"exited with status {self.status}{f' ({why})' if why else ''}"
        if self.killed_by is not None:
            return f"killed by {_signal_name(self.killed_by)}"
        return ""


def explain(result: str) -> str:
    """Return a unit's ``Result`` in words."""
    return _RESULTS.get(result, result)


_RESULTS = {
    "protocol": "ended before it said that it was ready",
    "timeout": "not in time",
    "core-dump": "crashed with a core dump",
    "watchdog": "gave no sign of life in time",
    "oom-kill": "ended by the kernel for want of memory",
    "start-limit-hit": "started too often",
    "trigger-limit-hit": "connected to too often",
    "service-start-limit-hit": "its service was started too often",
    "resources": "the system could not provide what it needs",
    "exec-condition": "a condition of its unit does not hold",
}
_SETUP = {
    200: "its directory cannot be entered",
    203: "its program cannot be run",
    216: "its group cannot be taken on",
    217: "its user cannot be taken on",
}
"""systemd.exec(5), "Process Exit Codes"."""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


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
