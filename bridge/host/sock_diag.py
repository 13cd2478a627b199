"""Lists the listening sockets of the kernel: unix sockets with their files, and those of TCP (sock_diag(7)).

Unlike in /proc/net/unix, names with a newline are unambiguous here. /proc/net/tcp has all connections of the machine,
and takes the kernel milliseconds. Any process may ask; the answer covers its network namespace.
"""

from __future__ import annotations

import os
import socket
import struct
from collections import defaultdict
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

Part = TypeVar("Part")

INODE_MASK = 0xFFFFFFFF
"""The kernel reports only these bits of an inode number (``struct unix_diag_vfs``)."""

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_DUMP = 0x301
"""``NLM_F_REQUEST | NLM_F_DUMP`` (netlink(7))."""
_ERROR, _DONE = 2, 3
_LISTENING = 1 << 10
"""The requested states: ``TCP_LISTEN`` only."""
_SHOW_NAME, _SHOW_VFS, _SHOW_QUEUE = 1, 2, 16
_NAME, _VFS, _QUEUE = 0, 1, 4
_HEADER = struct.Struct("=IHHII")
_SIZE_AND_KIND = struct.Struct("=IH")
_REQUEST = struct.Struct("=BBHIIIII")
_ATTRIBUTE = struct.Struct("=HH")
_INODE = struct.Struct("=I")
_STATUS = struct.Struct("=i")
_MESSAGE_SIZE = 16
"""Size of ``struct unix_diag_msg``, which precedes the attributes."""
_INET_REQUEST = struct.Struct("=BBBBI48x")
"""``struct inet_diag_req_v2`` of linux/inet_diag.h, for sockets of any address."""
_PORT = struct.Struct("!4xH2x16s")
"""Where ``struct inet_diag_msg`` has the port and the address."""
_UNIX_NUMBER, _INET_NUMBER = 4, 68
"""Where ``struct unix_diag_msg`` and ``struct inet_diag_msg`` have the socket's inode number."""
_INET_QUEUE = 56
"""Where ``struct inet_diag_msg`` has the length of the queue."""
_BUFFER = 1 << 18
_FEW = 16
"""Names that are looked for in each datagram before it is taken apart."""


class Listener(NamedTuple):
    """A listening unix socket."""

    name: bytes
    """The name it was bound to: a path, or a NUL byte and an abstract name."""
    inode: int | None
    """The inode number of the file it was bound to, even if renamed (:data:`INODE_MASK`); None: it has no file."""
    number: int
    """The socket's own inode number, by which a process has it as ``socket:[NUMBER]`` (proc_pid_fd(5))."""
    queued: int = 0
    """How many connections wait to be accepted."""


class TcpListener(NamedTuple):
    """A listening TCP socket."""

    ip: IPv4Address | IPv6Address
    port: int
    number: int
    """The socket's own inode number."""
    queued: int = 0
    """How many connections wait to be accepted."""


def listeners() -> list[Listener]:
    """Return all listening unix sockets; none if the kernel has no ``CONFIG_UNIX_DIAG``."""
    return shown_listeners() or []


def shown_listeners(among: Collection[bytes] = ()) -> list[Listener] | None:
    """Return all listening unix sockets, or None if the kernel does not show them.

    With names, ``among`` which they are to be looked for, sockets of other names may be left out, and no files are
    told: one of thousands is found in a third of the time.
    """
    shown = _SHOW_NAME if among else _SHOW_NAME | _SHOW_VFS | _SHOW_QUEUE
    request = _REQUEST.pack(socket.AF_UNIX, 0, 0, _LISTENING, 0, shown, 0, 0)
    return _dump(request, partial(_parse_if_any, tuple(among)) if 0 < len(among) <= _FEW else parse)


def shown_tcp_listeners() -> list[TcpListener] | None:
    """Return all listening TCP sockets, or None if the kernel does not show them."""
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        part = _dump(_INET_REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, _LISTENING), parse_tcp)
        if part is None:
            return None
        found += part
    return found


def _dump(request: bytes, parser: Callable[[bytes], tuple[list[Part], bool]]) -> list[Part] | None:
    header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0)
    found: list[Part] = []
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as kernel:
            kernel.send(header + request)
            more = True
            while more:
                part, more = parser(kernel.recv(_BUFFER))
                found += part
    except OSError:
        # An incomplete list would make the missing sockets look closed.
        return None
    return found


