"""Warns of the limits of the kernel and of PID 1 that many vassals can reach."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic, Severity
from bridge.host.files import read_text
from bridge.model.vassal import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bridge.model.vassal import ResolvedVassal
    from bridge.uwsgi.options import Config

FD_HEADROOM = 200
"""File descriptors that PID 1 needs for itself, with a margin."""
FD_FACTOR_ON_RELOAD = 2
"""During daemon-reload, PID 1 has each descriptor twice (systemd 252)."""
PROCESSES_PER_VASSAL = 2
"""Processes of a running vassal with one worker: its master and that worker."""
_UNLIMITED = 1 << 62


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Limits of the machine; one that cannot be read counts as unlimited."""

    descriptors: int = _UNLIMITED
    """Open files of PID 1 (``LimitNOFILE=`` in systemd-system.conf(5); proc_pid_limits(5))."""
    backlog: int = _UNLIMITED
    """Connections in the queue of one socket (``net.core.somaxconn``, listen(2))."""
    watches: int = _UNLIMITED
    """Inotify watches of a user (``fs.inotify.max_user_watches``, inotify(7))."""
    processes: int = _UNLIMITED
    """Processes on the machine (``kernel.pid_max`` and ``kernel.threads-max``, proc(5))."""


def read_limits() -> Limits:
    """Read the limits of this machine."""
    found = re.search(r"^Max open files\s+(\d+)", read_text("/proc/1/limits"), re.MULTILINE)
    return Limits(
        descriptors=int(found[1]) if found else _UNLIMITED,
        backlog=_number("/proc/sys/net/core/somaxconn"),
        watches=_number("/proc/sys/fs/inotify/max_user_watches"),
        processes=min(_number("/proc/sys/kernel/pid_max"), _number("/proc/sys/kernel/threads-max")),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What vassals take of the machine."""

    vassals: int
    waiting: int
    """Vassals that have a socket in PID 1."""
    folders: frozenset[str]
    """The folders of configs and sockets."""

    @classmethod
    def of(cls, read: Sequence[tuple[ResolvedVassal, Config]]) -> Load:
        """Return what these vassals take."""
        paths = (path for one, _ in read for path in (one.vassal.config.path, *map(str, one.addresses)))
        return cls(
            vassals=len(read),
            waiting=sum(resolved.mode is Mode.ON_DEMAND for resolved, _ in read),
            folders=frozenset(map(os.path.dirname, paths)),
        )

    def __add__(self, other: Load) -> Load:
        return Load(
            vassals=self.vassals + other.vassals,
            waiting=self.waiting + other.waiting,
            folders=self.folders | other.folders,
        )


def find_limits(load: Load, limits: Limits) -> Iterator[Diagnostic]:
    """Yield a warning for each limit that all vassals reach."""
    waiting, vassals, folders = load.waiting, load.vassals, load.folders
    if (needed := FD_FACTOR_ON_RELOAD * (waiting + FD_HEADROOM)) > limits.descriptors:
        yield _near(
            "limit-descriptors",
            f"PID 1 may open {limits.descriptors} files, and daemon-reload with {waiting} sockets needs about {needed}",
            "raise the limit that PID 1 is started with: fs.nr_open, or in a container systemd-nspawn --rlimit=",
        )
    if (needed := PROCESSES_PER_VASSAL * vassals) > limits.processes:
        yield _near(
            "limit-processes",
            f"the kernel allows {limits.processes} processes, and all {vassals} vassals need at least {needed}",
            "raise kernel.pid_max and kernel.threads-max, or stop idle vassals (idle, die-on-idle)",
        )
    if len(folders) > limits.watches:
        yield _near(
            "limit-watches",
            f"the kernel allows {limits.watches} inotify watches; configs and sockets are in {len(folders)} folders",
            "raise fs.inotify.max_user_watches",
        )


def find_long_queues(read: Iterable[tuple[ResolvedVassal, Config]], limits: Limits) -> Iterator[Diagnostic]:
    """Yield a warning for each vassal that wants more connections to wait than the kernel allows."""
    for resolved, config in read:
        if (resolved.backlog or 0) > limits.backlog and (option := config.last("listen")):
            yield resolved.vassal.problem(
                "listen-too-long",
                f"listen = {resolved.backlog} exceeds net.core.somaxconn: the queue holds {limits.backlog} connections",
                "raise net.core.somaxconn and restart the socket unit, or write a lower number",
                at=(option.path, option.line),
                severity=Severity.WARNING,
            )


def _near(code: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic(code=code, message=message, hint=hint, severity=Severity.WARNING)


def _number(path: str) -> int:
    with suppress(ValueError):
        return int(read_text(path))
    return _UNLIMITED
