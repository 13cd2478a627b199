"""The Emperor's zmq messages: ``touch`` or ``destroy``, NAME, and for touch [config, [uid, [gid, [socket]]]].

The form is that of plugins/emperor_zeromq/emperor_zeromq.c. What differs: five parts mean no socket, where the Emperor
goes on to read a sixth; an empty socket is none; and a message that is not understood is refused as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.feeder import fields
from bridge.feeder.protocol import Note, Put, Remove, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

PARTS_MAX = 6
HINT = "send touch or destroy, the name, and for touch if need be config, uid, gid and socket, as parts of one message"


def change(parts: Sequence[bytes], *, number: int, now: float) -> Put | Remove | Note:
    """Return what a message changes, or why it is refused.

    Args:
        parts: all parts of one message.
        number: the id of the change.
        now: seconds since the epoch; the message has no time of its own.
    """
    if not 2 <= len(parts) <= PARTS_MAX:
        count = f"it has {len(parts)} part{'' if len(parts) == 1 else 's'}, and must have 2 to {PARTS_MAX}"
        return fields.refusal("zmq-message", count, _readable(parts), hint=HINT)
    try:
        name = fields.vassal_name(parts[1])
        if parts[0] == b"destroy":
            return Remove(name=name, id=number)
        if parts[0] != b"touch":
            command = parts[0].decode("utf-8", "replace")[:40]
            return fields.refusal("zmq-message", f"its command is {command!r}", name, hint=HINT)
        return fields.put(_row(name, parts[2:], now), number, code="zmq-message")
    except fields.FieldError as error:
        return fields.refusal("zmq-message", str(error), _readable(parts), hint=HINT)


def _row(name: str, rest: Sequence[bytes], now: float) -> Row:
    if not rest:
        return Row(name=name, ts=now, keep_known=True)
    config, uid, gid, socket = (*rest, b"", b"", b"")[:4]
    return Row(
        name=name,
        config=fields.config_text(config),
        ts=now,
        uid=fields.user_number(uid, "uid"),
        gid=fields.user_number(gid, "gid"),
        socket=fields.address(socket),
    )


def _readable(parts: Sequence[bytes]) -> str:
    """Return the name in a refused message, if it can be read."""
    try:
        return fields.vassal_name(parts[1]) if len(parts) > 1 else ""
    except fields.FieldError:
        return ""
