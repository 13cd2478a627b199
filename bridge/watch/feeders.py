"""The daemon's feeders: one source of events for each database and broker."""

from __future__ import annotations

import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.feeder.protocol import Ask, ProtocolError
from bridge.mirror.session import Session
from bridge.monitors.feeding import FeedError, garbled, start_feeder
from bridge.monitors.mirrored import MirroredMonitor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.mirror.channel import Channel
    from bridge.monitors.base import Monitor
    from bridge.monitors.feeding import Services

PAUSE_FIRST = 1.0
PAUSE_LAST = 30.0
"""Seconds before a feeder that ended is started again: at first, and at last."""
STUCK = 2.0
"""Seconds before changes that could not be written are written again."""
ASK_AGAIN = 5.0
"""Seconds before a server is asked again whose answer could not be written: nothing tells when there is room again."""
ANSWER_WITHIN = 10.0
"""Seconds for the second answer, after one without rows where there were some."""
_UNSENT = 0.1
"""Seconds before what a feeder did not read is sent again."""


class FeederSource:
    """What one feeder says. When it ends, it is started again after a pause that grows."""

    def __init__(
        self, monitor: MirroredMonitor, services: Services, changed: Callable[[], None], *, is_users: bool
    ) -> None:
        """``changed`` is called when the monitor's report is another, but for its rows: those are files."""
        self.monitor = monitor
        self._services = services
        self._changed = changed
        self._is_users = is_users
        self._channel: Channel | None = None
        self._session: Session | None = None
        self._pause = PAUSE_FIRST
        self._due: dict[str, float] = {"start": 0.0}
        """When to start, write, ask or send again, by ``time.monotonic()``."""

    def fileno(self) -> int:
        """Return the feeder's socket; -1 if there is none, or nothing must be read from it now."""
        is_stuck = self._session is not None and self._session.is_stuck
        return -1 if self._channel is None or is_stuck else self._channel.fileno()

    def due(self) -> float | None:
        """Return when to call :meth:`read` though nothing has come."""
        return min(self._due.values(), default=None)

    def read(self) -> None:
        """Do what is due, and hear what the feeder says. Nothing here waits for it."""
        if self._channel is None or self._session is None:
            self._start()
        else:
            self._hear(self._channel, self._session)
        if self._session is not None and self._session.has_news():
            self._changed()

    def close(self) -> None:
        """End the feeder, and leave the mirror to others."""
        if self._channel is not None:
            self._channel.close()
        if self._session is not None:
            self._session.close()
        self._channel = self._session = None
        self.monitor.writer.close()

    def _start(self) -> None:
        self._due = {}
        if not self.monitor.open_writer():
            # A sync has it, for some seconds, or the report says why it cannot be written.
            self._pause_then_start()
            return
        session = self._session or Session(self.monitor.writer, self.monitor.plan.rules)
        self._session = session
        try:
            self._channel = start_feeder(self.monitor, self._services, is_users=self._is_users)
            self._plan("write", STUCK, is_needed=session.is_stuck)
        except FeedError as error:
            session.trouble(str(error), error.hint)
            self._pause_then_start()

    def _hear(self, channel: Channel, session: Session) -> None:
        now = time.monotonic()
        was_asked = session.state.asked
        try:
            replies = []
            if not session.is_stuck:
                for message in channel.read():
                    replies += session.take(message)
            replies += session.flush()
            if now >= self._due.get("ask", now + 1):
                self._due.pop("ask")
                replies.append(Ask())
            channel.send(replies)
        except ProtocolError:
            session.flush()
            self._end(*garbled(self.monitor.plan))
            return
        if session.state.asked != was_asked:
            self._pause = PAUSE_FIRST
        self._plan("write", STUCK, is_needed=session.is_stuck)
        self._plan("send", _UNSENT, is_needed=channel.has_unsent)
        if session.must_ask:
            self._due.setdefault("ask", now + ASK_AGAIN)
        if not session.is_in_doubt:
            self._due.pop("answer", None)
        elif now >= self._due.setdefault("answer", now + ANSWER_WITHIN):
            # It does not know the request. A new one asks in any case.
            self._restart()
            return
        if channel.is_ended and session.is_in_doubt:
            # It ended instead of answering again, and a new one asks in any case.
            self._restart()
            self._pause_then_start()
        elif channel.is_ended:
            self._end("its process has ended", f"see journalctl -u {self.monitor.plan.unit}")

    def _restart(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._session is not None:
            self._session.break_off()
        self._due = {"start": time.monotonic()}

    def _plan(self, what: str, seconds: float, *, is_needed: bool) -> None:
        self._due.pop(what, None)
        if is_needed:
            self._due[what] = time.monotonic() + seconds

    def _end(self, why: str, hint: str) -> None:
        """Take note that there is no feeder, and start one after a pause. If it said why itself, that counts."""
        self._restart()
        if self._session is not None and self._session.state.since is None:
            self._session.trouble(why, hint)
        self._pause_then_start()

    def _pause_then_start(self) -> None:
        self._due = {"start": time.monotonic() + self._pause}
        self._pause = min(2 * self._pause, PAUSE_LAST)


class Feeders:
    """The feeders of all monitors that have one, as one source of events."""

    def __init__(self, services: Services, *, is_users: bool) -> None:
        """``services`` starts them, in a user's own service manager if ``is_users``."""
        self._services = services
        self._is_users = is_users
        self._epoll = select.epoll()
        self._heard: set[int] = set()
        """The descriptors that are waited for."""
        self._sources: list[FeederSource] = []
        self.changed: Callable[[], None] = lambda: None
        """Is called when a report may be another for what is in no watched file."""

    def while_waiting(self, call: Callable[[], None]) -> None:
        """Have ``call`` called at least once a second while this process waits for the service manager."""
        self._services.while_waiting(call)

    def configure(self, monitors: Iterable[Monitor]) -> None:
        """Have a feeder for each of these monitors. Those that would be started the same way go on."""
        mirrored = [monitor for monitor in monitors if isinstance(monitor, MirroredMonitor)]
        kept: list[FeederSource] = []
        for source in self._sources:
            same = next((one for one in mirrored if one.plan == source.monitor.plan), None)
            if same is None:
                source.close()
                continue
            mirrored.remove(same)
            same.writer = source.monitor.writer
            source.monitor = same
            kept.append(source)
        new = [FeederSource(one, self._services, self._tell, is_users=self._is_users) for one in mirrored]
        self._sources = [*kept, *new]
        for source in new:
            source.read()

    def fileno(self) -> int:
        """Return a descriptor that is readable when a feeder has said something (epoll(7))."""
        wanted = {descriptor for source in self._sources if (descriptor := source.fileno()) >= 0}
        for descriptor in self._heard - wanted:
            # A closed one has left by itself.
            with suppress(OSError):
                self._epoll.unregister(descriptor)
        for descriptor in wanted:
            # A new socket may have the number of a closed one.
            with suppress(FileExistsError):
                self._epoll.register(descriptor, select.EPOLLIN)
        self._heard = wanted
        return self._epoll.fileno()

    def read(self) -> None:
        """Hear those that have said something, and do what is due."""
        ready = {descriptor for descriptor, _ in self._epoll.poll(0)}
        for source in self._sources:
            due = source.due()
            if source.fileno() in ready or (due is not None and time.monotonic() >= due):
                source.read()

    def due(self) -> float | None:
        """Return when to call :meth:`read` though no feeder has said anything."""
        return min((due for one in self._sources if (due := one.due()) is not None), default=None)

    def close(self) -> None:
        """End all feeders."""
        for source in self._sources:
            source.close()
        self._sources = []
        self._epoll.close()

    def _tell(self) -> None:
        self.changed()
