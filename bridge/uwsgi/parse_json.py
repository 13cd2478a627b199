"""Parses JSON as uWSGI does (core/json.c, built with yajl, ``yajl_tree_parse``)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from bridge.uwsgi.budget import TOKEN as TOKEN_COST
from bridge.uwsgi.budget import Budget
from bridge.uwsgi.options import ConfigError, Option

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_DEPTH = 100
_TOKEN = re.compile(
    r"""(?P<blank>[ \t\n\v\f\r]+|/\*.*?\*/|//[^\n]*)"""
    r"""|(?P<string>"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+")"""
    r"""|(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"""
    r"""|(?P<word>true|false|null)"""
    r"""|(?P<mark>[{}\[\],:])""",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u(.{4})|(.))")
_SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_HINT = 'uWSGI reads an object {"uwsgi": {"name": "value"}}'


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


class _Scalar(NamedTuple):
    text: str
    line: int


class _Object(NamedTuple):
    members: list[tuple[str, _Value]]
    """A list, because names may be repeated."""


_Value: TypeAlias = "_Scalar | _Object | list[_Value]"


def parse(text: str, *, path: str, section: str = "uwsgi", budget: Budget | None = None) -> list[Option]:
    """Return the options of the object ``section``, with the line of each value.

    core/json.c, ``uwsgi_json_config``: numbers stay as written, true is 1, false and null are 0. A list repeats its
    option; objects and lists in it are ignored. yajl allows comments, and repeated names in an object.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError("this is not UTF-8 text", path, None, "uWSGI reads JSON in UTF-8") from None
    if text.startswith("\ufeff"):
        raise ConfigError("it begins with a byte order mark", path, 1, "save it as UTF-8 without a byte order mark")
    reader = _Reader(text, path, budget or Budget())
    root = reader.value(0)
    reader.expect_end()
    members = _member(root, section)
    if not isinstance(members, _Object):
        raise ConfigError(f"there is no object named {section}", path, 1, _HINT)
    options: list[Option] = []
    for key, value in members.members:
        items = value if isinstance(value, list) else [value]
        options += [Option(key, item.text, path, item.line) for item in items if isinstance(item, _Scalar)]
    return options


def _member(root: _Value, name: str) -> _Value | None:
    if not isinstance(root, _Object):
        return None
    return next((value for key, value in root.members if key == name), None)


class _Reader:
    """Reads values from the tokens of a text; each token has its line."""

    def __init__(self, text: str, path: str, budget: Budget) -> None:
        self._path = path
        self._budget = budget
        self._line = 1
        self._tokens = self._scan(text)

    def _scan(self, text: str) -> Iterator[_Token]:
        position = 0
        while position < len(text):
            self._budget.charge(TOKEN_COST, self._path, self._line)
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise self._error()
            if match.lastgroup != "blank":
                yield _Token(match.lastgroup, match.group(), self._line)
            self._line += match.group().count("\n")
            position = match.end()

    def _error(self) -> ConfigError:
        return ConfigError("this is not JSON", self._path, self._line, _HINT)

    def _next(self) -> _Token:
        token = next(self._tokens, None)
        if token is None:
            raise self._error()
        return token

    def expect_end(self) -> None:
        """Raise if a token follows the one value that a file has."""
        if next(self._tokens, None) is not None:
            raise self._error()

    def value(self, depth: int, first: _Token | None = None) -> _Value:
        """Return the next value; ``first`` is its first token, if that has been read already."""
        token = first or self._next()
        if depth > _MAX_DEPTH:
            raise ConfigError("this is nested too deep", self._path, self._line, _HINT)
        match token:
            case _Token(kind="string"):
                return _Scalar(self._unquote(token), token.line)
            case _Token(kind="number"):
                return _Scalar(token.text, token.line)
            case _Token(kind="word"):
                return _Scalar("1" if token.text == "true" else "0", token.line)
            case _Token(text="["):
                return self._array(depth)
            case _Token(text="{"):
                return self._object(depth)
        raise self._error()

    def _array(self, depth: int) -> list[_Value]:
        items: list[_Value] = []
        token = self._next()
        if token.text == "]":
            return items
        while True:
            items.append(self.value(depth + 1, token))
            if not self._more("]"):
                return items
            token = self._next()

    def _object(self, depth: int) -> _Object:
        members: list[tuple[str, _Value]] = []
        token = self._next()
        if token.text == "}":
            return _Object(members)
        while True:
            if token.kind != "string" or self._next().text != ":":
                raise self._error()
            members.append((self._unquote(token), self.value(depth + 1)))
            if not self._more("}"):
                return _Object(members)
            token = self._next()

    def _more(self, end: str) -> bool:
        token = self._next()
        if token.text not in {",", end}:
            raise self._error()
        return token.text == ","

    def _unquote(self, token: _Token) -> str:
        text = _ESCAPE.sub(_unescape, token.text[1:-1])
        if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
            raise ConfigError("a string holds a NUL or half a character", self._path, token.line, "correct the \\u")
        return text


def _unescape(match: re.Match[str]) -> str:
    high, low, single, short = match.groups()
    if high:
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
    return chr(int(single, 16)) if single else _SHORT.get(short, short)
