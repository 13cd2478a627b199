"""What the kernel says of addresses: which are taken, and by what name the file system knows them."""

from __future__ import annotations

import os
import stat
import sys
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from bridge.address import AbstractAddress, InetAddress, UnixAddress, collision_key, overlaps

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from bridge.address import Address

_SO_ACCEPTCON = 0x10000
_TCP_LISTEN = "0A"


def make_identity() -> Callable[[Address], Address]:
    """Return a function that resolves symlinked folders in a socket's path, asking once for each folder."""
    known: dict[str, str] = {}

    def identity(address: Address) -> Address:
        if not isinstance(address, UnixAddress):
            return address
        folder, name = os.path.split(address.path)
        if folder not in known:
            known[folder] = os.path.realpath(folder)
        return UnixAddress(f"{known[folder].rstrip('/')}/{name}")

    return identity


def occupied(wanted: Iterable[Address], own: Collection[Address]) -> dict[Address, str]:
    """Return those of the wanted addresses that cannot be listened on, each with the reason.

    ``own`` are addresses that the bridge's sockets hold now; they are no obstacle.
    """
    taken: dict[str, list[Address]] = {}
    for address in listening():
        if address not in own:
            taken.setdefault(collision_key(address), []).append(address)
    reasons: dict[Address, str] = {}
    for address in wanted:
        if address in own:
            continue
        if isinstance(address, UnixAddress) and (reason := _not_a_socket(address.path)):
            reasons[address] = reason
        elif other := next((a for a in taken.get(collision_key(address), ()) if overlaps(a, address)), None):
            reasons[address] = f"another process listens on {other}"
    return reasons


def listening() -> Iterator[Address]:
    """Yield the address of every listening socket of this network namespace (proc_net(5)): three reads in all."""
    for line in _lines("/proc/net/unix"):
        columns = line.split(None, 7)
        if len(columns) == 8 and int(columns[3], 16) & _SO_ACCEPTCON:
            name = columns[7]
            yield AbstractAddress(name[1:]) if name.startswith("@") else UnixAddress(name)
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in _lines(table):
            columns = line.split(None, 4)
            if columns[3] == _TCP_LISTEN:
                ip, _, port = columns[1].partition(":")
                yield InetAddress(_ip(ip), int(port, 16))


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()[1:]
    except OSError:
        return []


def _ip(text: str) -> IPv4Address | IPv6Address:
    """Decode an address as the kernel prints it: 32-bit words in the machine's own byte order."""
    words = bytes.fromhex(text)
    raw = b"".join(
        int.from_bytes(words[at : at + 4], sys.byteorder).to_bytes(4, "big") for at in range(0, len(words), 4)
    )
    if len(raw) == 4:
        return IPv4Address(raw)
    return IPv6Address(raw).ipv4_mapped or IPv6Address(raw)


def _not_a_socket(path: str) -> str:
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"{path} cannot be looked at: {error.strerror}"
    return "" if stat.S_ISSOCK(mode) else f"{path} is there and is not a socket"
