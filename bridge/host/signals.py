"""Names of signals, and what they do to a process."""

from __future__ import annotations

import re
import signal
from enum import Enum, auto

_MASKS = re.compile(r"^SigIgn:\s*([0-9a-f]+)\nSigCgt:\s*([0-9a-f]+)$", re.MULTILINE)


class Handling(Enum):
    """What a process does with a signal."""

    CAUGHT = auto()
    """It has a handler."""
    IGNORED = auto()
    DEFAULT = auto()
    """The kernel does what it does by default (signal(7)). SIGHUP ends the process."""


def signal_name(number: int) -> str:
    """Return a signal's name such as ``SIGTERM``, or ``signal 99`` for a number without one."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def handling_of(pid: int, number: int) -> Handling:
    """Return what a process does with a signal, by ``/proc/PID/status`` (proc(5)).

    For a process that is gone it is ``CAUGHT``: nobody need wait for it.
    """
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            masks = _MASKS.search(file.read())
    except OSError:
        return Handling.CAUGHT
    if masks is None:
        return Handling.CAUGHT
    ignored, caught = (bool(int(mask, 16) >> (number - 1) & 1) for mask in masks.groups())
    return Handling.CAUGHT if caught else Handling.IGNORED if ignored else Handling.DEFAULT
