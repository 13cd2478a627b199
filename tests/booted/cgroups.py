"""The machine's control groups on the host. Standard library only: the supervisor uses it."""

from __future__ import annotations

import contextlib
import os
import select
from pathlib import Path

KILL_TIMEOUT_MS = 5000


def cgroups(name: str) -> list[Path]:
    """Name the machine's cgroups in the hierarchies that systemd manages."""
    return [top / name for top in _tops().values()]


def joinable(pid: int) -> list[Path]:
    """Name the cgroups, beside those of a machine's PID 1, which a command joins before it enters the machine.

    A command that only enters the machine's cgroup namespace stays outside of it: logind 257 does not serve it then.
    """
    found = []
    tops = _tops()
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, hierarchy, path = line.split(":", 2)
        if hierarchy in tops:
            found.append((tops[hierarchy] / path.strip("/")).parent / "tests")
    return found


def _tops() -> dict[str, Path]:
    """Name the hierarchies that systemd manages as /proc/PID/cgroup does, with their places."""
    top = Path("/sys/fs/cgroup")
    if (top / "cgroup.controllers").exists():
        return {"": top}
    both = {"": top / "unified", "name=systemd": top / "systemd"}
    return {name: place for name, place in both.items() if place.is_dir()}


def kill_cgroup(group: Path) -> None:
    """Kill what is left in a cgroup and wait until it is empty, if its hierarchy can do that."""
    if not (group / "cgroup.kill").exists():
        return
    (group / "cgroup.kill").write_text("1")
    poll = select.poll()
    with (group / "cgroup.events").open() as events:
        poll.register(events, select.POLLPRI)
        while "populated 1" in events.read() and poll.poll(KILL_TIMEOUT_MS):
            events.seek(0)


def remove_cgroup(group: Path) -> None:
    """Remove a cgroup and its children with every process in them."""
    kill_cgroup(group)
    for directory, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            Path(directory).rmdir()
