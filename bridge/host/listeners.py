"""Asks the kernel which addresses are in use, and resolves symlinks in socket paths."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, NamedTuple

from bridge.host.links import make_real_path
from bridge.host.sock_diag import file_of, listeners, shown_listeners, shown_tcp_listeners
from bridge.model.address import AbstractAddress, InetAddress, UnixAddress, collision_key, overlaps

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from bridge.host.sock_diag import Listener
    from bridge.model.address import Address

_TCP_LISTEN = "0A"


def make_canonical_address() -> Callable[[Address], Address]:
    """Return a function that resolves symlinked folders in a socket's path, and each folder only once."""
    real_path = make_real_path()
    known: dict[str, str] = {}

    def canonical_address(address: Address) -> Address:
        if not (isinstance(address, UnixAddress) and address.path.startswith("/")):
            return address
        folder, name = os.path.split(address.path)
        if (real := known.get(folder)) is None:
            real = known[folder] = real_path(folder)
        path = f"{real.rstrip('/')}/{name}"
        return address if path == address.path else UnixAddress(path)

    return canonical_address


class Heard(NamedTuple):
    """A listening socket."""

    address: Address
    number: int
    """Its inode number, by which a process has it; 0 if it is not known."""


def occupied(
    wanted: Iterable[Address],
    own: Collection[Address],
    ends: Callable[[Address, int], bool] = lambda _wanted, _number: False,
) -> dict[Address, str]:
    """Return the wanted addresses on which no socket can listen, each with the reason.

    Args:
        wanted: the addresses.
        own: those of the bridge's own sockets, which count as free.
        ends: tells, of a wanted address and the number of a socket that is in its way, whether that ends before.
    """
    reasons: dict[Address, str] = {}
    doubtful = []
    for address in wanted:
        if address in own:
            continue
        if isinstance(address, UnixAddress) and (reason := _not_a_socket(address.path)):
            reasons[address] = reason
        # No client reaches a socket whose file is removed, or is in another mount namespace.
        elif not isinstance(address, UnixAddress) or os.path.lexists(address.path):
            doubtful.append(address)
    if not doubtful:
        return reasons
    taken: dict[str, list[Heard]] = {}
    # The kernel reports the path given to bind(2), which may have a symlink such as /var/run.
    canonical_address = make_canonical_address()
    for one in heard():
        if (address := canonical_address(one.address)) not in own:
            taken.setdefault(collision_key(address), []).append(Heard(address, one.number))
    for address in doubtful:
        found = [one for one in taken.get(collision_key(address), ()) if overlaps(one.address, address)]
        others = [one for one in found if not ends(address, one.number)]
        if others:
            reasons[address] = f"another process listens on {others[0].address}"
        elif not found and isinstance(address, UnixAddress) and _is_alive(address.path):
            # It may have been bound by a relative path. The kernel knows its file all the same.
            file = file_of(address.path)
            if not any(ends(address, one.number) for one in listeners() if file is not None and one.inode == file):
                reasons[address] = f"another process holds the socket {address}"
    return reasons


def unheard(addresses: Iterable[Address], shown: Iterable[Listener] | None = None) -> set[Address]:
    """Return those of the addresses at which the kernel has no listening socket; none of a kind that it does not show.

    The kernel shows those of this network namespace. ``shown`` are the unix sockets, if it was asked just now.
    """
    inet: list[InetAddress] = []
    unix: list[tuple[bytes, Address]] = []
    for address in addresses:
        if isinstance(address, InetAddress):
            inet.append(address)
        else:
            unix.append((_name_of(address), address))
    silent: set[Address] = set()
    if inet and (found := _shown_tcp()) is not None:
        silent |= set(inet) - {one.address for one in found}
    if unix and shown is None:
        shown = shown_listeners([name for name, _ in unix])
    if unix and shown is not None:
        names = {one.name for one in shown}
        silent.update(address for name, address in unix if name not in names)
    return silent


def heard() -> Iterator[Heard]:
    """Yield every listening socket of this network namespace (sock_diag(7))."""
    for one in listeners():
        yield Heard(_unix_address(one), one.number)
    yield from _shown_tcp() or ()


def all_heard() -> list[Heard] | None:
    """Return every listening socket of this network namespace; None if the kernel does not show all of them."""
    unix, tcp = shown_listeners(), _shown_tcp()
    return None if unix is None or tcp is None else [*(Heard(_unix_address(one), one.number) for one in unix), *tcp]


def queued_at(numbers: Collection[int]) -> int:
    """Return how many connections wait to be accepted at those of the sockets with these inode numbers that listen."""
    found = (*listeners(), *(shown_tcp_listeners() or ()))
    return sum(one.queued for one in found if one.number in numbers)


def listening() -> Iterator[Address]:
    """Yield the address of every listening socket of this network namespace."""
    return (one.address for one in heard())


def listening_keys() -> set[str]:
    """Return the :func:`collision_key` of every listening socket. No addresses are made of thousands."""
    names = (os.fsdecode(one.name) for one in listeners())
    keys = {f"@{name[1:]}" if name.startswith("\0") else name for name in names}
    return keys.union(collision_key(one.address) for one in _shown_tcp() or ())


def _unix_address(listener: Listener) -> Address:
    name = os.fsdecode(listener.name)
    return AbstractAddress(name[1:]) if name.startswith("\0") else UnixAddress(name)


def _name_of(address: Address) -> bytes:
    """Return the name that the kernel has for a unix socket, as in :class:`Listener`."""
    return b"\0" + os.fsencode(address.name) if isinstance(address, AbstractAddress) else os.fsencode(str(address))


def _shown_tcp() -> list[Heard] | None:
    """Return all TCP sockets that listen; None if the kernel does not show them."""
    if (found := shown_tcp_listeners()) is not None:
        return [Heard(InetAddress(one.ip, one.port), one.number) for one in found]
    # A kernel without inet_diag.
    try:
        lines = [line for table in ("/proc/net/tcp", "/proc/net/tcp6") for line in _lines(table)]
    except OSError:
        return None
    return [Heard(address, 0) for address in map(_tcp_address, lines) if address]


def _tcp_address(line: str) -> InetAddress | None:
    columns = line.split(None, 4)
    if columns[3] != _TCP_LISTEN:
        return None
    ip, _, port = columns[1].partition(":")
    return InetAddress(_ip(ip), int(port, 16))


def _lines(path: str) -> list[str]:
    with open(path, encoding="ascii") as file:
        return file.read().splitlines()[1:]


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
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{path} cannot be examined: {error.strerror}"
    return "" if stat.S_ISSOCK(mode) else f"{path} exists and is not a socket"


def _is_alive(path: str) -> bool:
    """Tell whether a process has this socket open, of any type and in any network namespace.

    systemd would replace the file, even that of a datagram socket such as the journal's, which never listens.
    """
    try:
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as client:
            # The path by descriptor is short; the real path may be too long for an address.
            return client.connect_ex(f"/proc/self/fd/{fd}") != errno.ECONNREFUSED
    finally:
        os.close(fd)
