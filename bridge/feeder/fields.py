"""The parts of a message that zmq and amqp have in common: names, texts and numbers of users."""

from __future__ import annotations

from bridge.feeder.protocol import ID_MAX, LINE_MAX, NAME_MAX, Note, Put, Remove, Row, encode

PATH_MAX = 4095
"""Bytes of a path (PATH_MAX in limits.h, less the NUL)."""


class FieldError(ValueError):
    """A part of a message is not what it must be; the text says which part and why, for the admin."""


def vassal_name(data: bytes) -> str:
    """Return a vassal's name. Whether a vassal may have that name is the root side's to judge.

    Raises:
        FieldError: it is empty, too long, or no text.
    """
    return _label(data, what="name", most=NAME_MAX)


def config_path(data: bytes) -> str:
    """Return the path of a config.

    Raises:
        FieldError: it is empty, too long, or no text.
    """
    return _label(data, what="path", most=PATH_MAX)


def config_text(data: bytes) -> str:
    """Return a config's text. Bytes that are not UTF-8 are kept (``surrogateescape``): uWSGI takes any.

    Raises:
        FieldError: it is empty.
    """
    if not data:
        raise FieldError("its config is empty")
    return data.decode("utf-8", "surrogateescape")


def address(data: bytes) -> str:
    """Return the address of a socket; an empty one is none.

    Raises:
        FieldError: it is no text.
    """
    return _label(data, what="socket", most=PATH_MAX) if data else ""


def user_number(value: bytes | str | int, what: str) -> int | None:
    """Return a uid or gid, or None where ``value`` is empty.

    Raises:
        FieldError: it is not a number, or no user can have it. ``what`` is ``uid`` or ``gid``.
    """
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > ID_MAX:
        raise FieldError(f"its {what} is {text[:40]!r}, and must be a number from 0 to {ID_MAX:,}")
    return int(text)


def put(row: Row, number: int, code: str) -> Put | Note:
    """Return the change that brings ``row``, or a note where it is longer than the root side takes."""
    change = Put(row=row, id=number)
    if len(encode(change)) > LINE_MAX:
        megabytes = LINE_MAX // 1024 // 1024
        return refusal(code, f"its config has more than about {megabytes} MiB", row.name, hint="send a shorter config")
    return change


def refusal(code: str, reason: str, name: str = "", *, hint: str) -> Note:
    """Return the note about a message that is refused as a whole."""
    about = f"a message about {name[:NAME_MAX]}" if name else "a message"
    return Note(code=code, message=f"{about} was refused: {reason}", hint=hint, name=name[:NAME_MAX])


def change_name(change: Put | Remove) -> str:
    """Return the name of the vassal that a change is about."""
    return change.row.name if isinstance(change, Put) else change.name


def _label(data: bytes, *, what: str, most: int) -> str:
    if not data:
        raise FieldError(f"its {what} is empty")
    if len(data) > most:
        raise FieldError(f"its {what} has {len(data):,} bytes, and may have {most:,}")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise FieldError(f"its {what} is not UTF-8") from None
    if not text.isprintable():
        raise FieldError(f"its {what} has a control character or another that cannot be printed")
    return text
