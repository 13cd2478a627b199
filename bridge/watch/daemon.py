"""The watch daemon: asleep until the kernel or systemd tells of a change, then it walks the same road as sync."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import select
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.host.path_watch import WatchList
from bridge.model.address import UnixAddress
from bridge.watch.affected import configs_of
from bridge.watch.inotify import FileWatch
from bridge.watch.watch_list import add_links, add_sockets, places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bridge.config.settings import Settings
    from bridge.model.unit import UnitState
    from bridge.reconcile.reconciler import Reconciler
    from bridge.reconcile.run import PlannedRun
    from bridge.systemd.manager import SystemdManager
    from bridge.watch.notifier import Notifier

QUIET, BRIEFLY_QUIET = 0.03, 0.005
"""Seconds without a further change before a burst is taken to be over; if it is of one vassal so far, it may be one."""
IMPATIENCE = 0.5
"""Seconds after which a burst is acted on although it goes on."""
UNCLOSED = 2.0
"""Seconds after the last write when a file is looked at whether anybody still has it open."""
RETRY_FIRST, RETRY_LAST = 5.0, 300.0
"""Seconds between attempts after a run that failed, such as on a port that is taken: nobody tells when it is free."""
_ROUNDS = 5
_FLOOD = 500
"""Units of which the start is not followed: each is told several times over, with all its properties."""
_FILES_OF_ONE = 2
"""Files that one vassal comes with: its config and its rule's."""


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """What the daemon works with until its configuration changes."""

    reconciler: Reconciler
    settings: Settings
    configuration: tuple[str, ...]
    """The files and folders these came from, to be watched too."""


