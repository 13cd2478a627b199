"""The sockets that a vassal's config binds itself: which they are, and whether systemd can hold them instead.

A uWSGI that takes itself for reloaded looks among its descriptors for each of its sockets, and uses what it finds
(core/setup_utils.c, ``uwsgi_setup_inherited_sockets``). It compares names as text with what the kernel says
(core/socket.c, ``uwsgi_add_socket_from_fd``). What does not match is bound anew, and the queue is never answered.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bridge.model.address import (
    AbstractAddress,
    AddressError,
    InetAddress,
    UnixAddress,
    overlaps,
    parse_address,
    parse_uwsgi_socket,
)
from bridge.model.unit_names import EscapeError
from bridge.units.quoting import value
from bridge.uwsgi.socket_options import ALL, DATAGRAM, REQUESTS, SHARED, SSL, sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from bridge.diagnostics import Diagnostic
    from bridge.model.address import Address
    from bridge.model.vassal import Vassal
    from bridge.uwsgi.options import Config, Option

OWN_MAX = 64
"""Sockets of one config that systemd holds: each takes a descriptor of PID 1's."""
_MAX_COMPARED = 10_000
"""Addresses of one config that are compared with the rule's: each relative one stands for one in each folder."""
_HELD = REQUESTS | SSL | SHARED
_ANY = "0.0.0.0"  # noqa: S104 - the wildcard has to be named to be recognised
_NOT_INHERITED = frozenset({"zerg", "zerg-node", "abstract-socket", "edit-and-reload"})
"""Options with which a reloaded uWSGI finds its sockets elsewhere, or under other names."""
_MOVES = frozenset({"unshare", "unshare2", "setns", "pivot-root", "pivot_root"})
"""Options that a uWSGI of root's obeys before it binds its sockets (core/utils.c, ``uwsgi_as_root``)."""


class Obstacle(NamedTuple):
    """Why systemd cannot hold a vassal's own sockets: an option, what is wrong with it, and what to do."""

    option: Option
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class OwnSockets:
    """The sockets on which a config's workers answer."""

    addresses: tuple[Address, ...] = ()
    """In the order of the config, up to the first that cannot be handed over."""
    obstacle: Obstacle | None = None
    """Why they cannot all be handed over."""


def own_sockets(config: Config, canonical_address: Callable[[Address], Address]) -> OwnSockets:
    """Return the request sockets of a config, and what is in the way of handing them over."""
    if (obstacle := _general_obstacle(config)) is not None:
        return OwnSockets(obstacle=obstacle)
    found: dict[Address, None] = {}
    chroot = config.last("chroot")
    for option in sockets(config):
        if option.key not in _HELD:
            continue
        address = _held_address(option, canonical_address)
        if not isinstance(address, Obstacle):
            obstacle = _obstacle_beside(option, address, found)
            if obstacle is None and chroot is not None and isinstance(address, UnixAddress):
                obstacle = Obstacle(chroot, f"has uWSGI bind {address} below it", "listen on a port, or remove chroot")
            address = obstacle or address
        if isinstance(address, Obstacle):
            return OwnSockets(tuple(found), address)
        found[address] = None
    return OwnSockets(tuple(found))


def _obstacle_beside(option: Option, address: Address, found: Collection[Address]) -> Obstacle | None:
    """Return what is in the way of handing over an address beside those before it."""
    other = next((one for one in found if one != address and overlaps(one, address)), None)
    if other is not None:
        return Obstacle(option, f"overlaps with {other}", "write one of the two")
    # Of a path and an abstract name, uWSGI compares what follows the first character.
    name = None if isinstance(address, InetAddress) else str(address)[1:]
    twin = next((one for one in found if one != address and str(one)[1:] == name), None)
    if twin is not None:
        return Obstacle(option, f"is the same to uWSGI as {twin}", "choose another name")
    if len(found) == OWN_MAX:
        return Obstacle(option, f"comes after {OWN_MAX} others", "write fewer sockets")
    return None


