"""The options of one uWSGI config, in the order uWSGI takes them, each with the place it was written at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND_LINE = "$0"
"""The place of an option on uWSGI's command line."""
_NO = frozenset({"false", "off", "no", "0"})


class ConfigError(Exception):
    """A config uWSGI would not start with, or one the bridge will not read; in words for the admin."""

    def __init__(self, message: str, path: str, line: int | None = None, hint: str = "") -> None:
        super().__init__(f"{path}:{line}: {message}" if line is not None else f"{path}: {message}")
        self.message = message
        self.path = path
        self.line = line
        self.hint = hint

    def diagnostic(self, *, vassal: str | None = None) -> Diagnostic:
        """Return the same problem in the form that reaches an admin."""
        return Diagnostic(
            code="uwsgi-config",
            message=self.message,
            hint=self.hint,
            path=self.path,
            line=self.line,
            vassal=vassal,
        )


@dataclass(frozen=True, slots=True)
class Option:
    """One option as written: ``key = value`` in ini's terms."""

    key: str
    value: str
    path: str
    """The file, or ``$NAME`` for an option that came as the environment variable ``NAME``, or COMMAND_LINE."""
    line: int
    """The line in that file, counted from 1."""
    trusted: bool = False
    """Whether its value is, word for word, the admin's: no file's owner can make that so."""


@dataclass(frozen=True, slots=True)
class Config:
    """What a uWSGI process started with this config would be told."""

    path: str
    options: tuple[Option, ...]
    unread: tuple[Option, ...] = ()
    """What only the running process can know or may read: includes that were not followed, conditions and loops
    that could not be decided (each followed by the options of its body), and options with such an ``@(file)``."""
    asked: tuple[str, ...] = ()
    """What files else it depends on: those whose text stands in a value, and those its conditions asked about."""

    def all(self, *keys: str) -> Iterator[Option]:
        """Yield the options with one of these names, in order."""
        wanted = frozenset(keys)
        return (option for option in self.options if option.key in wanted)

    def last(self, *keys: str) -> Option | None:
        """Return the option that counts where uWSGI keeps one value: a later one replaces an earlier one."""
        return next((option for option in reversed(self.options) if option.key in keys), None)

    def flag(self, *keys: str) -> bool:
        """Return whether a boolean option is on; the names are aliases of each other."""
        option = self.last(*keys)
        return option is not None and is_on(option.value)


def is_on(value: str) -> bool:
    """Return whether a boolean option with this value is on.

    uWSGI (core/uwsgi.c, ``uwsgi_opt_true``): false, off and no in any case, and 0, turn it off again; everything
    else, nothing at all included, turns it on.
    """
    return value.lower() not in _NO
