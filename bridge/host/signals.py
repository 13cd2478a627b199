"""Names of signals, and what they do to a process."""

from __future__ import annotations

import re
import signal

_CAUGHT = re.compile(r"^SigCgt:\s*([0-9a-f]+)$", re.MULTILINE)


def signal_name(number: int) -> str:
    """Return a signal's name such as ``SIGTERM``, or ``signal 99`` for a number without one."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def is_caught(pid: int, number: int) -> bool:
    """Tell whether a process has a handler for a signal, by ``/proc/PID/status`` (proc(5)).

    The answer is yes for a process that is gone: it cannot come to have one.
    """
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            mask = _CAUGHT.search(file.read())
    except OSError:
        return True
    return mask is None or bool(int(mask[1], 16) >> (number - 1) & 1)
