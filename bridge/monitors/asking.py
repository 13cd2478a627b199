"""Asks databases and brokers once, all side by side and for a limited time: for a run without the daemon."""

from __future__ import annotations

import select
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic, Severity
from bridge.feeder.protocol import ProtocolError
from bridge.mirror.session import Session
from bridge.monitors.feeding import FeedError, garbled, start_feeder
from bridge.monitors.mirrored import MirroredMonitor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.mirror.channel import Channel
    from bridge.monitors.base import Monitor
    from bridge.monitors.feeding import Services

DEADLINE = 10.0
"""Seconds for all answers together."""
_ROUND = 0.1
"""Seconds between two attempts to send what a feeder did not read."""


class _Asked:
    """One monitor that is being asked."""

    def __init__(self, monitor: MirroredMonitor, services: Services, *, is_users: bool) -> None:
        self._monitor = monitor
        self._services = services
        self._is_users = is_users
        self._session = Session(monitor.writer, monitor.plan.rules)
        self.channel: Channel | None = None

    def start(self) -> None:
        """Start its feeder."""
        try:
            self.channel = start_feeder(self._monitor, self._services, is_users=self._is_users, seconds=DEADLINE + 5)
        except FeedError as error:
            self._session.trouble(str(error), error.hint)

    def hear(self) -> None:
        """Hear what it says; it is done once it has answered, or has ended."""
        if self.channel is None:
            return
        try:
            replies = [reply for message in self.channel.read() for reply in self._session.take(message)]
            self.channel.send([*replies, *self._session.flush()])
        except ProtocolError:
            self._session.trouble(*garbled(self._monitor.plan))
            self.stop()
            return
        if self._session.answers or self._session.is_stuck or self._session.must_ask:
            self.stop()
        elif self.channel.is_ended:
            self._ended()

    def give_up(self) -> None:
        """Take note that it has not answered in time."""
        if self.channel is not None and self._session.state.since is None:
            self._session.trouble(f"it has not answered within {DEADLINE:g} s", "it goes on with what it said before")

    def stop(self) -> None:
        """End its feeder."""
        if self.channel is not None:
            self.channel.close()
            self.channel = None

    def close(self) -> None:
        """Leave the mirror as it is now."""
        self.stop()
        self._session.close()

    def _ended(self) -> None:
        self.stop()
        if self._session.is_in_doubt:
            # It ended after an answer without rows, which is asked for twice.
            self._session.break_off()
            self.start()
        elif self._monitor.spec.is_answer_whole and self._session.state.since is None:
            self._session.trouble("its process has ended", f"see journalctl -u {self._monitor.plan.unit}")


def ask_once(monitors: Iterable[Monitor], services: Services, *, is_users: bool) -> list[Diagnostic]:
    """Bring the mirrors up to date that no daemon keeps; return a warning for each monitor that needs the daemon.

    What could not be asked is in the monitors' reports. Afterwards the mirrors belong to this process, until
    :func:`leave` is called.
    """
    asked: list[_Asked] = []
    warnings = []
    for monitor in monitors:
        if not isinstance(monitor, MirroredMonitor) or not monitor.open_writer():
            continue
        if monitor.spec.needs_daemon:
            warnings.append(_needs_daemon(monitor))
            continue
        asked.append(_Asked(monitor, services, is_users=is_users))
    for one in asked:
        one.start()
    deadline = time.monotonic() + DEADLINE
    while (waiting := [one for one in asked if one.channel is not None]) and time.monotonic() < deadline:
        _wait(waiting, deadline)
    for one in asked:
        one.give_up()
        one.close()
    return warnings


def leave(monitors: Iterable[Monitor]) -> None:
    """Leave the mirrors to other processes."""
    for monitor in monitors:
        if isinstance(monitor, MirroredMonitor):
            monitor.writer.close()


def troubles_of(monitors: Iterable[Monitor]) -> list[Diagnostic]:
    """Return what is wrong with databases and brokers and with their rows, whatever vassals a run was of."""
    mirrored = (monitor for monitor in monitors if isinstance(monitor, MirroredMonitor))
    return [problem for monitor in mirrored for problem in monitor.problems(None)]


def _wait(waiting: list[_Asked], deadline: float) -> None:
    poll = select.poll()
    by_descriptor = {one.channel.fileno(): one for one in waiting if one.channel is not None}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    has_unsent = any(one.channel is not None and one.channel.has_unsent for one in waiting)
    patience = min(_ROUND, deadline - time.monotonic()) if has_unsent else deadline - time.monotonic()
    for descriptor, _ in poll.poll(max(0.0, patience) * 1000):
        by_descriptor[descriptor].hear()


def _needs_daemon(monitor: MirroredMonitor) -> Diagnostic:
    problem = Diagnostic(
        code="monitor-needs-daemon",
        path=monitor.id,
        message="its messages come only while somebody listens, so this run goes on with those that came before",
        hint="let emperor-bridge.service run",
    )
    return replace(problem, severity=Severity.WARNING)
