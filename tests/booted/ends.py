"""Tell when the processes of an Emperor's vassals end: `ends.py UNIT`, the Emperor's service.

"watching" is written to the standard output first. Once all processes have ended, it is printed as JSON when the last
one of each config did, in seconds since the epoch. Processes that start later do not count. Standard library only.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from contextlib import suppress
from pathlib import Path


def config_of(pid: int, unit: str) -> str | None:
    """Return the name of the config that a process of the unit was started with; None if it is none of these."""
    with suppress(FileNotFoundError, ProcessLookupError):
        groups = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
        words = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
        if any(group.endswith(f"/{unit}") for group in groups):
            return next((os.path.basename(word) for word in words if word.endswith(".ini")), None)
    return None


def main() -> None:
    """Read the argument, watch, print the times."""
    poll = select.poll()
    left: dict[int, str] = {}
    for pid in [int(name) for name in os.listdir("/proc") if name.isdecimal()]:
        if config := config_of(pid, sys.argv[1]):
            with suppress(ProcessLookupError):
                left[fd := os.pidfd_open(pid)] = config
                # It is readable once the process has ended (pidfd_open(2)).
                poll.register(fd, select.POLLIN)
    sys.stdout.write("watching\n")
    sys.stdout.flush()
    ends: dict[str, float] = {}
    while left:
        for fd, _ in poll.poll():
            poll.unregister(fd)
            ends[left.pop(fd)] = time.time()
    sys.stdout.write(f"{json.dumps(ends)}\n")


if __name__ == "__main__":
    main()
