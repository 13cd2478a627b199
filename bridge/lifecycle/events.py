"""The events of a vassal's lifecycle, and what the end of its main process means.

Pure. How a run ends, and what follows:

==================================  ================  =================================================
main process                        event             then
==================================  ================  =================================================
exits with 0 by itself              ``idle-exit``     listening: started by the next connection
ends after the manager stopped it   ``stopped``       as the manager was told
exits with 26 (UWSGI_EXILE_CODE)    ``exiled``        down until its config changes, or ``retry``
other status or a signal            ``crashed``       ``throttled``, then listening, its queue kept
another end before it was ready     ``failed-start``  ``throttled``, then listening, its queue kept
killed by the OOM killer            ``oom-killed``    ``throttled``, then listening, its queue kept
==================================  ================  =================================================

A vassal whose ``$NOTIFY_SOCKET`` a chroot or a wrapper hides never says that it is ready. The manager then calls its
exit with 0 a failure (``protocol``). It is none.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

from bridge.model.change import Verb
from bridge.model.unit_names import UnitNames

if TYPE_CHECKING:
    from collections.abc import Mapping

EXILE = 26
"""The exit status with which a vassal asks not to be started again (``UWSGI_EXILE_CODE`` in uwsgi.h)."""


class Event(StrEnum):
    """What happens to a vassal, as in the journal's ``VASSAL_EVENT=``."""

    WAITING = "waiting"
    """No process of it runs, and systemd listens on its socket."""
    STARTING = "starting"
    """systemd started its process: for a connection, for a command, or because it runs always."""
    RUNNING = "running"
    """uWSGI reports that it is ready."""
    RELOADED = "reloaded"
    """It was reloaded, and uWSGI reports that it is ready again."""
    IDLE_EXIT = "idle-exit"
    """It exited by itself with status 0, as with ``die-on-idle``."""
    STOPPED = "stopped"
    """systemd stopped it, or it ended and the bridge could not see how."""
    CRASHED = "crashed"
    """It ended in any other way after it was ready."""
    FAILED_START = "failed-start"
    """It ended before it was ready, or could not be started at all."""
    EXILED = "exiled"
    """It asked not to be started again."""
    OOM_KILLED = "oom-killed"
    """The kernel killed a process of it for want of memory."""
    THROTTLED = "throttled"
    """The pause before its next start has begun."""
    CLOSED = "closed"
    """Somebody stopped its socket: systemd no longer listens."""
    SOCKET_FAILED = "socket-failed"
    """systemd cannot listen on its socket."""


MESSAGE_IDS: Mapping[type[Event | Verb], Mapping[str, str]] = {
    Event: {
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
    },
    Verb: {
        Verb.ADDED: "4a72bd53435d465c96077ae4642a6ab9",
        Verb.CHANGED: "3ea6dcce21e64deb9072580cf8663234",
        Verb.STARTED: "4be2b93657e248e3873698ab7202a978",
        Verb.RELOADED: "79fdda5ead7b457486a470aa87499e26",
        Verb.RETRIED: "8edb1b3b67f24f99b3f82df933dca156",
        Verb.MENDED: "3efd2ea022ce4d68a214de9ae7dcc46b",
        Verb.REMOVED: "729daf4141b54efa99736ec7b358f0b3",
    },
}
"""The journal's ``MESSAGE_ID=`` of each event, and of each change that the bridge makes. They never change."""
PROBLEM_ID = "8ca7e53a54524f68a4a53c6f0d9444f7"
"""The journal's ``MESSAGE_ID=`` of a problem: why a vassal's config is not in force. It never changes."""


def message_id(kind: Event | Verb) -> str:
    """Return the journal's ``MESSAGE_ID=`` of an event or a change."""
    return MESSAGE_IDS[type(kind)][kind]


