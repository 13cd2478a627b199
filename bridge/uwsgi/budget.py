"""Bounds the cost of one config with all that it includes: uWSGI would continue until memory or time are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.uwsgi.options import ConfigError

if TYPE_CHECKING:
    from bridge.uwsgi.options import Option

MAX_OPTIONS = 10_000
MAX_TEXT = 4 * 1024 * 1024
MAX_WORK = 50_000_000
"""About one second; the unit is the cost of searching one character."""
STEP = 50
"""The fixed cost of one search, or one line."""
TOKEN = 400
"""The cost of one token of JSON, XML or YAML."""
LOOKUP = 2000
"""The cost of asking the kernel about one file."""


class Budget:
    """Counts the cost of a config while it is read, and refuses the config beyond the bounds."""

    def __init__(self) -> None:
        self.spent = 0
        """In the unit of MAX_WORK."""
        self._options = 0
        self._text = 0

    def admits(self, option: Option) -> bool:
        """Count one more option, and its name once more, if no bound is near; if not, count nothing."""
        size = len(option.key) + len(option.value)
        cost = len(option.key) + size + 2 * STEP
        if self._options >= MAX_OPTIONS or self._text + size > MAX_TEXT or self.spent + cost > MAX_WORK:
            return False
        self._options += 1
        self._text += size
        self.spent += cost
        return True

    def covers(self, cost: int) -> bool:
        """Count work if it is within the bound; if not, count nothing: step by step, the error has the line."""
        if self.spent + cost > MAX_WORK:
            return False
        self.spent += cost
        return True

    def option(self, option: Option) -> None:
        """Count one more option."""
        self._options += 1
        self.text(len(option.key) + len(option.value), option)
        if self._options > MAX_OPTIONS:
            raise too_many(option.path, option.line)

    def text(self, size: int, option: Option) -> None:
        """Count text before it is made."""
        self._text += size
        self.work(size, option)
        if self._text > MAX_TEXT:
            raise ConfigError("this creates too much text", option.path, option.line, "use fewer placeholders")

    def work(self, size: int, option: Option) -> None:
        """Count text before it is searched."""
        self.charge(size + STEP, option.path, option.line)

    def charge(self, cost: int, path: str, line: int | None) -> None:
        """Count work before it is done; ``path`` and ``line`` say for what.

        Raises:
            ConfigError: the config costs too much.
        """
        self.spent += cost
        if self.spent > MAX_WORK:
            raise ConfigError("this takes too long to read", path, line, "make the config shorter and simpler")


def too_many(path: str, line: int) -> ConfigError:
    """Return the error for more options than a config may have."""
    return ConfigError("this creates too many options", path, line, "shorten the config, or its loop")
