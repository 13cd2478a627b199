"""Takes the values of an Emperor's config as uWSGI does: a bad one is never a reason to stop.

core/uwsgi.c, ``uwsgi_opt_set_int``, ``uwsgi_opt_true``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from bridge.uwsgi.options import is_on

if TYPE_CHECKING:
    from bridge.config.settings import Setting

_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?)([0-9]+)(.*)", re.DOTALL)
_MOST = 999_999_999
"""The largest number that is taken: eleven days in milliseconds."""
_COMMENT = (";", "#")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
_CAPABILITY = re.compile(r"[A-Za-z_]+")


class Doubt(NamedTuple):
    """Why a value is not taken, or not as it is meant; the message continues a sentence that begins with it."""

    message: str
    hint: str


def take_value(setting: Setting, text: str) -> tuple[str | int | bool | None, Doubt | None]:
    """Return a setting's value, or None for the default, and a doubt about it."""
    if setting.number:
        return _number(setting, text)
    if setting.flag:
        return _flag(setting, text)
    if setting.field == "env" and not _VARIABLE.fullmatch(text):
        return None, Doubt("sets no variable for the vassals", "write env = NAME=VALUE")
    if setting.field == "emperor_cap":
        return _capabilities(text)
    return text, None


def _number(setting: Setting, text: str) -> tuple[int | None, Doubt | None]:
    """Take the number at the start of a text, as ``atoi`` of the C library does."""
    hint = f"write {setting.name} = NUMBER, from 1 to {_MOST}"
    sign, digits, rest = found.groups() if (found := _NUMBER.match(text)) else ("", "", "")
    digits = digits.lstrip("0") or "0"
    number = int(digits) if len(digits) <= len(str(_MOST)) else _MOST + 1
    if number == 0:
        return None, Doubt("is taken as 0 by uWSGI, but the bridge needs a number: the default counts", hint)
    if sign == "-":
        return None, Doubt("is negative, and uWSGI would not start: the default counts", hint)
    if number > _MOST:
        return None, Doubt("is too large: the default counts", hint)
    if rest.strip() and not rest.lstrip().startswith(_COMMENT):
        return number, Doubt(f"is taken as {number}, as by uWSGI, which ignores what follows the digits", hint)
    return number, None


def _flag(setting: Setting, text: str) -> tuple[bool, Doubt | None]:
    value = is_on(text)
    first = re.split(r"[\s;#]", text.lstrip(), maxsplit=1)[0]
    if value and first and not is_on(first):
        doubt = f"turns it on, as in uWSGI, for which what follows {first!r} belongs to the value"
        return True, Doubt(doubt, f"write {setting.name} = {first}")
    return value, None


def _capabilities(text: str) -> tuple[str | None, Doubt | None]:
    """Take the names of capabilities, and leave out what is none, as ``uwsgi_build_cap`` (core/utils.c) does."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    taken = [name for name in names if _CAPABILITY.fullmatch(name)]
    if taken == names:
        return text, None
    wrong = next(name for name in names if name not in taken)
    return ",".join(taken) or None, Doubt(f"names {wrong[:40]!r}, which is left out", "write names as in setuid,setgid")
