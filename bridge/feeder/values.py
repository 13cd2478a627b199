"""What the columns of a row and the fields of a document mean. Pure functions."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, time

from bridge.feeder.protocol import ID_MAX

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d+(\.0*)?")


def seconds_of(text: str | None) -> float | None:
    """Return the seconds since the epoch that a column ``ts`` says, or None if it says nothing that can be read.

    It is a number, or a date with or without a time as ISO 8601 and PostgreSQL write it. A time without a zone counts
    as UTC, as in ``EXTRACT(epoch FROM ts)``. A missing value is 0, as for the Emperor.
    """
    if text is None or not text.strip():
        return 0.0
    text = text.strip()
    try:
        seconds = float(text) if _NUMBER.fullmatch(text) else seconds_of_time(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) else None


def seconds_of_time(moment: date) -> float:
    """Return the seconds since the epoch of a date or a time; UTC if it has no zone."""
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def id_of(text: str | None) -> int | None:
    """Return the uid or gid that a column says; None if it is missing.

    Raises:
        ValueError: it says something else.
    """
    if text is None or not text.strip():
        return None
    if not _WHOLE.fullmatch(text.strip()):
        raise ValueError("it is not a whole number")
    number = int(text.strip().partition(".")[0])
    if not 0 <= number <= ID_MAX:
        raise ValueError("it is out of range")
    return number


def socket_of(text: str | None) -> str:
    """Return the address that a column says; NULL and blanks alone say that the vassal runs always."""
    return text.strip() if text else ""


def is_unicode(text: str) -> bool:
    """Return whether a text was UTF-8 before it was decoded with ``surrogateescape``."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(text: str) -> str:
    """Return such a text with escapes in place of the bytes that are not UTF-8, for messages."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
