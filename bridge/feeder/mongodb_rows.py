"""From MongoDB's documents to rows, and from the Emperor's lax JSON to a filter. Pure functions."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any

from bson import json_util
from bson.errors import BSONError
from bson.timestamp import Timestamp

from bridge.feeder.protocol import Row
from bridge.feeder.values import id_of, is_unicode, seconds_of, seconds_of_time, shown, socket_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.feeder.answer import Answer

FIELDS = ("name", "config", "ts", "uid", "gid", "socket")
# A string in double or single quotes, or a bare word before a colon.
_TOKEN = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[A-Za-z_$][\w$.]*(?=\s*:)""", re.DOTALL)


def filter_of(text: str) -> dict[str, Any]:
    """Return the filter that a text says; the empty text is every document.

    It is JSON, also MongoDB's extended one. Keys may be bare and strings in single quotes, as the Emperor's driver
    takes them: ``{enabled:1}``.

    Raises:
        ValueError: it is nothing of that.
    """
    if not text.strip():
        return {}
    try:
        found = json_util.loads(_TOKEN.sub(_quoted, text))
    except (ValueError, TypeError, RecursionError, BSONError) as error:
        raise ValueError("the filter is not JSON") from error
    if not isinstance(found, dict):
        raise ValueError("the filter is no object in braces")  # noqa: TRY004 - it is what the admin wrote
    return found


def _quoted(match: re.Match[str]) -> str:
    token = match[0]
    if token[0] == '"':
        return token
    if token[0] == "'":
        return '"' + token[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'
    return f'"{token}"'


def add_document(answer: Answer, document: Mapping[str, Any]) -> None:
    """Add one document to an answer, or the reason why it is of no use.

    Raises:
        UnusableError: the answer is too long.
        RootSideGoneError: nobody wants it any more.
    """
    name = document.get("name")
    if not isinstance(name, str) or not name:
        answer.add_bad("", "row-name", f"the document {document.get('_id')} has no name", "give it one: app.ini")
        return
    if not is_unicode(name):
        answer.add_bad(shown(name), "row-name", "its name is not UTF-8", "store it as UTF-8")
        return
    config = document.get("config")
    if config is not None and not isinstance(config, str):
        answer.add_bad(name, "row-text", "its config is not a string", "store the text of its config")
        return
    socket = document.get("socket")
    if not isinstance(socket, str | None) or not is_unicode(socket or ""):
        answer.add_bad(name, "row-socket", "its socket is not a string of UTF-8", "store an address, or no socket")
        return
    seconds = _seconds(document.get("ts"))
    if seconds is None:
        answer.warn("row-ts", "its ts is neither a date nor a number", "store a date", name)
    uid, gid = (_id(answer, name, field, document.get(field)) for field in ("uid", "gid"))
    # Without a text, the Emperor takes a name for that of a file.
    row = Row(name=name, config=config or None, ts=seconds or 0.0, uid=uid, gid=gid, socket=socket_of(socket))
    answer.add(row)


def _seconds(value: object) -> float | None:
    if isinstance(value, date):
        return seconds_of_time(value)
    if isinstance(value, Timestamp):
        return float(value.time)
    if isinstance(value, bool) or not isinstance(value, int | float | str | None):
        return None
    return seconds_of(None if value is None else str(value))


def _id(answer: Answer, name: str, field: str, value: object) -> int | None:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise ValueError("it is not a number")  # noqa: TRY004 - as id_of
        return id_of(None if value is None else str(value))
    except ValueError as error:
        answer.warn("row-owner", f"its {field} cannot be used: {error}", "store the number of the user or group", name)
        return None
