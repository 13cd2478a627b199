"""From the columns of PostgreSQL's answer to rows. Pure functions.

The columns count by their position, as in the Emperor: name, config, ts, and perhaps uid, gid, socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.feeder.answer import UnusableError
from bridge.feeder.protocol import Row
from bridge.feeder.values import id_of, is_unicode, seconds_of, shown, socket_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.feeder.answer import Answer

COLUMNS_MIN, COLUMNS_MAX = 3, 6
COLUMNS = "name, config, ts, uid, gid, socket"
_BYTEA = 17
"""The type ``bytea`` (pg_type.dat in PostgreSQL's source); its text form is not what was stored."""


def check_columns(types: Sequence[int]) -> None:
    """Judge an answer by its columns.

    Args:
        types: the columns' types, by the numbers that ``pg_type`` has.

    Raises:
        UnusableError: this cannot be a list of vassals.
    """
    if len(types) < COLUMNS_MIN:
        raise UnusableError(
            f"the query returns {len(types)} of the columns that it must have",
            f"select these, in this order, and at least the first three: {COLUMNS}",
        )
    for number, name in enumerate(("name", "config")):
        if types[number] == _BYTEA:
            raise UnusableError(
                f"column {number + 1} ({name}) is bytea and not text",
                f"write convert_from({name}, 'UTF8') in the query",
            )


def add_row(answer: Answer, number: int, values: Sequence[bytes | None]) -> None:
    """Add one row to an answer, or the reason why it is of no use.

    Args:
        answer: what to add it to.
        number: of the row, counted from 1.
        values: the columns in the text form; None is NULL.

    Raises:
        UnusableError: the answer is too long.
        RootSideGoneError: nobody wants it any more.
    """
    # A database in SQL_ASCII may hold any bytes. In a config they go on as they are: uWSGI does not decode it either.
    texts = [None if value is None else value.decode("utf-8", "surrogateescape") for value in values[:COLUMNS_MAX]]
    texts += [None] * (COLUMNS_MAX - len(texts))
    name, config, ts, uid, gid, socket = texts
    if not name:
        answer.add_bad("", "row-name", f"row {number} has no name", "give it one, such as app.ini")
        return
    if config is None:
        answer.add_bad(name, "row-text", "its config is NULL", "store the text of its config")
        return
    if not is_unicode(name):
        answer.add_bad(shown(name), "row-name", "its name is not UTF-8", "store it as UTF-8")
        return
    if not is_unicode(socket or ""):
        answer.add_bad(name, "row-socket", "its socket is not UTF-8", "store it as UTF-8")
        return
    seconds = seconds_of(ts)
    if seconds is None:
        hint = "store seconds since 1970, or a timestamp"
        answer.warn("row-ts", "its ts is neither a number nor a time", hint, name)
    ids = [_id(answer, name, column, text) for column, text in (("uid", uid), ("gid", gid))]
    row = Row(name=name, config=config, ts=seconds or 0.0, uid=ids[0], gid=ids[1], socket=socket_of(socket))
    answer.add(row)


def _id(answer: Answer, name: str, column: str, text: str | None) -> int | None:
    try:
        return id_of(text)
    except ValueError as error:
        answer.warn("row-owner", f"its {column} cannot be used: {error}", "store the number of the user or group", name)
        return None