class Daemon:
    """Keeps systemd true to the vassals."""

    def __init__(self, manager: SystemdManager, make_setup: Callable[[], LoadedConfig], herald: Notifier) -> None:
        self._manager = manager
        self._make_setup = make_setup
        self._setup = make_setup()
        self._configured = _inodes(self._setup.configuration)
        self._herald = herald
        self._files = FileWatch()
        self._sockets: dict[str, tuple[int, int]] = {}
        self._trails = WatchList(lambda _: None)
        self._sources: set[str] = set()
        """The folders in which vassals can change, of all that are watched."""
        self._touched: set[str] | None = set()
        self._first_change = self._last_change = 0.0
        self._retry_at = 0.0
        self._retry_after = RETRY_FIRST
        self._stopping = self._reconfigure = self._is_following = False

    def run(self) -> None:
        """Work until told to stop by SIGTERM or SIGINT; SIGHUP has the configuration read again.

        Raises:
            BridgeError: at the start, what sync would raise.
        """
        wakeups, wake = socket.socketpair()
        for end in (wakeups, wake):
            end.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        # A lease that is broken while it is tried must not end the daemon.
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._signalled)
        self._trails = places(self._setup.settings, self._setup.configuration)
        self._watch()
        self._work(first=True)
        self._follow(self._manager.units)
        _give_memory_back()
        poll = select.poll()
        for source in (wakeups, self._files, self._manager):
            poll.register(source.fileno(), select.POLLIN)
        while not self._stopping:
            self._herald.alive()
            poll.poll(self._patience())
            with suppress(BlockingIOError):
                wakeups.recv(64)
            self._notice_files()
            self._notice_units()
            if self._is_due():
                self._work()
        self._herald.stopping()

    def _signalled(self, number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            self._reconfigure = True
            self._changed()
        else:
            self._stopping = True

    def _changed(self, paths: set[str] | None = None) -> None:
        """Note that something happened to these files, or to no one knows what."""
        self._touched = None if paths is None or self._touched is None else self._touched | paths
        self._last_change = time.monotonic()
        self._first_change = self._first_change or self._last_change

    def _is_due(self) -> bool:
        now = time.monotonic()
        if self._retry_at and now >= self._retry_at:
            return True
        return bool(self._first_change) and now >= self._burst_over()

    def _burst_over(self) -> float:
        is_one = self._touched is not None and len(self._touched) <= _FILES_OF_ONE
        quiet = BRIEFLY_QUIET if is_one else QUIET
        return min(self._last_change + quiet, self._first_change + IMPATIENCE)

    def _patience(self) -> float | None:
        """Return how many milliseconds to sleep at most; None: until something happens."""
        times = [self._retry_at] if self._retry_at else []
        if self._first_change:
            times.append(self._burst_over())
        if self._files.open and self._files.written_at < math.inf:
            times.append(self._files.written_at + UNCLOSED)
        if alive := self._herald.next_alive():
            times.append(alive)
        return max(0.0, min(times) - time.monotonic()) * 1000 + 1 if times else None

    def _notice_files(self) -> None:
        paths = self._files.changed(self._is_own_socket)
        if self._files.open and time.monotonic() >= self._files.written_at + UNCLOSED:
            finished = self._files.resolve()
            paths = None if paths is None else paths | finished
        if paths is None or paths:
            self._changed(paths)

    def _is_own_socket(self, path: str) -> bool:
        """Tell whether a change is only that of a socket which systemd made and which is as it made it."""
        known = self._sockets.get(path)
        return known is not None and known == _inode(path)

    def _notice_units(self) -> None:
        for change in self._manager.changes():
            self._herald.unit_changed(change)
            has_failed = change.interface == "Unit" and change.values.get("ActiveState") == "failed"
            if has_failed and change.unit.endswith(".socket"):
                self._changed()

    def _work(self, *, first: bool = False) -> None:
        is_retry = bool(self._retry_at) and time.monotonic() >= self._retry_at
        paths, self._touched = (None if first or is_retry else self._touched), set()
        self._first_change = self._retry_at = 0.0
        if self._reconfigure or self._configured != _inodes(self._setup.configuration):
            self._reconfigure = False
            self._renew_setup()
            paths = None
        try:
            problems = self._sync(paths)
        except BridgeError as error:
            if first:
                raise
            self._herald.failed([error.diagnostic])
            self._herald.ready()
            self._try_later()
            return
        if problems:
            self._try_later()
        else:
            self._retry_after = RETRY_FIRST

    def _sync(self, paths: set[str] | None) -> tuple[Diagnostic, ...]:
        """Sync, and once more for as long as there are new places in which something may have happened unseen."""
        problems: tuple[Diagnostic, ...] = ()
        reconciler, settings = self._setup.reconciler, self._setup.settings
        touched = None if paths is None else configs_of(paths, reconciler.cache, settings)
        for _ in range(_ROUNDS):
            planned, problems = reconciler.keep_up(
                self._manager, touched=touched, unfinished=frozenset(self._files.open), foresee=self._foresee
            )
            # What systemd told meanwhile is of our own making, and comes after it in the story.
            changes = list(self._manager.changes())
            self._remember(planned)
            new, trouble = self._watch()
            problems += trouble
            self._herald.done(planned, problems)
            for change in changes:
                self._herald.unit_changed(change)
            is_part = planned.part is not None
            # With many vassals these are large: the next round is not to find them still there.
            del planned, changes
            if not is_part:
                _give_memory_back()
            if not new & self._sources:
                break
            touched = None
        if new and any(_inode(path) != inode for path, inode in self._sockets.items()):
            # One went before its folder was watched.
            self._changed()
        return problems

    def _foresee(self, planned: PlannedRun) -> None:
        """Follow the units from before the first change, unless so many start that they would be told all at once."""
        if len(planned.plan.start) < _FLOOD:
            self._follow(lambda: planned.actual.states)

    def _follow(self, states: Callable[[], Mapping[str, UnitState]]) -> None:
        if not self._is_following:
            self._is_following = True
            self._manager.listen()
            self._herald.follow(states())

    def _watch(self) -> tuple[set[str], tuple[Diagnostic, ...]]:
        """Watch all places; return the new folders among them, and what is wrong."""
        try:
            return self._files.watch(self._trails.names), ()
        except OSError as error:
            problem = Diagnostic(
                code="watch-limit",
                message=f"not all folders can be watched: {error.strerror}",
                hint="raise fs.inotify.max_user_watches",
            )
            return set(), (problem,)

    def _renew_setup(self) -> None:
        self._herald.reloading()
        self._configured = _inodes(self._setup.configuration)
        try:
            self._setup = self._make_setup()
        except BridgeError as error:
            self._herald.failed([error.diagnostic])

    def _remember(self, planned: PlannedRun) -> None:
        """Keep what tells a change that matters from one of systemd's making, and where one can happen."""
        if planned.part is None:
            self._sockets = {}
            self._trails = places(self._setup.settings, self._setup.configuration)
        else:
            gone = {i.address.path for i in planned.actual.installed.values() if isinstance(i.address, UnixAddress)}
            for path in gone:
                self._sockets.pop(path, None)
                self._trails.forget(path)
        before = set() if planned.part is None else set(self._trails.names)
        add_links(self._trails, self._setup.settings, planned.desired)
        self._sources = (self._sources & before) | (self._trails.names.keys() - before)
        add_sockets(self._trails, planned.desired)
        paths = (s.address.path for s in planned.conflicts.accepted if isinstance(s.address, UnixAddress))
        self._sockets |= {path: inode for path in paths if (inode := _inode(path))}

    def _try_later(self) -> None:
        self._retry_at = time.monotonic() + self._retry_after
        self._retry_after = min(self._retry_after * 2, RETRY_LAST)


def _give_memory_back() -> None:
    """Return to the kernel what a run needed: the daemon may sleep for days now (malloc_trim(3))."""
    gc.collect()
    with suppress(AttributeError):
        # Not every C library has it.
        ctypes.CDLL(None).malloc_trim(0)


def _inodes(paths: Iterable[str]) -> list[object]:
    """Return what tells whether any of these files or folders is another or changed."""
    found: list[object] = []
    for path in paths:
        try:
            info = os.stat(path)
        except OSError:
            found.append(None)
        else:
            found.append((info.st_dev, info.st_ino, info.st_ctime_ns))
    return found


def _inode(path: str) -> tuple[int, int] | None:
    try:
        info = os.lstat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino
