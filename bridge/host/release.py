"""Has TCP sockets of other processes stop listening (pidfd_getfd(2)), so that somebody else can listen there."""

from __future__ import annotations

import ctypes
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.host.services import open_sockets

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_PIDFD_GETFD = 438
"""The number of the system call, the same on all architectures but alpha."""


def stop_listening(pids: Iterable[int], numbers: Collection[int]) -> None:
    """Have those of the TCP sockets with these inode numbers that the processes have open listen no more.

    The processes keep their descriptors. Where the kernel refuses, nothing happens; the caller may trace all processes
    if it is root.
    """
    for pid in pids:
        with suppress(OSError):
            for fd, number in open_sockets(pid).items():
                if number in numbers:
                    with suppress(OSError):
                        _shut(pid, fd)


def _shut(pid: int, fd: int) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        copy = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, pidfd, fd, 0)
    finally:
        os.close(pidfd)
    if copy < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    with socket.socket(fileno=copy) as one:
        # On Linux this takes a socket out of the state TCP_LISTEN (net/ipv4/af_inet.c, ``inet_shutdown``).
        if one.family in {socket.AF_INET, socket.AF_INET6}:
            one.shutdown(socket.SHUT_RD)
