"""systemd's own quoting. Everything that reaches a unit file or a unit name passes through here.

The rules are those of systemd.unit(5), systemd.syntax(7), systemd.service(5) "COMMAND LINES" and systemd-escape(1);
never a shell's.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from bridge.model.unit_names import EscapeError

if TYPE_CHECKING:
    from collections.abc import Iterable

_kept = lru_cache(maxsize=256)
"""Most texts of a vassal are those of all vassals."""
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_/.,:=@+-]+")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_/.,:=@+~-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_WORD_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


@_kept
def value(text: str) -> str:
    """Escape a setting that takes the rest of its line, such as ``ListenStream=`` or ``WorkingDirectory=``.

    systemd strips white space at both ends, joins a line that ends in a backslash with the next one, expands ``%``
    specifiers, and offers no quoting here: what cannot be written is an error, never changed in silence.

    Raises:
        EscapeError: the text is empty, holds a control character or invalid UTF-8, begins or ends in white space, or
            ends in a backslash.
    """
    if not text:
        raise EscapeError("it is empty")
    _check_text(text)
    if _CONTROL.search(text):
        raise EscapeError("it has a control character, which a unit file cannot hold")
    if text != text.strip(" "):
        raise EscapeError("it begins or ends in white space, which systemd would cut off")
    if text.endswith("\\"):
        raise EscapeError("it ends in a backslash, which systemd would read as a continued line")
    return text.replace("%", "%%")


def word(text: str) -> str:
    """Quote one word of a list, as in ``Environment=``; specifiers are escaped too.

    Raises:
        EscapeError: the text holds a NUL or invalid UTF-8.
    """
    _check_text(text)
    if _PLAIN_WORD.fullmatch(text):
        return text
    quoted = "".join(_WORD_ESCAPES.get(c) or (f"\\x{ord(c):02x}" if ord(c) < ord(" ") else c) for c in text)
    return '"' + quoted.replace("%", "%%") + '"'


@_kept
def argument(text: str) -> str:
    """Quote one argument of an ``Exec…=`` line, where systemd also expands ``$VARIABLES``.

    Raises:
        EscapeError: as for :func:`word`.
    """
    return word(text).replace("$", "$$")


def arguments(texts: Iterable[str]) -> str:
    """Quote the arguments of an ``Exec…=`` line.

    Raises:
        EscapeError: as for :func:`word`.
    """
    return " ".join(map(argument, texts))


def forget_texts() -> None:
    """Forget what was kept: the texts lie scattered over all memory that a run took."""
    for quoted in (value, argument):
        quoted.cache_clear()


def file_url(path: str) -> str:
    """Return the URL of a file. What has a meaning of its own in a URL, or in a unit, is encoded (RFC 8089)."""
    if _PLAIN_PATH.fullmatch(path):
        return f"file://{path}"
    plain = (chr(byte) if _PLAIN_PATH.fullmatch(chr(byte)) else f"%{byte:02X}" for byte in os.fsencode(path))
    return "file://" + "".join(plain)


def _check_text(text: str) -> None:
    if "\0" in text:
        raise EscapeError("it has a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise EscapeError("it is not valid UTF-8, and systemd accepts nothing else") from None
