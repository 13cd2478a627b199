"""The limits of the kernel and of PID 1 that many vassals can reach, read as they are now."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic, Severity
from bridge.model.vassal import Mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bridge.model.vassal import ResolvedVassal
    from bridge.uwsgi.options import Config

_OWN = 200
"""Descriptors that PID 1 has for itself, and more."""
_EACH = 2
"""Processes of a vassal that runs with one worker: its master, and that. Also: to reload, PID 1 needs its descriptors
twice (seen on systemd 252)."""
_NOTHING = 1 << 62


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What the machine allows; what cannot be read is no limit."""

    descriptors: int = _NOTHING
    """Files that PID 1 may have open (``LimitNOFILE=`` in systemd-system.conf(5); proc_pid_limits(5))."""
    backlog: int = _NOTHING
    """Connections that may wait in one socket's queue (``net.core.somaxconn``, listen(2))."""
    watches: int = _NOTHING
    """Folders that a user may watch (``fs.inotify.max_user_watches``, inotify(7))."""
    processes: int = _NOTHING
    """Processes there may be at once (``kernel.pid_max`` and ``kernel.threads-max``, proc(5))."""


def read_limits() -> Limits:
    """Read the limits of this machine."""
    found = re.search(r"^Max open files\s+(\d+)", _text("/proc/1/limits"), re.MULTILINE)
    return Limits(
        descriptors=int(found[1]) if found else _NOTHING,
        backlog=_number("/proc/sys/net/core/somaxconn"),
        watches=_number("/proc/sys/fs/inotify/max_user_watches"),
        processes=min(_number("/proc/sys/kernel/pid_max"), _number("/proc/sys/kernel/threads-max")),
    )


def find_limits(read: Sequence[tuple[ResolvedVassal, Config]], limits: Limits) -> Iterator[Diagnostic]:
    """Yield a problem for each limit that these vassals come near or go beyond."""
    waiting = sum(resolved.mode is Mode.ON_DEMAND for resolved, _ in read)
    if (needed := _EACH * (waiting + _OWN)) > limits.descriptors:
        yield _near(
            "limit-descriptors",
            f"systemd may have {limits.descriptors} files open, and to reload with {waiting} sockets it needs "
            f"about {needed}",
            "raise what PID 1 is started with: fs.nr_open, or in a container its own limit (systemd-nspawn --rlimit=)",
        )
    if (needed := _EACH * len(read)) > limits.processes:
        yield _near(
            "limit-processes",
            f"there may be {limits.processes} processes, and {len(read)} vassals that all run need at least {needed}",
            "raise kernel.pid_max and kernel.threads-max, or let more of them wait (idle, die-on-idle)",
        )
    folders = {
        os.path.dirname(path) for resolved, _ in read for path in (resolved.vassal.config, str(resolved.address))
    }
    if len(folders) > limits.watches:
        yield _near(
            "limit-watches",
            f"{limits.watches} folders may be watched, and the vassals and their sockets are in {len(folders)}",
            "raise fs.inotify.max_user_watches",
        )
    for resolved, config in read:
        if (resolved.backlog or 0) > limits.backlog and (option := config.last("listen")):
            yield resolved.vassal.problem(
                "listen-too-long",
                f"listen = {resolved.backlog} is more than net.core.somaxconn: no more than {limits.backlog} can wait",
                "raise net.core.somaxconn and restart the socket, or write a lower number",
                path=option.path,
                line=option.line,
                severity=Severity.WARNING,
            )


def _near(code: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic(code=code, message=message, hint=hint, severity=Severity.WARNING)


def _number(path: str) -> int:
    with suppress(ValueError):
        return int(_text(path))
    return _NOTHING


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""