def find_binder(
    config: Config, vassal: Vassal, address: Address, canonical_address: Callable[[Address], Address]
) -> Option | Diagnostic | None:
    """Return the option that binds the rule's address, or the problem that there are too many options to know."""
    known: set[Address] = set()
    wanted = canonical_address(address)
    for number, (option, own) in enumerate(_addresses(config, vassal)):
        if number == _MAX_COMPARED:
            return vassal.problem(
                "config-unreadable",
                "it has too many sockets, or too many chdir options beside relative ones",
                "write absolute addresses, or fewer",
                at=(option.path, option.line),
            )
        if own in known:
            continue
        known.add(own)
        if overlaps(canonical_address(own), wanted):
            return option
    return None


def _general_obstacle(config: Config) -> Obstacle | None:
    hidden = next((option for option in config.unread if option.key in ALL), None)
    if hidden is not None:
        return Obstacle(hidden, "may be in force or not: only uWSGI can decide that", "write it without a condition")
    elsewhere = next(config.all(*_NOT_INHERITED), None)
    if elsewhere is not None:
        return Obstacle(elsewhere, "makes uWSGI look for its sockets elsewhere", f"remove {elsewhere.key}")
    moves = next(config.all(*_MOVES), None)
    if moves is not None:
        return Obstacle(moves, "has uWSGI bind its sockets in a place of its own", f"remove {moves.key}")
    return None


def _held_address(option: Option, canonical_address: Callable[[Address], Address]) -> Address | Obstacle:
    """Return the address of a socket that uWSGI will find among its descriptors, or why it will not."""
    text = option.value
    wanted = parse_uwsgi_socket(text, base="/")
    try:
        address = parse_address(text, base="")
        value(str(address))
    except (AddressError, EscapeError) as error:
        hint = f"write {option.key} = {wanted}" if wanted and ":" in text else "write a plain address, such as IP:PORT"
        return Obstacle(option, f"is not what systemd can listen on: {error}", hint)
    if isinstance(address, UnixAddress) and not text.startswith("/"):
        return Obstacle(option, "is a relative path, and uWSGI compares names as text", "write the whole path")
    if isinstance(address, UnixAddress) and address.path.startswith("/var/run/"):
        # core/socket.c of systemd resolves this one link.
        instead = canonical_address(address)
        return Obstacle(option, "is in /var/run, and systemd listens in /run", f"write {option.key} = {instead}")
    if option.key in SHARED and isinstance(address, InetAddress) and address.ip.version == 6:
        # uwsgi_getsockname() takes it for IPv4.
        return Obstacle(option, "is IPv6, and a reloaded uWSGI does not find that", "write a socket of its own instead")
    if _compared(text) != kernel_name(address):
        return Obstacle(option, f"is not as the kernel writes it: {address}", f"write {option.key} = {address}")
    return address


def kernel_name(address: Address) -> str:
    """Return how uWSGI writes the address of a socket that it finds (core/socket.c, ``uwsgi_add_socket_from_fd``)."""
    if isinstance(address, AbstractAddress | UnixAddress):
        return str(address)
    if address.ip.version == 4:
        return _compared(str(address))
    return f"[{socket.inet_ntop(socket.AF_INET6, address.ip.packed)}]:{address.port}"


def _compared(name: str) -> str:
    """Return what uWSGI compares of a name (core/socket.c, ``uwsgi_socket_strcmp``)."""
    wildcard, colon, port = name.partition(":")
    return colon + port if wildcard == _ANY else name


def _addresses(config: Config, vassal: Vassal) -> Iterator[tuple[Option, Address]]:
    """Yield each option that binds a socket, with each address that it may mean."""
    folders = (os.path.join(vassal.directory, option.value) for option in config.all("chdir", "chdir2"))
    bases = tuple(dict.fromkeys((vassal.directory, *folders)))
    for option in sockets(config):
        for base in bases if _is_relative(option.value) else bases[:1]:
            own = parse_uwsgi_socket(option.value, base=base)
            if own is not None and not (option.key in DATAGRAM and isinstance(own, InetAddress)):
                yield option, own


def _is_relative(value: str) -> bool:
    return not value.startswith(("/", "@")) and ":" not in value