class Priority(IntEnum):
    """The priority of an event in the journal, in syslog's numbers."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


_PRIORITIES = {
    Event.SOCKET_FAILED: Priority.ERROR,
    Event.OOM_KILLED: Priority.ERROR,
    Event.CRASHED: Priority.WARNING,
    Event.FAILED_START: Priority.WARNING,
    Event.EXILED: Priority.WARNING,
    Event.THROTTLED: Priority.NOTICE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class LifecycleEvent(UnitNames):
    """One event in the lifecycle of one vassal."""

    label: str
    """The vassal's label, as in ``vassal-LABEL.service``."""
    unit: str
    """The unit it happened to."""
    event: Event
    text: str
    """What happened, for people. It does not name the vassal."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """More fields of the journal, with systemd's own names: ``UNIT_RESULT``, ``EXIT_CODE``, ``EXIT_STATUS``."""

    @property
    def message_id(self) -> str:
        """The journal's ``MESSAGE_ID=``."""
        return message_id(self.event)

    @property
    def priority(self) -> Priority:
        """The priority of its entry in the journal."""
        return _PRIORITIES.get(self.event, Priority.INFO)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How a run of a vassal ended, as the manager reports it."""

    result: str
    """The unit's ``Result`` (systemd.exec(5), ``$SERVICE_RESULT``)."""
    status: int | None = None
    """The main process's exit status, if it exited."""
    killed_by: int | None = None
    """The signal that ended the main process, if one did."""
    was_ready: bool = True
    """Whether it had reported that it was ready."""
    was_stopped: bool = False
    """Whether the manager had been told to stop it."""

    @property
    def event(self) -> Event:
        """The event that this end is."""
        if self.result == "oom-kill":
            return Event.OOM_KILLED
        if self.was_stopped:
            return Event.STOPPED
        if self.status == EXILE:
            return Event.EXILED
        if self._was_mute:
            return Event.IDLE_EXIT
        if self.result == "success":
            return Event.IDLE_EXIT if self.status == 0 else Event.STOPPED
        return Event.CRASHED if self.was_ready else Event.FAILED_START

    @property
    def text(self) -> str:
        """What happened, for people."""
        if self.event is Event.STOPPED and self.result == "success":
            return "stopped by systemd" if self.was_stopped else f"ended by itself: {self._process}"
        if self.event is Event.IDLE_EXIT:
            said = ", and had never said that it was ready" if self._was_mute else ""
            return f"exited by itself with status 0{said}"
        if self.event is Event.EXILED:
            return f"asked not to be started again: {self._process}"
        reason = self._late if self.result == "timeout" else _RESULTS.get(self.result)
        if reason:
            return f"{reason} ({self._process})" if self._process else reason
        if not self._process:
            return self.result
        return self._process if self.was_ready or self.was_stopped else f"{self._process} before it was ready"

    @property
    def fields(self) -> dict[str, str]:
        """The facts as fields of the journal, with systemd's own names."""
        fields = {"UNIT_RESULT": self.result}
        if self.status is not None:
            fields |= {"EXIT_CODE": "exited", "EXIT_STATUS": str(self.status)}
        elif self.killed_by is not None:
            fields |= {"EXIT_CODE": "killed", "EXIT_STATUS": str(self.killed_by)}
        return fields

    @property
    def _was_mute(self) -> bool:
        """Whether it exited with 0 and had not told the manager that it was ready."""
        return self.result == "protocol" and not self.status and self.killed_by is None

    @property
    def _late(self) -> str:
        if self.was_stopped:
            return "did not end in time"
        return "ran for longer than it may" if self.was_ready else "was not ready in time"

    @property
    def _process(self) -> str:
        if self.status is not None:
            # Statuses from 200 on are systemd's own: a step failed before the program ran.
            why = _SETUP.get(self.status, "")
            return f"exited with status {self.status}{f' ({why})' if why else ''}"
        if self.killed_by is not None:
            return f"killed by {_signal_name(self.killed_by)}"
        return ""


def explain(result: str) -> str:
    """Return a unit's ``Result`` in words."""
    return _RESULTS.get(result, result)


_RESULTS = {
    "timeout": "took too long",
    "core-dump": "crashed with a core dump",
    "watchdog": "did not notify its watchdog in time",
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
