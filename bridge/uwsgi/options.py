"""The options of one uWSGI config, in the order uWSGI takes them, each with its file and line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bridge.diagnostics import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND_LINE = "$0"
"""The ``path`` of an option that stands on uWSGI's command line."""
_NO = frozenset({"false", "off", "no", "0"})


class ConfigError(Exception):
    """A config that uWSGI would not start with, or that the bridge refuses to read; the message is for admins."""

    def __init__(self, message: str, path: str, line: int | None = None, hint: str = "") -> None:
        super().__init__(f"{path}:{line}: {message}" if line is not None else f"{path}: {message}")
        self.message = message
        self.path = path
        self.line = line
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Option:
    """One option, in an ini file ``key = value``."""

    key: str
    value: str
    path: str
    """Its file; or ``$NAME``, if the environment variable ``NAME`` sets it; or COMMAND_LINE."""
    line: int
    """The line in that file, counted from 1."""
    trusted: bool = False
    """Whether the admin wrote all of its value; no owner of a file can set this."""
    condition: Option | None = None
    """The condition in whose body it, or the option that includes it, stands."""


def written(option: Option) -> str:
    """Return an option as its line has it, for a message."""
    return f"{option.key} = {printable(option.value)}"


class Remark(NamedTuple):
    """What uWSGI accepts without a word and an admin does not mean, in words for the admin."""

    message: str
    hint: str
    path: str
    line: int


@dataclass(frozen=True, slots=True)
class Config:
    """The options that a uWSGI process has after it has read a config."""

    path: str
    options: tuple[Option, ...]
    unread: tuple[Option, ...] = ()
    """Options that only the running process can evaluate or may read.

    These are includes and options with ``@(file)`` whose file the bridge did not read. They are also conditions and
    loops that it could not decide, each followed by the options of its body.
    """
    asked: tuple[str, ...] = ()
    """Further files that it depends on: those of ``@(file)``, and those that its conditions test."""
    remarks: tuple[Remark, ...] = ()
    """Why files have no options that are meant to have some."""
    _latest: dict[str, Option] = field(default_factory=dict, compare=False, repr=False)
    """The last option of each name. A config is asked for dozens of names, most of which it does not have."""

    def __post_init__(self) -> None:
        self._latest.update({option.key: option for option in self.options})

    def all(self, *keys: str) -> Iterator[Option]:
        """Yield the options with one of these names, in order."""
        return self.of(frozenset(keys))

    def of(self, keys: frozenset[str]) -> Iterator[Option]:
        """Yield the options with one of many names, in order."""
        if keys.isdisjoint(self._latest):
            return iter(())
        return (option for option in self.options if option.key in keys)

    def last(self, *keys: str) -> Option | None:
        """Return the last option with one of these names: the one in force, if uWSGI keeps one value."""
        if len(keys) == 1:
            return self._latest.get(keys[0])
        found = [option for key in keys if (option := self._latest.get(key))]
        if len(found) > 1:
            return next(option for option in reversed(self.options) if option.key in keys)
        return found[0] if found else None

    def flag(self, *keys: str) -> bool:
        """Return whether a boolean option is on; ``keys`` are its names."""
        option = self.last(*keys)
        return option is not None and is_on(option.value)


def is_on(value: str) -> bool:
    """Return whether a boolean option with this value is on.

    core/uwsgi.c, ``uwsgi_opt_true``: ``false``, ``off`` and ``no`` in upper or lower case, and ``0``, turn it off. Any
    other value turns it on, even none.
    """
    return value.lower() not in _NO
