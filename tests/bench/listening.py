"""Which of the benchmark's sockets listen, asked of the kernel (sock_diag(7)): a connection would wake a vassal."""

from __future__ import annotations

import re
import socket
import struct

from .layout import SOCKETS

_SOCK_DIAG = 4
_REQUEST = struct.pack("=IHHIIBBHIIIII", 40, 20, 0x301, 1, 0, socket.AF_UNIX, 0, 0, 1 << 10, 0, 1, 0, 0)
"""A dump of all unix sockets that listen, with their names."""
_DONE = 3
_NAME = re.compile(rb"(%s/[^\0]+)\0" % SOCKETS.encode())


def addresses() -> set[str]:
    """Return the addresses below the benchmark's folder at which somebody listens."""
    return {name.decode() for name in _NAME.findall(_dump())}


def count() -> int:
    """Return how many listen: cheaper than their names."""
    return _dump().count(f"{SOCKETS}/".encode())


def _dump() -> bytes:
    parts: list[bytes] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as kernel:
        kernel.send(_REQUEST)
        while True:
            part = kernel.recv(1 << 18)
            # The message that ends the dump comes alone or last; it is 20 bytes long.
            if struct.unpack_from("=IH", part)[1] == _DONE:
                return b"".join(parts)
            parts.append(part)