def _parse_if_any(names: tuple[bytes, ...], datagram: bytes) -> tuple[list[Listener], bool]:
    """Do as :func:`parse`, or leave all sockets out if none of the names is anywhere in the datagram."""
    return parse(datagram) if any(name in datagram for name in names) else ([], _bodies(datagram)[1])


def parse(datagram: bytes) -> tuple[list[Listener], bool]:
    """Return the unix sockets in one datagram of the kernel's, and whether another datagram follows.

    Raises:
        OSError: the datagram is an error.
    """
    bodies, more = _bodies(datagram)
    found = []
    for start, end in bodies:
        name, inode, queued = b"", None, 0
        at = start + _MESSAGE_SIZE
        while at + _ATTRIBUTE.size <= end:
            size, kind = _ATTRIBUTE.unpack_from(datagram, at)
            if not _ATTRIBUTE.size <= size <= end - at:
                break
            if kind == _NAME:
                name = datagram[at + _ATTRIBUTE.size : at + size]
            elif kind == _VFS and size >= _ATTRIBUTE.size + _INODE.size:
                inode = _INODE.unpack_from(datagram, at + _ATTRIBUTE.size)[0]
            elif kind == _QUEUE and size >= _ATTRIBUTE.size + _INODE.size:
                queued = _INODE.unpack_from(datagram, at + _ATTRIBUTE.size)[0]
            at += size + 3 & ~3
        if name:
            # A path ends with a NUL byte, an abstract name begins with one (unix(7)).
            number = _INODE.unpack_from(datagram, start + _UNIX_NUMBER)[0]
            found.append(Listener(name if name[0] == 0 else name.rstrip(b"\0"), inode, number, queued))
    return found, more


def parse_tcp(datagram: bytes) -> tuple[list[TcpListener], bool]:
    """Return the TCP sockets in one datagram of the kernel's, and whether another datagram follows.

    Raises:
        OSError: the datagram is an error.
    """
    bodies, more = _bodies(datagram)
    found = []
    for start, end in bodies:
        if end - start < _INET_NUMBER + _INODE.size:
            break
        number = _INODE.unpack_from(datagram, start + _INET_NUMBER)[0]
        queued = _INODE.unpack_from(datagram, start + _INET_QUEUE)[0]
        port, raw = _PORT.unpack_from(datagram, start)
        if datagram[start] == socket.AF_INET:
            found.append(TcpListener(IPv4Address(raw[:4]), port, number, queued))
        else:
            address = IPv6Address(raw)
            found.append(TcpListener(address.ipv4_mapped or address, port, number, queued))
    return found, more


def _bodies(datagram: bytes) -> tuple[list[tuple[int, int]], bool]:
    """Return where the bodies of the messages in a datagram begin and end, and whether another datagram follows.

    Raises:
        OSError: the datagram is an error.
    """
    found: list[tuple[int, int]] = []
    at = 0
    while at + _HEADER.size <= len(datagram):
        size, kind = _SIZE_AND_KIND.unpack_from(datagram, at)
        if not _HEADER.size <= size <= len(datagram) - at:
            break
        if kind in {_ERROR, _DONE}:
            has_status = size >= _HEADER.size + _STATUS.size
            if status := _STATUS.unpack_from(datagram, at + _HEADER.size)[0] if has_status else 0:
                raise OSError(-status, os.strerror(-status))
            return found, False
        found.append((at + _HEADER.size, at + size))
        at += size + 3 & ~3
    return found, True


def bound_files(shown: Iterable[Listener]) -> Mapping[str, set[int]]:
    """Return by path the inodes of the sockets bound to it; several, if a later socket replaced the file."""
    files: dict[str, set[int]] = defaultdict(set)
    for listener in shown:
        if listener.inode is not None:
            files[os.fsdecode(listener.name)].add(listener.inode)
    return files


def file_of(path: str) -> int | None:
    """Return the inode number that sock_diag reports for a socket's file, or None if it cannot be read.

    On an overlay file system stat(2) returns another number (proc_pid_fdinfo(5), since Linux 5.14).
    """
    with suppress(OSError, ValueError):
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as info:
                for line in info:
                    if line.startswith("ino:"):
                        return int(line[4:]) & INODE_MASK
        finally:
            os.close(fd)
    return None
