"""What the kernel tells of processes, and how disturbed the machine is."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

WORK = 800_000
"""Rounds of the fixed work: some 20 ms."""
CALM = 0.15
"""Seconds without a clock tick that are rest."""
PATIENCE = 30.0
"""Seconds after which what does not rest is not waited for."""


def ticks(pids: list[int], seconds: float) -> list[int]:
    """Return the clock ticks that processes have had of the processors while time went by."""
    before = [_ticks(pid) for pid in pids]
    time.sleep(seconds)
    return [_ticks(pid) - had for pid, had in zip(pids, before, strict=True)]


def _ticks(pid: int) -> int:
    """Return `utime` and `stime` of proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def settle(pids: list[int]) -> None:
    """Return when processes have had nothing to do for a moment: what comes next is not to wait for what was before.

    One that never rests, as the Emperor with thousands of vassals, is not waited for for ever.
    """
    deadline = time.monotonic() + PATIENCE
    had: list[list[int]] = []
    while had != (has := [_work(pid) for pid in pids]) and time.monotonic() < deadline:
        had = has
        time.sleep(CALM)


def _work(pid: int) -> list[int]:
    """Return the ticks of a process and of its children: what it has a child do is its work. All are PID 1's."""
    found = [_ticks(pid)]
    if pid != 1:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(FileNotFoundError, ProcessLookupError):
                found.append(_ticks(int(child)))
    return found


def probe() -> float:
    """Return the seconds that a fixed work takes on all processors at once: it tells how disturbed the machine is."""
    began = time.perf_counter()
    children = []
    for _ in range(os.cpu_count() or 1):
        if not (child := os.fork()):
            for _ in range(WORK):
                pass
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    return time.perf_counter() - began


def memory(pid: int) -> dict[str, int]:
    """Return a process's memory in bytes."""
    lines = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return {fields[0].rstrip(":").lower(): int(fields[1]) * 1024 for fields in lines if fields[0] in {"Rss:", "Pss:"}}
