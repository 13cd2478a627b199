"""Judges what a database or a broker says of one vassal, before it counts. Pure.

The Emperor passes most of this over in silence (core/emperor.c, ``uwsgi_emperor_simple_do``). Here one note says what
is wrong with a row, and what ran for it before goes on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from bridge.diagnostics import printable
from bridge.feeder.protocol import ID_MAX, Note
from bridge.model.vassal import option_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.feeder.protocol import Row

NAME_MAX = 254
"""Bytes of a name: the Emperor takes names of less than 255 (``uwsgi_emperor_simple_do``)."""
TEXT_MAX = 1024 * 1024
"""Bytes of a config's text: the reader of configs takes no more."""
SOCKET_MAX = 256
"""Characters of an address: systemd takes none that is longer than a path of 108 bytes."""
EMPERORS_TEXT_MAX = 65_535
"""Bytes of a text that the Emperor hands over whole: it writes the length into 16 bits."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SHOWN = 80
"""Characters of a name that a note shows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RowRules:
    """What the settings say of rows."""

    is_tyrant: bool = False
    extra_extensions: tuple[str, ...] = ()


class Judged(NamedTuple):
    """What is made of one row."""

    row: Row | None
    """None: it does not count."""
    notes: tuple[Note, ...] = ()


def judge(row: Row, rules: RowRules) -> Judged:
    """Return a row as it counts, or why it does not, and what is worth a warning."""
    errors = tuple(_find_errors(row, rules))
    if errors:
        return Judged(None, errors[:1])
    notes = tuple(_find_warnings(row))
    row = replace(row, socket=row.socket.strip(), ts=float(row.ts))
    # What does not count outside tyrant mode must not look like a change either.
    return Judged(row if rules.is_tyrant else replace(row, uid=None, gid=None), notes)


def merge_duplicate(first_socket: str, row: Row) -> tuple[Row, Note]:
    """Return what a second row of a name counts as, if it is the newer one: the address stays that of the first.

    So the Emperor has it: it takes an address only when it meets a vassal.
    """
    note = Note(
        code="row-duplicate",
        name=row.name,
        message="there are several rows of this name: the newest text counts, and the address of the first",
        hint="make the name unique",
        is_warning=True,
    )
    return replace(row, socket=first_socket), note


def without_times(number: int, name: str) -> Note:
    """Return the warning about all rows that say no time of their last change; ``name`` is one of them."""
    rows = f"{number:,} rows have" if number > 1 else "a row has"
    return Note(
        code="row-ts",
        message=f"{rows} no time of the last change (ts), such as {printable(name[:_SHOWN])}",
        hint="the Emperor never reloads such a vassal; here it is reloaded when its text changes",
        is_warning=True,
    )


def name_problem(row: Row, rules: RowRules) -> str:
    """Return why a name cannot be a vassal's; an empty text if it can. A row without a text is named by its path."""
    name = row.name
    last = name.rpartition("/")[2]
    size = len(name.encode(errors="surrogatepass"))
    problems = (
        (any("\ud800" <= c <= "\udfff" for c in name), "is not valid UTF-8"),
        (_CONTROL.search(name), "has a control character"),
        (size > NAME_MAX, f"has {size} bytes, and {NAME_MAX} are allowed"),
        (
            option_for(name, rules.extra_extensions) is None,
            "does not end like a config: .ini, .xml, .yml, .yaml, .js or .json",
        ),
        (last != name and row.config is not None, "has a slash"),
        (":" in name, "has a ':', and uWSGI reads what follows that as the name of a section"),
        (last.startswith("."), "begins with a dot"),
    )
    return next((message for is_so, message in problems if is_so), "")


def _find_errors(row: Row, rules: RowRules) -> Iterator[Note]:
    if problem := name_problem(row, rules):
        shown = printable(row.name[:_SHOWN])
        yield _error(row, "row-name", f"the name {shown!r} {problem}", "rename it")
        return
    # One that is only touched keeps its owner.
    if rules.is_tyrant and not row.keep_known and (missing := [key for key, number in _ids(row) if not number]):
        yield _error(
            row,
            "row-owner",
            f"its {' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing or 0, "
            "and in tyrant mode a vassal runs as its owner",
            "give it the number of a user and of a group, and none of root's",
        )
    for key, number in _ids(row):
        if rules.is_tyrant and number is not None and not 0 <= number <= ID_MAX:
            yield _error(row, "row-owner", f"its {key} {number} is no user's or group's number", "correct it")
    yield from _find_text_errors(row)


def _find_text_errors(row: Row) -> Iterator[Note]:
    if len(row.socket) > SOCKET_MAX or _CONTROL.search(row.socket.strip()):
        yield _error(
            row,
            "row-socket",
            "its address is too long or has a control character",
            "write an address such as /run/app.sock or 127.0.0.1:3031",
        )
    if not _is_number(row.ts):
        yield _error(row, "row-ts", "its time of the last change (ts) is no number", "write seconds since 1970")
    if row.config is None:
        return
    try:
        size = len(row.config.encode())
    except UnicodeEncodeError:
        yield _error(row, "row-text", "its config is not valid UTF-8", "write the config anew")
        return
    if size > TEXT_MAX:
        yield _error(row, "row-text", f"its config has {size:,} bytes, and {TEXT_MAX:,} are allowed", "shorten it")


def _find_warnings(row: Row) -> Iterator[Note]:
    if row.config is not None and len(row.config.encode()) > EMPERORS_TEXT_MAX:
        yield Note(
            code="row-long",
            name=row.name,
            message=f"its config is longer than {EMPERORS_TEXT_MAX:,} bytes: an Emperor would cut it, here it works",
            hint="keep it short as long as an Emperor reads it too",
            is_warning=True,
        )


def _ids(row: Row) -> tuple[tuple[str, int | None], ...]:
    return (("uid", row.uid), ("gid", row.gid))


def _is_number(value: float) -> bool:
    # NaN is no number, and nothing that is infinite is a time.
    return abs(value) < 2**63


def _error(row: Row, code: str, message: str, hint: str) -> Note:
    return Note(code=code, name=row.name, message=message, hint=hint)
