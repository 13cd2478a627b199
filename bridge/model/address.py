"""The addresses a vassal's socket can have, as rules and configs write them, and which of them collide.

The forms of a rule are the Emperor's (core/emperor.c, ``on_demand_bind``) and, beyond it, abstract names and IPv6.
"""

from __future__ import annotations

import os
import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

from dataclasses import dataclass

SUN_PATH_MAX = 107
"""Bytes that fit in ``sun_path`` beside its terminating NUL (unix(7))."""
PORT_MAX = 65535

_ESCAPED = re.compile(r"[^ -~]|[\"'\\]")
_ANY_IPV4 = IPv4Address("0.0.0.0")  # noqa: S104 - the wildcard has to be named to be recognised


class AddressError(ValueError):
    """A text that is no address a socket can have. ``hint`` says what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A socket in the file system, by its absolute, normalised path."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class AbstractAddress:
    """A socket in Linux's abstract namespace (unix(7))."""

    name: str

    def __str__(self) -> str:
        return "@" + self.name


@dataclass(frozen=True, slots=True)
class InetAddress:
    """A TCP socket."""

    ip: IPv4Address | IPv6Address
    port: int

    def __str__(self) -> str:
        return f"{self.ip}:{self.port}" if self.ip.version == 4 else f"[{self.ip}]:{self.port}"


Address: TypeAlias = UnixAddress | AbstractAddress | InetAddress


def listed(addresses: Iterable[Address]) -> str:
    """Return addresses as a message names them."""
    return " and ".join(map(str, addresses))


def parse_address(text: str, *, base: str) -> Address:
    """Read the address an on-demand rule gives; a relative path is taken below ``base``.

    Raises:
        AddressError: the text is no address that a socket can have.
    """
    if text.startswith("@"):
        return _abstract(text[1:])
    if text.startswith("/"):
        return _unix(text)
    if text.startswith("[") or ":" in text:
        return _inet(text)
    if text.isdecimal():
        raise AddressError(f"{text} is a number, not an address", f"write :{text} for a TCP port, ./{text} for a file")
    return _unix(os.path.join(base, text))


def parse_uwsgi_socket(text: str, *, base: str) -> Address | None:
    """Read an address as uWSGI's own ``socket`` options take it; None for one that cannot be known here.

    uWSGI resolves host names and matches ``*`` against the interfaces (core/socket.c). Only ``localhost`` and a lone
    ``*`` mean the same on every machine.
    """
    host, colon, port = text.rpartition(":")
    if colon and not text.startswith(("/", "@")):
        text = {"localhost": "127.0.0.1", "*": "0.0.0.0"}.get(host, host) + colon + port  # noqa: S104
    try:
        return parse_address(text, base=base)
    except AddressError:
        return None


def overlaps(one: Address, other: Address) -> bool:
    """Tell whether the kernel would refuse to let both listen at once (ip(7), ipv6(7): ``::`` is dual-stack)."""
    if not (isinstance(one, InetAddress) and isinstance(other, InetAddress)):
        return one == other
    if one.port != other.port:
        return False
    if one.ip == other.ip:
        return True
    return any(
        wild.ip.is_unspecified and (wild.ip.version >= fixed.ip.version) for wild, fixed in ((one, other), (other, one))
    )


class DistinctAddresses:
    """Addresses of which all can be listened on at once."""

    def __init__(self) -> None:
        self._by_key: dict[str, list[Address]] = {}

    def admit(self, addresses: Collection[Address]) -> bool:
        """Add all of these, and return True; if any overlaps with one that is here, add none, and return False."""
        found = [(collision_key(address), address) for address in addresses]
        if any(overlaps(address, other) for key, address in found for other in self._by_key.get(key, ())):
            return False
        for key, address in found:
            self._by_key.setdefault(key, []).append(address)
        return True


def any_overlap(some: Iterable[Address], others: Collection[Address]) -> bool:
    """Tell whether one of these addresses and one of the others cannot be listened on at once."""
    return any(overlaps(one, other) for one in some for other in others)


def collision_key(address: Address) -> str:
    """Return what all addresses that might overlap with this one share: a bucket for :func:`overlaps`."""
    return f":{address.port}" if isinstance(address, InetAddress) else str(address)


def is_fragile(address: Address) -> str:
    """Return the character, if any, for which systemd (252, 257) closes a socket at this address at each daemon-reload.

    It compares the address with the one that it has noted, in which such characters are escaped (core/socket.c,
    ``socket_deserialize_item``; basic/escape.c, ``cescape``).
    """
    found = None if isinstance(address, InetAddress) else _ESCAPED.search(str(address))
    return found[0] if found else ""


def _unix(path: str) -> UnixAddress:
    if path.rpartition("/")[2] in {"", ".", ".."}:
        raise AddressError(f"{path!r} names a folder", "name the socket's file, not its folder")
    path = "/" + os.path.normpath(path).lstrip("/")
    if (size := len(os.fsencode(path))) > SUN_PATH_MAX:
        raise AddressError(
            f"the socket path has {size} bytes, {SUN_PATH_MAX} are the most a unix socket can have: {path!r}",
            "choose a shorter folder or name",
        )
    return UnixAddress(path)


def _abstract(name: str) -> AbstractAddress:
    if not name:
        raise AddressError("'@' names no abstract socket", "write @NAME")
    if (size := len(os.fsencode(name))) > SUN_PATH_MAX:
        raise AddressError(f"the abstract name has {size} bytes, {SUN_PATH_MAX} are the most", "choose a shorter one")
    return AbstractAddress(name)


def _inet(text: str) -> InetAddress:
    host, _, port_text = text.rpartition(":")
    if not (port_text.isascii() and port_text.isdecimal()):
        raise AddressError(f"{text!r} has no port number", "write IP:PORT, :PORT, [IPV6]:PORT or an absolute path")
    port = int(port_text) if len(port_text) <= len(str(PORT_MAX)) else PORT_MAX + 1
    if not 1 <= port <= PORT_MAX:
        raise AddressError(f"port {port_text[:9]} is out of range", f"choose one from 1 to {PORT_MAX}")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        ip = ip_address(host[1:-1] if bracketed else host) if host else _ANY_IPV4
    except ValueError:
        raise AddressError(
            f"{host!r} is not a numeric IP address",
            "names are not looked up: write the number, such as 127.0.0.1",
        ) from None
    if isinstance(ip, IPv6Address):
        if not bracketed:
            raise AddressError(f"the IPv6 address {host} has no brackets", f"write [{host}]:{port}")
        if ip.scope_id:
            raise AddressError(f"the IPv6 address {host} has a scope", "systemd listens on addresses without one only")
        return InetAddress(ip.ipv4_mapped or ip, port)
    if bracketed:
        raise AddressError(f"{host} is not an IPv6 address", f"write {host[1:-1]}:{port}")
    return InetAddress(ip, port)
