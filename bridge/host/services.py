"""Tells which service a process is of, and what the processes of a service are and have open."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import NamedTuple

from bridge.host.files import read_text

_USERS = re.compile(r"/user@[0-9]+\.service/")
"""What is in the control group of whatever a user's own service manager runs."""
_SOCKET = re.compile(r"socket:\[([0-9]+)\]")


def own_service(cgroups: str, *, is_users: bool) -> str:
    """Return the service in which a process runs, by its ``/proc/PID/cgroup`` (cgroups(7)); empty if it is none.

    It counts only if the manager has it that is asked: a user's own one with ``is_users``, else the system's.
    """
    for line in cgroups.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        name = path.rpartition("/")[2]
        is_own = bool(_USERS.search(path)) == is_users
        if is_own and (number == "0" or controllers == "name=systemd") and name.endswith(".service"):
            return name
    return ""


class ServiceProcess(NamedTuple):
    """A process of a service."""

    pid: int
    parent: int
    words: tuple[str, ...]
    """Its command line; a process can write over it."""
    variables: frozenset[str] = frozenset()
    """The names of the environment variables that it was started with."""
    sockets: frozenset[int] = frozenset()
    """The inode numbers of the sockets that it has open (proc_pid_fd(5))."""


def sockets_of(service: str, *, is_users: bool) -> set[int]:
    """Return the inode numbers of all sockets that processes of a service have open.

    It looks at each process of the machine: for rare cases.
    """
    return {number for process in processes_of(service, is_users=is_users) for number in process.sockets}


def processes_of(service: str, *, is_users: bool) -> list[ServiceProcess]:
    """Return the processes of a service that have not ended. It looks at each process of the machine, too."""
    found = []
    for pid in process_ids():
        # A process may end meanwhile, and of another user's nothing can be read.
        with suppress(OSError):
            if service_of_process(pid, is_users=is_users) != service:
                continue
            if (parent := _parent(pid)) is not None:
                sockets = frozenset(open_sockets(pid).values())
                found.append(ServiceProcess(pid, parent, command_line(pid), _variables(pid), sockets))
    return found


def process_ids() -> list[int]:
    """Return the ids of all processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def service_of_process(pid: int, *, is_users: bool) -> str:
    """Return the service in which a process runs; empty if it is none, or there is no such process."""
    return own_service(read_text(f"/proc/{pid}/cgroup"), is_users=is_users)


def command_line(pid: int) -> tuple[str, ...]:
    """Return the words of a process's command line; one empty word if they cannot be read."""
    return tuple(read_text(f"/proc/{pid}/cmdline").removesuffix("\0").split("\0"))


def open_sockets(pid: int) -> dict[int, int]:
    """Return the descriptors of sockets that a process has open, each with the socket's inode number (proc_pid_fd(5)).

    Raises:
        OSError: the process is gone, or another user's.
    """
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            if match := _SOCKET.fullmatch(os.readlink(f"/proc/{pid}/fd/{fd}")):
                found[int(fd)] = int(match[1])
    return found


def has_ended(pid: int) -> bool:
    """Tell whether a process is gone, or only waits for its parent to notice that (proc_pid_stat(5))."""
    return _parent(pid) is None


def _parent(pid: int) -> int | None:
    """Return the parent of a process; None if the process has ended."""
    # The name in parentheses may have any character.
    state, _, rest = read_text(f"/proc/{pid}/stat").rpartition(")")[2].strip().partition(" ")
    return None if state in {"", "Z", "X"} else int(rest.split(" ", 1)[0])


def _variables(pid: int) -> frozenset[str]:
    return frozenset(text.partition("=")[0] for text in read_text(f"/proc/{pid}/environ").split("\0"))
