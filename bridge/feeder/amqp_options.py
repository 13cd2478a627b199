"""How to reach a broker: ``amqp://USER:PASSWORD@HOST:PORT/VHOST?exchange=…`` becomes the options of the feeder.

The form is RabbitMQ's (rabbitmq.com/docs/uri-spec and uri-query-parameters). It holds what the Emperor accepts,
``amqp://HOST:PORT``. No error text here has a part of the URL that can be a secret.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

PORT = 5672
TLS_PORT = 5671
HEARTBEATS = (10, 30)
"""Seconds, least and most: below that a busy broker is taken for dead, above that a dead one is noticed late."""
NAME_MAX = 255
"""Bytes of a name in AMQP (a short string)."""
_FILES = {"cacertfile": "ca_file", "certfile": "certificate_file", "keyfile": "key_file"}
_SWITCH = {"true": True, "1": True, "false": False, "0": False}


class OptionsError(ValueError):
    """The address of a broker is not understood; the text says what is wrong, without secrets."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AmqpOptions:
    """A broker, and what to declare there."""

    host: str = "localhost"
    port: int = PORT
    user: str = "guest"
    password: str = field(default="guest", repr=False)
    vhost: str = "/"
    is_tls: bool = False
    ca_file: str = ""
    """PEM file with the certificates of those who may sign the broker's. Empty: those that the system trusts."""
    certificate_file: str = ""
    """PEM file with a certificate for the broker, where it wants one."""
    key_file: str = ""
    exchange: str = "uwsgi.emperor"
    queue: str = ""
    """Empty: ``emperor-bridge.HOSTNAME``."""
    is_durable: bool = True
    """Whether an exchange and a queue that do not exist are made so that they outlive the broker's restart."""
    heartbeat: int = 15
    """Seconds between two signs of life."""

    @property
    def queue_name(self) -> str:
        """The queue: the one that is given, or one of this host's own."""
        return self.queue or f"emperor-bridge.{socket.gethostname()}"

    @property
    def place(self) -> str:
        """Where the broker is, without user and password: for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_url(url: str) -> AmqpOptions:
    """Return what an ``amqp://`` or ``amqps://`` URL says.

    Raises:
        OptionsError: it is not understood.
    """
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise OptionsError("its host or port is not understood") from None
    if port == 0:
        raise OptionsError("its port is 0")
    if parts.scheme not in {"amqp", "amqps"} or parts.fragment:
        raise OptionsError("it is not of the form amqp://USER:PASSWORD@HOST:PORT/VHOST")
    is_tls = parts.scheme == "amqps"
    values: dict[str, Any] = {"is_tls": is_tls, "port": port or (TLS_PORT if is_tls else PORT)}
    if host:
        values["host"] = host
    if parts.username is not None:
        values["user"] = unquote(parts.username)
        values["password"] = unquote(parts.password or "")
    if len(parts.path) > 1:
        values["vhost"] = unquote(parts.path[1:])
    return from_values(values | _query(parts.query))


def from_values(values: dict[str, Any]) -> AmqpOptions:
    """Return options from their names and values, such as those of :class:`bridge.feeder.protocol.Orders`.

    Raises:
        OptionsError: a name is unknown, or a value is not what it must be.
    """
    try:
        options = AmqpOptions(**values)
    except TypeError:
        raise OptionsError(f"one of these options is unknown: {', '.join(sorted(values))}") from None
    for name, kind in AmqpOptions.__annotations__.items():
        if type(getattr(options, name)).__name__ != kind:
            raise OptionsError(f"{name} is not of the type {kind}")
    if not HEARTBEATS[0] <= options.heartbeat <= HEARTBEATS[1]:
        raise OptionsError(f"heartbeat is {options.heartbeat}, and must be {HEARTBEATS[0]} to {HEARTBEATS[1]} seconds")
    if not options.exchange:
        raise OptionsError("the default exchange of a broker cannot be used: name another one")
    for name in ("exchange", "queue", "vhost", "user"):
        if len(getattr(options, name).encode("utf-8", "surrogateescape")) > NAME_MAX:
            raise OptionsError(f"{name} has more than {NAME_MAX} bytes")
    if bool(options.certificate_file) != bool(options.key_file):
        raise OptionsError("certfile and keyfile are needed together")
    return options


def _query(text: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        if name in {"exchange", "queue"}:
            values[name] = value
        elif name in _FILES:
            values[_FILES[name]] = value
        elif name == "durable":
            if value.lower() not in _SWITCH:
                raise OptionsError("durable must be true or false")
            values["is_durable"] = _SWITCH[value.lower()]
        elif name == "heartbeat":
            if not (value.isascii() and value.isdigit() and len(value) < 6):
                raise OptionsError("heartbeat must be a number of seconds")
            values["heartbeat"] = int(value)
        else:
            raise OptionsError(f"the parameter {name[:40]!r} is unknown")
    return values
