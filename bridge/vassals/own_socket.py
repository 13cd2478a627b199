"""Finds the option, if any, by which a vassal would bind the address that systemd listens on for it.

uWSGI would replace the socket that systemd holds: the vassal would be woken once and never again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bridge.diagnostics import printable
from bridge.model.address import InetAddress, overlaps, parse_uwsgi_socket
from bridge.uwsgi.socket_options import DATAGRAM, sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.diagnostics import Diagnostic
    from bridge.model.address import Address
    from bridge.model.vassal import Vassal
    from bridge.uwsgi.options import Config, Option

_EMPEROR = "UWSGI_EMPEROR"
"""How the variables begin by which a vassal of an Emperor knows that it is one."""
_MAX_COMPARED = 10_000
"""Addresses of one config that are compared with the rule's: each relative one stands for one in each folder."""


def find_own_socket(
    config: Config, vassal: Vassal, address: Address, canonical_address: Callable[[Address], Address]
) -> Diagnostic | None:
    """Return the problem that an option binds the rule's address, or that there are too many options to know."""
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
            return _problem(vassal, option, address)
    return None


def _problem(vassal: Vassal, option: Option, address: Address) -> Diagnostic:
    line, reason = "this line", ""
    if condition := option.condition:
        written = f"{condition.key} = {printable(condition.value)}"
        reason = f" ({written} in line {condition.line} of {printable(condition.path)} holds here)"
        if _EMPEROR in condition.value:
            line = "this line and the condition, as there is no Emperor"
    return vassal.problem(
        "socket-is-rules",
        f"{option.key} = {printable(option.value)} is the address the vassal is to wait on, {address}: "
        f"once it has run it could not be woken again{reason}",
        f"remove {line}; uWSGI gets the socket as file descriptor 0 "
        f"(for another protocol set protocol, not {option.key})",
        at=(option.path, option.line),
    )


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
