"""Drop-ins of an admin's that make a socket listen elsewhere (systemd.unit(5), "drop-in")."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.host.files import read_text
from bridge.model.address import AddressError, parse_address
from bridge.model.unit import Listening

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from bridge.model.address import Address
    from bridge.systemd.protocol import Manager

_LISTEN = re.compile(r"^\s*Listen[A-Za-z]+\s*=", re.MULTILINE)
_ESCAPE = re.compile(rb"\\(?:(?P<octal>[0-7]{3})|x(?P<hex>[0-9a-f]{2})|(?P<char>[abfnrtv\\\"']))")
_CHARS = dict(zip(b"abfnrtv\\\"'", b"\a\b\f\n\r\t\v\\\"'", strict=True))
_FEW = 64
"""Sockets whose drop-ins are looked for by name; for more, the folders are listed."""


def sockets_with_drop_ins(sockets: Collection[str], unit_path: Sequence[str]) -> list[str]:
    """Return the sockets with a drop-in, in a folder of the manager's unit path, that sets what they listen on."""
    if len(sockets) <= _FEW:
        wanted = {name for socket in sockets for name in _folders_of(socket)}
        found = [f"{folder}/{name}" for folder in unit_path for name in wanted if os.path.isdir(f"{folder}/{name}")]
    else:
        found = [f"{folder}/{name}" for folder in unit_path for name in _names(folder) if name.endswith("socket.d")]
    in_force = {os.path.basename(path) for path in found if _sets_address(path)}
    return [socket for socket in sockets if in_force and not in_force.isdisjoint(_folders_of(socket))]


def listening_of(sockets: Collection[str], manager: Manager) -> dict[str, Listening]:
    """Ask the manager on what these sockets listen.

    Raises:
        BridgeError: the manager cannot be asked.
    """
    units = list(sockets)
    listens = manager.properties(units, "Socket", "Listen") if units else {}
    drop_ins = manager.properties(units, "Unit", "DropInPaths") if units else {}
    return {
        unit: Listening(
            addresses=tuple(_address(kind, text) for kind, text in pairs),
            drop_ins=tuple(path for path in drop_ins.get(unit, ()) if _LISTEN.search(read_text(path))),
        )
        for unit, pairs in listens.items()
    }


def _folders_of(socket: str) -> Iterator[str]:
    """Yield the names of the folders whose drop-ins are in force for a unit: also those for all that begin alike."""
    yield "socket.d"
    stem = socket.removesuffix(".socket")
    for at, char in enumerate(stem[:-1]):
        if char == "-":
            yield f"{stem[: at + 1]}.socket.d"
    yield f"{socket}.d"


def _names(folder: str) -> list[str]:
    with suppress(OSError):
        return os.listdir(folder)
    return []


def _sets_address(folder: str) -> bool:
    paths = (f"{folder}/{name}" for name in _names(folder) if name.endswith(".conf"))
    return any(_LISTEN.search(read_text(path)) for path in paths)


def _address(kind: str, text: str) -> Address | str:
    """Return an address as the manager shows it: an unusual character is escaped, as in C."""
    raw = _ESCAPE.sub(_plain, os.fsencode(text))
    try:
        return parse_address(os.fsdecode(raw), base="/") if kind == "Stream" else f"{text} ({kind})"
    except AddressError:
        return text


def _plain(escape: re.Match[bytes]) -> bytes:
    if escape["octal"]:
        return bytes([int(escape["octal"], 8) & 0xFF])
    return bytes([int(escape["hex"], 16) if escape["hex"] else _CHARS[ord(escape["char"])]])
