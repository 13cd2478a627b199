"""The event sources of the daemon's loop: signals, files and units."""

from __future__ import annotations

import math
import select
import signal
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from bridge.model.unit_names import vassal_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from bridge.model.unit import UnitChange
    from bridge.watch.inotify import FileWatch

UNCLOSED = 2.0
"""Seconds after the last write when the daemon asks the kernel whether a process still has the file open."""


class EventSource(Protocol):
    """Something that wakes the daemon, by a file descriptor or by a time."""

    def fileno(self) -> int:
        """Return the descriptor to wait on; a negative number if there is none now."""

    def read(self) -> None:
        """Take all events that have come, without waiting; called when the descriptor is readable or the time due."""

    def due(self) -> float | None:
        """Return when to call :meth:`read` at the latest, by ``time.monotonic()``; None: only when readable."""


def wait(sources: Iterable[EventSource], until: float | None) -> None:
    """Sleep until a source has events, a source's time is due, or ``until`` has come; read those sources."""
    poll = select.poll()
    by_descriptor = [(source.fileno(), source) for source in sources]
    for descriptor, _ in by_descriptor:
        if descriptor >= 0:
            poll.register(descriptor, select.POLLIN)
    times = [until, *(source.due() for _, source in by_descriptor)]
    first = min((one for one in times if one is not None), default=None)
    # poll(2) counts whole milliseconds: one more, so as not to wake too early.
    timeout = None if first is None else max(0.0, first - time.monotonic()) * 1000 + 1
    ready = {descriptor for descriptor, _ in poll.poll(timeout)}
    for descriptor, source in by_descriptor:
        if descriptor in ready or ((due := source.due()) is not None and time.monotonic() >= due):
            source.read()


class SignalSource:
    """SIGTERM, SIGINT and SIGHUP, which Python writes into a socket (:func:`signal.set_wakeup_fd`)."""

    def __init__(self, *, stop: Callable[[], None], reload: Callable[[], None]) -> None:
        self._stop = stop
        self._reload = reload
        self._receiver, self._sender = socket.socketpair()
        for end in (self._receiver, self._sender):
            end.setblocking(False)

    def install(self) -> None:
        """Handle the signals from now on."""
        signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        # The kernel sends SIGIO when another process breaks a lease that FileWatch tries; it must not end the daemon.
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # Python writes to the socket only where a signal has a handler.
            signal.signal(number, lambda _number, _frame: None)

    def fileno(self) -> int:
        """Return the socket that receives the signals' numbers."""
        return self._receiver.fileno()

    def read(self) -> None:
        """Reload the configuration for SIGHUP, and stop the daemon for the others."""
        numbers = b""
        with suppress(BlockingIOError):
            numbers = self._receiver.recv(64)
        for number in numbers:
            if number == signal.SIGHUP:
                self._reload()
            elif number in {signal.SIGTERM, signal.SIGINT}:
                self._stop()

    def due(self) -> None:
        """Signals have no time."""


class FileSource:
    """Changes of watched files (inotify(7))."""

    def __init__(
        self, files: FileWatch, *, changed: Callable[[set[str] | None], None], is_unchanged: Callable[[str], bool]
    ) -> None:
        """Read from ``files``.

        Args:
            files: the kernel's watches.
            changed: is called with the changed paths, or None if any path may have changed.
            is_unchanged: returns whether a path is as the daemon knows it, so that an event there is no change.
        """
        self._files = files
        self._changed = changed
        self._is_unchanged = is_unchanged

    def fileno(self) -> int:
        """Return the inotify descriptor."""
        return self._files.fileno()

    def read(self) -> None:
        """Report the changed paths, and the files that no process has open for writing any more."""
        paths = self._files.changed(self._is_unchanged)
        if (due := self.due()) is not None and time.monotonic() >= due:
            finished = self._files.resolve()
            paths = None if paths is None else paths | finished
        if paths is None or paths:
            self._changed(paths)

    def due(self) -> float | None:
        """Return when to ask whether unfinished files are still open: some writers never close them."""
        if not self._files.open or self._files.written_at == math.inf:
            return None
        return self._files.written_at + UNCLOSED


class UnitChanges(Protocol):
    """The part of a service manager's connection that reports changes of units."""

    def fileno(self) -> int:
        """Return the connection's descriptor."""

    def changes(self) -> Iterator[UnitChange]:
        """Yield the changes that have arrived, without waiting."""

    def was_reloaded(self) -> bool:
        """Return whether systemd has read all units again since this was last asked."""

    def due(self) -> float | None:
        """Return when to call :meth:`changes` even if none has arrived."""


class UnitSource:
    """Changes of units, which the service manager reports over D-Bus."""

    def __init__(
        self,
        manager: UnitChanges,
        *,
        changed: Callable[[UnitChange], None],
        touch: Callable[[None], None],
        has_lost: Callable[[Collection[str] | None], bool],
    ) -> None:
        """Report the changes of the manager's units.

        Args:
            manager: the connection to the service manager.
            changed: is called with each change.
            touch: has all vassals reconciled.
            has_lost: returns whether the socket of any vassal is lost, or of those with these labels.
        """
        self._manager = manager
        self._changed = changed
        self._touch = touch
        self._has_lost = has_lost

    def fileno(self) -> int:
        """Return the descriptor of the D-Bus connection."""
        return self._manager.fileno()

    def read(self) -> None:
        """Report each change, and have all vassals reconciled if a socket failed or was lost.

        Raises:
            BridgeError: the connection broke.
        """
        ended = set()
        for change in self._manager.changes():
            self._changed(change)
            state = change.values.get("ActiveState") if change.interface == "Unit" else None
            if state == "failed" and change.unit.endswith(".socket"):
                self._touch(None)
            if state in {"inactive", "failed"} and (parts := vassal_unit(change.unit)) and parts[1] == "service":
                ended.add(parts[0])
        self.look_for_lost(ended)

    def look_for_lost(self, ended: Collection[str] = ()) -> None:
        """Have all vassals reconciled if a daemon-reload has closed a socket.

        ``ended`` are the labels of vassals that have just ended.

        Raises:
            BridgeError: the connection broke.
        """
        is_lost = self._manager.was_reloaded() and self._has_lost(None)
        if is_lost or (ended and self._has_lost(ended)):
            self._touch(None)

    def due(self) -> float | None:
        """Return when to ask for the state of units that changed too often to follow each change."""
        return self._manager.due()
