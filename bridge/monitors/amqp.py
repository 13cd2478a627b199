"""amqp:// and amqps://: messages of a broker say which vassals there are."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote

from bridge.monitors.mirrored import MirroredMonitor
from bridge.monitors.spec import MonitorSpec, SpecError, SpecWarning, shown, take_port, without_password

EXCHANGE = "uwsgi.emperor"
"""The Emperor's (plugins/emperor_amqp/emperor_amqp.c)."""
_HEARTBEAT = 15
_HEARTBEATS = (10, 30)
"""Seconds: what is usual, and what is allowed."""
_FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_PARAMETERS = ("exchange", "queue", "durable", "heartbeat")


class AmqpMonitor(MirroredMonitor):
    """Listens to a broker, with the messages of the Emperor's emperor_amqp."""

    @staticmethod
    def parse(text: str, *, hostname: str) -> MonitorSpec:
        """Read what follows ``amqp://``; see :func:`parse_amqp`."""
        return parse_amqp(text, hostname=hostname)


class AmqpsMonitor(MirroredMonitor):
    """The same over TLS."""

    @staticmethod
    def parse(text: str, *, hostname: str) -> MonitorSpec:
        """Read what follows ``amqps://``; see :func:`parse_amqp`."""
        return parse_amqp(text, hostname=hostname, tls=True)


def parse_amqp(text: str, *, hostname: str, tls: bool = False) -> MonitorSpec:
    """Read ``[USER[:PASSWORD]@]HOST[:PORT][/VHOST][?exchange=…&queue=…&durable=…&heartbeat=…]``.

    The Emperor takes ``HOST:PORT`` alone. ``hostname`` names this host's own queue.

    Raises:
        SpecError: a part cannot be used.
    """
    rest, _, query = text.partition("?")
    netloc, _, vhost = rest.partition("/")
    given = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(given.keys() - set(_PARAMETERS)):
        raise SpecError(f"it has an unknown parameter {unknown[0][:40]!r}", f"there are {', '.join(_PARAMETERS)}")
    login, _, place = netloc.rpartition("@")
    user, _, password = login.partition(":")
    host, port = _host_and_port(place, 5671 if tls else 5672)
    options: dict[str, Any] = {
        "host": host,
        "port": port,
        "is_tls": tls,
        "user": unquote(user) or "guest",
        "password": unquote(password) or "guest",
        "vhost": unquote(vhost) or "/",
        "exchange": given.get("exchange") or EXCHANGE,
        "queue": given.get("queue") or f"emperor-bridge.{hostname}",
        "heartbeat": _heartbeat(given.get("heartbeat", "")),
    }
    warnings = []
    if durable := given.get("durable", ""):
        if durable.lower() not in _FLAGS:
            raise SpecError("its parameter durable is neither true nor false", "write durable=true")
        options["is_durable"] = _FLAGS[durable.lower()]
        if not options["is_durable"]:
            warnings.append(
                SpecWarning(
                    "amqp-transient",
                    "its queue is not durable: messages are lost while this host is down",
                    "leave durable out",
                )
            )
    redacted, has_password = without_password(netloc)
    scheme = "amqps" if tls else "amqp"
    known = "&".join(f"{key}={given[key]}" for key in ("exchange", "queue") if given.get(key))
    suffix = f"/{shown(vhost)}" if vhost else ""
    return MonitorSpec(
        scheme="amqp",
        id=f"{scheme}://{shown(redacted)}{suffix}{'?' if known else ''}{shown(known)}",
        options=options,
        has_password=has_password,
        warnings=tuple(warnings),
    )


def _host_and_port(place: str, default: int) -> tuple[str, int]:
    if place.startswith("["):
        host, _, port = place[1:].partition("]")
        return host, take_port(port.removeprefix(":"), default)
    host, _, port = place.partition(":")
    return host or "127.0.0.1", take_port(port, default)


def _heartbeat(text: str) -> int:
    if not text:
        return _HEARTBEAT
    least, most = _HEARTBEATS
    if not text.isdecimal() or not least <= int(text[:6]) <= most:
        raise SpecError(f"its parameter heartbeat is no number from {least} to {most}", f"write heartbeat={_HEARTBEAT}")
    return int(text)
