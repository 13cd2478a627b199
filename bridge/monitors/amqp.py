"""amqp:// and amqps://: messages of a broker say which vassals there are."""

from __future__ import annotations

from dataclasses import asdict, replace

from bridge.feeder.amqp_options import OptionsError, parse_url
from bridge.monitors.mirrored import MirroredMonitor
from bridge.monitors.spec import MonitorSpec, SpecError, SpecWarning, shown, without_password

_HINT = "write amqp://USER@HOST:PORT/VHOST?exchange=NAME&queue=NAME&durable=true&heartbeat=15&cacertfile=PATH"


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
    """Read a broker's URL (:func:`bridge.feeder.amqp_options.parse_url`). The Emperor takes ``HOST:PORT`` alone.

    ``hostname`` names this host's own queue.

    Raises:
        SpecError: a part cannot be used.
    """
    scheme = "amqps" if tls else "amqp"
    try:
        options = parse_url(f"{scheme}://{text}")
    except OptionsError as error:
        raise SpecError(str(error), _HINT) from None
    place, _, query = text.partition("?")
    netloc, _, vhost = place.partition("/")
    redacted, has_password = without_password(netloc, vhost)
    named = [part for part in query.split("&") if part.startswith(("exchange=", "queue="))]
    known = f"?{shown('&'.join(named))}" if named else ""
    warnings = []
    if not options.is_durable:
        warnings.append(
            SpecWarning(
                "amqp-transient",
                "its queue is not durable: messages are lost while this host is down",
                "leave durable out",
            )
        )
    return MonitorSpec(
        scheme="amqp",
        id=f"{scheme}://{shown(redacted)}{f'/{shown(vhost)}' if vhost else ''}{known}",
        options=asdict(replace(options, queue=options.queue or f"emperor-bridge.{hostname}")),
        has_password=has_password,
        warnings=tuple(warnings),
    )
