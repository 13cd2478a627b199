"""Starts the feeder of a monitor: its orders, with the secret that they need, and its service."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING, Protocol

from bridge.feeder.protocol import Orders
from bridge.feeder.zmq_options import ZmqOptionsError, client_keys
from bridge.host.files import read_regular, read_text
from bridge.host.services import own_service
from bridge.host.users import user_id
from bridge.mirror.channel import Channel
from bridge.mirror.unit import FeederUnit, properties
from bridge.systemd.transient import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.mirror.unit import Property
    from bridge.monitors.mirrored import FeederPlan, MirroredMonitor

SECRET_MAX = 4096
"""Bytes of a password file."""
CLIENT_KEYS_MAX = 1 << 20
"""Bytes of a file with the public keys of clients."""


def garbled(plan: FeederPlan) -> tuple[str, str]:
    """Return what is told of a feeder that sends something that is no message, and what to do about it."""
    return "its process sends something that is no message", f"see journalctl -u {plan.unit}"


class FeedError(Exception):
    """A feeder cannot be started. The message is for admins."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Services(Protocol):
    """What starts services."""

    def start(self, unit: str, properties: Sequence[Property]) -> None:
        """Start one. Raises :class:`bridge.systemd.transient.StartError`."""

    def while_waiting(self, call: Callable[[], None]) -> None:
        """Have ``call`` called at least once a second while this process waits for the service manager."""


def orders_of(plan: FeederPlan, *, once: bool, has_rows: bool) -> Orders:
    """Return what a feeder is told, secrets included; ``has_rows``: whether the mirror has some.

    Raises:
        FeedError: a file that they need cannot be read.
    """
    table = plan.table
    options = dict(plan.spec.options)
    if plan.spec.is_answer_whole:
        options["known"] = has_rows
    if path := _secret_path(plan):
        options[plan.secret] = secret = _read(path, f"its secret {path}", SECRET_MAX).rstrip("\r\n")
        if not secret:
            # Without its key a ZeroMQ socket would be open to all.
            raise FeedError(f"its secret {path} is empty", "write the password alone on one line")
    elif table.credential:
        raise FeedError(
            f"there is no credential {table.credential}: this process was not started with credentials",
            f"add LoadCredential={table.credential}:FILE to emperor-bridge.service, and let the daemon ask",
        )
    if path := table.curve_client_keys:
        what = f"the file {path} of its clients' keys"
        try:
            options["curve_client_keys"] = client_keys(_read(path, what, CLIENT_KEYS_MAX))
        except ZmqOptionsError as error:
            raise FeedError(f"{what} cannot be used: {error}", "write one public key on each line") from None
    return Orders(scheme=plan.spec.scheme, options=options, freq=plan.freq, once=once)


def start_feeder(monitor: MirroredMonitor, services: Services, *, is_users: bool, seconds: float = 0.0) -> Channel:
    """Start a feeder; return the root side's end of its socket. With ``seconds``, it answers once, within this time.

    Raises:
        FeedError: its secret cannot be read, a socket cannot be made, or systemd refuses, as it would with that user.
    """
    plan, has_rows = monitor.plan, bool(monitor.writer.known)
    if is_users and plan.user and user_id(plan.user) != os.getuid():
        hint = "leave user out: the process then runs as you"
        raise FeedError(f"your own service manager cannot run its process as {plan.user}", hint)
    orders = orders_of(plan, once=bool(seconds), has_rows=has_rows)
    try:
        own, other = socket.socketpair()
    except OSError as error:
        raise FeedError(f"no socket can be made: {error.strerror}", "see the limit of open files") from error
    channel = Channel(own)
    try:
        channel.send([orders])
        unit = FeederUnit(
            description=f"Monitor {plan.spec.scheme} of emperor-bridge",
            program=sys.executable,
            library=os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
            reads=(os.path.realpath(sys.executable), os.path.realpath(sys.base_prefix)),
            user=plan.user,
            bound_to=own_service(read_text("/proc/self/cgroup"), is_users=is_users),
            writable=_writable(plan),
            seconds=seconds,
            is_users=is_users,
        )
        services.start(plan.unit, properties(unit, other))
    except StartError as error:
        channel.close()
        raise FeedError(str(error), "it is tried again; see systemd's journal") from error
    except BaseException:
        channel.close()
        raise
    finally:
        other.close()
    return channel


def _read(path: str, what: str, max_bytes: int) -> str:
    """Return the text of a file that the orders need; ``what`` it is, for messages."""
    try:
        return read_regular(path, max_bytes=max_bytes).decode()
    except OSError as error:
        reason = error.strerror or str(error)
        raise FeedError(f"{what} cannot be read: {reason}", "correct the file, or its name") from None
    except UnicodeDecodeError:
        raise FeedError(f"{what} is not valid UTF-8", "write it anew, as plain text") from None


def _secret_path(plan: FeederPlan) -> str:
    if plan.table.password_file:
        return plan.table.password_file
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return f"{folder}/{plan.table.credential}" if folder and plan.table.credential else ""


def _writable(plan: FeederPlan) -> tuple[str, ...]:
    """Return the folder in which a ZeroMQ socket is made."""
    endpoint = str(plan.spec.options.get("endpoint", ""))
    return (os.path.dirname(endpoint.removeprefix("ipc://")),) if endpoint.startswith("ipc:///") else ()
