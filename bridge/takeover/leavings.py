"""What an Emperor leaves behind without ``vacuum``: pidfiles, and the files of its own sockets (core/uwsgi.c)."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

from bridge.host.files import is_socket, read_text, remove_if_there
from bridge.host.listeners import listening, make_canonical_address
from bridge.host.services import has_ended
from bridge.model.address import UnixAddress
from bridge.takeover.emperor import configs_of, value_of
from bridge.uwsgi.options import ConfigError
from bridge.uwsgi.reader import ProcessView, read

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from bridge.host.listeners import Heard
    from bridge.host.services import ServiceProcess

_PIDFILES = ("pidfile", "pidfile2", "safe-pidfile", "safe-pidfile2", "emperor-pidfile")
_OPTIONS = frozenset(f"--{name}" for name in _PIDFILES)
_PID_BYTES = 32


def leavings(own: Iterable[ServiceProcess], heard: Iterable[Heard]) -> list[str]:
    """Return the paths of what an Emperor may leave, by its own processes and the sockets that listen."""
    numbers: set[int] = set()
    found: dict[str, None] = {}
    for process in own:
        numbers |= process.sockets
        with suppress(OSError):
            cwd = os.readlink(f"/proc/{process.pid}/cwd")
            found |= dict.fromkeys(os.path.join(cwd, path) for path in _pidfiles(process.words, cwd))
    sockets = (one.address for one in heard if one.number in numbers)
    return [*found, *(one.path for one in sockets if isinstance(one, UnixAddress) and one.path.startswith("/"))]


def remove_leavings(paths: Collection[str]) -> None:
    """Remove those of the files that are of nobody any more: sockets at which nobody listens, ids of no process.

    Raises:
        OSError: the file system refuses.
    """
    canonical_address = make_canonical_address()
    heard = {canonical_address(address) for address in listening()} if paths else set()
    for path in paths:
        if is_socket(path):
            is_left = canonical_address(UnixAddress(path)) not in heard
        else:
            text = read_text(path, max_bytes=_PID_BYTES).strip()
            is_left = text.isascii() and text.isdecimal() and has_ended(int(text))
        if is_left:
            remove_if_there(path)


def _pidfiles(words: Sequence[str], cwd: str) -> list[str]:
    """Return the pidfiles that a command line names, and the configs on it."""
    given = (value_of(before, word, _OPTIONS) for before, word in pairwise(words))
    found = [path for path in given if path is not None]
    for path in configs_of(words):
        with suppress(ConfigError, OSError):
            config = read(os.path.join(cwd, path), ProcessView(environ=os.environ))
            found += [named.value for name in _PIDFILES if (named := config.last(name)) and named.value]
    return found
