"""Lists the listening unix sockets of the kernel with their files (sock_diag(7)).

Unlike in /proc/net/unix, names with a newline are unambiguous here. Any process may ask; the answer covers its network
namespace.
"""

from __future__ import annotations

import os
import socket
import struct
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

INODE_MASK = 0xFFFFFFFF
"""The kernel reports only these bits of an inode number (``struct unix_diag_vfs``)."""

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_DUMP = 0x301
"""``NLM_F_REQUEST | NLM_F_DUMP`` (netlink(7))."""
_ERROR, _DONE = 2, 3
_LISTENING = 1 << 10
"""The requested states: ``TCP_LISTEN`` only."""
_SHOW_NAME, _SHOW_VFS = 1, 2
_NAME, _VFS = 0, 1
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBHIIIII")
_ATTRIBUTE = struct.Struct("=HH")
_INODE = struct.Struct("=I")
_STATUS = struct.Struct("=i")
_MESSAGE_SIZE = 16
"""Size of ``struct unix_diag_msg``, which precedes the attributes."""
_BUFFER = 1 << 18


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening unix socket."""

    name: bytes
    """The name it was bound to: a path, or a NUL byte and an abstract name."""
    inode: int | None
    """The inode number of the file it was bound to, even if renamed (:data:`INODE_MASK`); None: it has no file."""


def listeners() -> list[Listener]:
    """Return all listening unix sockets; none if the kernel has no ``CONFIG_UNIX_DIAG``."""
    return shown_listeners() or []


def shown_listeners() -> list[Listener] | None:
    """Return all listening unix sockets, or None if the kernel does not show them."""
    request = _REQUEST.pack(socket.AF_UNIX, 0, 0, _LISTENING, 0, _SHOW_NAME | _SHOW_VFS, 0, 0)
    header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0)
    found: list[Listener] = []
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as kernel:
            kernel.send(header + request)
            more = True
            while more:
                part, more = parse(kernel.recv(_BUFFER))
                found += part
    except OSError:
        # An incomplete list would make the missing sockets look closed.
        return None
    return found


def parse(datagram: bytes) -> tuple[list[Listener], bool]:
    """Return the sockets in one datagram of the kernel's, and whether another datagram follows.

    Raises:
        OSError: the datagram is an error.
    """
    found: list[Listener] = []
    for kind, body in _pieces(datagram, _HEADER):
        if kind in {_ERROR, _DONE}:
            if status := _STATUS.unpack_from(body)[0] if len(body) >= _STATUS.size else 0:
                raise OSError(-status, os.strerror(-status))
            return found, False
        attributes = dict(_pieces(body[_MESSAGE_SIZE:], _ATTRIBUTE))
        if name := attributes.get(_NAME):
            # A path ends with a NUL byte, an abstract name begins with one (unix(7)).
            name = name if name.startswith(b"\0") else name.rstrip(b"\0")
            vfs = attributes.get(_VFS)
            found.append(Listener(name, _INODE.unpack_from(vfs)[0] if vfs else None))
    return found, True


def _pieces(raw: bytes, header: struct.Struct) -> Iterator[tuple[int, bytes]]:
    """Split netlink messages or attributes: each has a length and a kind, and is aligned to four bytes."""
    at = 0
    while at + header.size <= len(raw):
        size, kind = header.unpack_from(raw, at)[:2]
        if not header.size <= size <= len(raw) - at:
            return
        yield kind, raw[at + header.size : at + size]
        at += size + 3 & ~3


def bound_files() -> Mapping[str, set[int]]:
    """Return by path the inodes of the sockets bound to it; several, if a later socket replaced the file."""
    files: dict[str, set[int]] = defaultdict(set)
    for listener in listeners():
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
