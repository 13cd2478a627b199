"""The Emperor's amqp messages, and three headers that it does not know.

As in plugins/emperor_amqp/emperor_amqp.c: without a routing key, the body is the path of a config. With one, that is
the vassal's name, and the body is its config; an empty body removes the vassal. The headers ``socket``, ``uid`` and
``gid`` are the bridge's own. What differs: a body that is an ``http://`` URL is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.feeder import fields
from bridge.feeder.protocol import Note, Put, Remove, Row

if TYPE_CHECKING:
    from collections.abc import Mapping

HINT = "the routing key is the name and the body the config; without a routing key the body is the path of a config"
URLS = (b"http://", b"https://")


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One message, as the broker delivers it."""

    routing_key: str
    body: bytes
    headers: Mapping[str, object] = field(default_factory=dict)


def change(delivery: Delivery, *, number: int, now: float) -> Put | Remove | Note:
    """Return what a message changes, or why it is refused.

    Args:
        delivery: the message.
        number: the id of the change.
        now: seconds since the epoch, when the message came; a broker keeps no time that can be trusted.
    """
    if not delivery.routing_key and delivery.body.startswith(URLS):
        return fields.refusal(
            "amqp-url",
            "its body is a URL, and the bridge fetches none",
            hint="send the config itself as the body, with the vassal's name as the routing key",
        )
    try:
        if not delivery.routing_key:
            return fields.put(_path_row(delivery, now), number, code="amqp-message")
        name = fields.vassal_name(delivery.routing_key.encode("utf-8", "surrogateescape"))
        if not delivery.body:
            return Remove(name=name, id=number)
        return fields.put(_text_row(name, delivery, now), number, code="amqp-message")
    except fields.FieldError as error:
        return fields.refusal("amqp-message", str(error), _readable(delivery), hint=HINT)


def _path_row(delivery: Delivery, now: float) -> Row:
    return Row(
        name=fields.config_path(delivery.body),
        ts=now,
        uid=_number(delivery.headers, "uid"),
        gid=_number(delivery.headers, "gid"),
        socket=_socket(delivery.headers),
        has_rule="socket" in delivery.headers,
    )


def _text_row(name: str, delivery: Delivery, now: float) -> Row:
    return Row(
        name=name,
        config=fields.config_text(delivery.body),
        ts=now,
        uid=_number(delivery.headers, "uid"),
        gid=_number(delivery.headers, "gid"),
        socket=_socket(delivery.headers),
    )


def _socket(headers: Mapping[str, object]) -> str:
    value = headers.get("socket")
    if value is None:
        return ""
    if not isinstance(value, str | bytes):
        raise fields.FieldError("its header socket is not text")
    return fields.address(value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value)


def _number(headers: Mapping[str, object], what: str) -> int | None:
    value = headers.get(what)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | str | bytes):
        raise fields.FieldError(f"its header {what} is neither a number nor text")
    return fields.user_number(value, what)


def _readable(delivery: Delivery) -> str:
    """Return the name in a refused message, if it can be read."""
    try:
        key = delivery.routing_key.encode("utf-8", "surrogateescape")
        return fields.vassal_name(key) if key else fields.config_path(delivery.body)
    except fields.FieldError:
        return ""
