"""Tells which service a process is of, and which sockets the processes of a service have open."""

from __future__ import annotations

import os
import re
from contextlib import suppress

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


def sockets_of(service: str, *, is_users: bool) -> set[int]:
    """Return the inode numbers of all sockets that processes of a service have open (proc_pid_fd(5)).

    It looks at each process of the machine: for rare cases.
    """
    found: set[int] = set()
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        # A process may end meanwhile, and of another user's nothing can be read.
        with suppress(OSError):
            if own_service(read_text(f"/proc/{pid}/cgroup"), is_users=is_users) != service:
                continue
            links = (os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
            found.update(int(match[1]) for link in links if (match := _SOCKET.fullmatch(link)))
    return found
