"""What a feeder and the root side say to each other: JSON, one message a line, over one stream socket.

The root side trusts no line: each has a limit, and what is not a message ends the connection.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

LINE_MAX = 16 * 1024 * 1024
"""Bytes of one line, the longest config included."""
NAME_MAX = 255
"""Characters of a vassal's name."""
ID_MAX = 2**32 - 2
"""The highest uid and gid; the one above means "no change" to chown(2)."""
ROWS_MAX = 100_000
"""Rows of one monitor, bad ones included. A feeder gives up beyond it, and the root side takes no more."""
BYTES_MAX = 1 << 30
"""Bytes of all rows of one monitor."""
NOTES_MAX = 1000
"""Notes of one monitor; there may be one for each row. The others are counted."""


class ProtocolError(Exception):
    """The other side has sent what is no message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """The first line, from the root side: what to ask, and how. The only place where secrets pass."""

    scheme: str
    """``pg``, ``mongodb``, ``zmq`` or ``amqp``."""
    options: dict[str, Any] = field(default_factory=dict)
    """What the scheme's feeder needs, secrets included. What the admin did not give is absent, unless noted.

    - ``pg``: ``conninfo`` (libpq's, may be empty), ``query``, ``password`` (if it is not in ``conninfo``), ``known``.
    - ``mongodb``: ``uri``, ``database``, ``collection``, ``filter`` (JSON as the Emperor takes it; these four always),
      ``user``, ``password``, ``known`` (bool; also of pg: whether the root side has rows of an earlier process).
    - ``zmq``: ``endpoint``, ``curve_secret_key`` (the server's secret key of CURVE in Z85).
    - ``amqp``: ``host``, ``port``, ``is_tls`` (bool), ``user``, ``password``, ``vhost``, ``exchange``, ``queue``,
      ``heartbeat`` (seconds), ``is_durable`` (bool).
    """
    freq: float = 3.0
    """Seconds between two questions where the server does not tell of changes (``emperor-freq``)."""
    once: bool = False
    """Ask once, or take what waits in the queue, and end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One vassal as the server has it. Nothing in it has been judged."""

    name: str
    config: str | None = None
    """The text of its config. None: ``name`` is the path of a file."""
    ts: float = 0.0
    """When it changed, in seconds since the epoch, as far as the server says. 0: unknown."""
    uid: int | None = None
    gid: int | None = None
    socket: str = ""
    """The address it waits on. Empty: it runs always."""
    has_rule: bool = True
    """Whether ``socket`` decides. False: the on-demand rule in force decides (a path from amqp)."""
    keep_known: bool = False
    """Whether the text, owner and address that are known of this name stay, and only ``ts`` is new. It is used with
    ``config`` None: zmq's ``touch NAME``. A name that is not known is the path of a file, as without this."""


@dataclass(frozen=True, slots=True)
class Begin:
    """A whole answer begins: the rows that follow, up to :class:`End`, are all there are."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a whole answer."""

    row: Row


@dataclass(frozen=True, slots=True)
class End:
    """The whole answer has come. Without this line, none of its rows count."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Put:
    """One vassal is new or changed; the root side answers with :class:`Done` once it is on disk."""

    row: Row
    id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Remove:
    """One vassal is gone; the root side answers with :class:`Done`."""

    name: str
    id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """From the root side: this change is on disk, or will never be (it was refused)."""

    id: int


@dataclass(frozen=True, slots=True)
class Ask:
    """From the root side: ask the server again now. It comes after an answer without rows where there were some."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """The server cannot be asked now. ``message`` says why, for admins, without secrets."""

    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Well:
    """The server can be asked again, or was asked, and nothing changed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """Something is wrong with one entry, or worth a warning. Those of the last answer, or of the last change, count."""

    code: str
    message: str
    hint: str
    name: str = ""
    """The entry's name. Empty: it concerns the whole monitor."""
    is_warning: bool = False


Message: TypeAlias = Orders | Begin | Entry | End | Put | Remove | Done | Ask | Trouble | Well | Note
_KINDS: dict[str, Any] = {
    kind.__name__.lower(): kind for kind in (Orders, Begin, Entry, End, Put, Remove, Done, Ask, Trouble, Well, Note)
}
_NAMES = {kind: tuple(item.name for item in fields(kind)) for kind in (*_KINDS.values(), Row)}
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode


def encode(message: Message) -> bytes:
    """Return a message as a line."""
    body = {"kind": type(message).__name__.lower(), **_fields(message)}
    if isinstance(message, Entry | Put):
        body["row"] = _fields(message.row)
    return _ENCODE(body).encode() + b"\n"


def _fields(record: Message | Row) -> dict[str, Any]:
    # dataclasses.asdict copies all values deeply: for thousands of rows that takes longer than the JSON.
    return {name: getattr(record, name) for name in _NAMES[type(record)]}


def decode(line: bytes) -> Message:
    """Return the message that a line holds.

    Raises:
        ProtocolError: it holds none.
    """
    try:
        body = json.loads(line)
        kind = _KINDS[body.pop("kind")]
        if "row" in body:
            body["row"] = Row(**body["row"])
        message: Message = kind(**body)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ProtocolError(f"this is no message: {line[:80]!r}") from error
    if not _is_sound(message):
        raise ProtocolError(f"a value is of a wrong type: {line[:80]!r}")
    return message


def _is_sound(message: Message) -> bool:
    row = message.row if isinstance(message, Entry | Put) else None
    texts = [message.name] if isinstance(message, Remove) else []
    numbers: list[object] = [message.id] if isinstance(message, Put | Remove | Done) else []
    if row is not None:
        texts += [row.name, row.socket, row.config or ""]
        numbers += [row.uid or 0, row.gid or 0]
        flags = (row.has_rule, row.keep_known)
        if not isinstance(row.ts, int | float) or not all(isinstance(flag, bool) for flag in flags):
            return False
    if isinstance(message, Trouble):
        texts += [message.message, message.hint]
    if isinstance(message, Note):
        texts += [message.code, message.message, message.hint, message.name]
    return all(isinstance(text, str) for text in texts) and all(type(number) is int for number in numbers)
