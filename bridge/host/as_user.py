"""Looks at files with the rights of another user: in a child process that becomes this user."""

from __future__ import annotations

import errno
import glob
import json
import os
import select
import signal
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_CHUNK = 1 << 16


class Identity(NamedTuple):
    """As whom files are looked at."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    """The supplementary groups."""


class Place(NamedTuple):
    """One place where something may be."""

    path: str
    is_folder: bool | None = False
    """None: a folder or a file."""
    is_pattern: bool = False
    """Whether the path is a pattern (glob(7)), of which one match is enough."""
    is_written: bool = False
    """Whether it is to be written, and not read. If it does not exist, it is made in its folder."""


def look(asked: Sequence[Sequence[Place]], identity: Identity, *, timeout: float) -> list[int] | None:
    """Return for each group of places 0 if one of them can be used, or else the errno of its first place.

    None: this process may not become that user, or a file system does not answer within ``timeout`` seconds.
    """
    own = os.geteuid()
    if own not in {0, identity.uid}:
        return None
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            if own == 0:
                _become(identity)
            _send(writer, json.dumps([_first(places) for places in asked]).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    try:
        raw = _receive(reader, time.monotonic() + timeout)
    finally:
        os.close(reader)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        # A child that waits for a dead file system cannot be killed, and is not waited for. Where this process was
        # started with SIGCHLD ignored, the kernel has forgotten the child.
        with suppress(ChildProcessError):
            os.waitpid(child, 0 if raw is not None else os.WNOHANG)
    try:
        return [int(number) for number in json.loads(raw or b"")]
    except ValueError:
        return None


def _become(identity: Identity) -> None:
    os.setgroups(identity.groups)
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)


def _first(places: Sequence[Place]) -> int:
    errors = []
    for place in places:
        if not (error := _examine(place)):
            return 0
        errors.append(error)
    return errors[0] if errors else 0


def _examine(place: Place) -> int:
    if place.is_pattern:
        return 0 if glob.glob(place.path) else errno.ENOENT
    path, mode = place.path, os.R_OK
    try:
        try:
            info = os.stat(path)
        except FileNotFoundError:
            if not place.is_written:
                raise
            path = os.path.dirname(path) or "."
            info = os.stat(path)
        is_folder = stat.S_ISDIR(info.st_mode)
        if place.is_folder and not is_folder:
            return errno.ENOTDIR
        if place.is_written:
            mode = os.W_OK | (os.X_OK if is_folder else 0)
        elif is_folder:
            mode = os.X_OK if place.is_folder is not False else os.R_OK
        if place.is_folder is False and is_folder and not place.is_written:
            return errno.EISDIR
    except OSError as error:
        return error.errno or errno.EIO
    except ValueError:
        return errno.EINVAL
    return 0 if os.access(path, mode) else errno.EACCES


def _send(descriptor: int, raw: bytes) -> None:
    while raw:
        raw = raw[os.write(descriptor, raw) :]


def _receive(descriptor: int, deadline: float) -> bytes | None:
    raw = b""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        if not (chunk := os.read(descriptor, _CHUNK)):
            return raw
        raw += chunk
    return None
