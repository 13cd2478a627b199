"""Recognises addresses that an admin wrote as for another reader: a shell, a config, or a person.

The Emperor takes a rule's address as it is: it would make a socket with quotes or a comment in its name. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_PARTS = {
    re.compile(r"[#;](?P<rest>).*"): "is a comment, and a rule has none",
    re.compile(r"[a-z0-9-]*(?:socket|listenstream|listen|address) *= *(?P<rest>.*)", re.IGNORECASE): (
        "has the name of an option before the address"
    ),
    re.compile(r"(?P<quote>[\"'`])(?P<rest>[^\"'`]*)(?P=quote)?.*"): "has quotes, which would be part of the address",
    re.compile(r"unix:(?://)?(?P<rest>/.*)", re.IGNORECASE): "has a scheme before the path",
}
"""What is no part of an address, wherever it comes from; and the address beside it."""
_COMMENT = {
    re.compile(r"(?P<rest>\S(?:.*?\S)?) +[#;](?:[ \w].*)?"): "has a comment behind the address, and a rule has none",
}
_HOME = re.compile(r"~(?P<user>[^/]*)(?P<rest>/.*|)")
_VARIABLE = r"\$(?:\{(\w+)\}|\((\w+)\)|(\w+))"
_FIRST = re.compile(_VARIABLE)
_STEP = re.compile(f"(?<=/){_VARIABLE}")
_MOST_MISTAKES = 8


class Mistake(NamedTuple):
    """What of a text is no part of an address, and the text without it."""

    message: str
    """It continues a sentence that begins with the text."""
    meant: str
    """Empty: nobody can know."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MistakeFinder:
    """Finds mistakes in the addresses of one vassal."""

    name: str
    """The user whose home ``~`` would be, by name."""
    home: Callable[[str], str | None]
    """Returns the home of a user, by name."""
    is_printed: bool = False
    """Whether a program made the address: it may have any name in it, even with a ``$`` or a ``#``."""

    def find(self, text: str) -> Mistake | None:
        """Return the first mistake in an address, with the address that is meant once all mistakes are mended."""
        first = self._one(text)
        if first is None:
            return None
        meant = first.meant
        for _ in range(_MOST_MISTAKES):
            if not meant or (more := self._one(meant)) is None:
                return first._replace(meant=meant)
            meant = more.meant
        return first._replace(meant="")

    def _one(self, text: str) -> Mistake | None:
        for pattern, message in (_PARTS if self.is_printed else _COMMENT | _PARTS).items():
            if found := pattern.fullmatch(text):
                return Mistake(message, found["rest"])
        if found := _HOME.fullmatch(text):
            folder = self.home(found["user"] or self.name)
            return Mistake("has a ~, and no shell replaces it", folder + found["rest"] if folder else "")
        return self._variable(text)

    def _variable(self, text: str) -> Mistake | None:
        found = _FIRST.match(text)
        if not (found or self.is_printed or text.startswith("@")):
            found = _STEP.search(text)
        if found is None:
            return None
        name = next(filter(None, found.groups()))
        value = {"HOME": self.home(self.name), "USER": self.name, "LOGNAME": self.name}.get(name)
        meant = f"{text[: found.start()]}{value}{text[found.end() :]}" if value else ""
        return Mistake(f"has a variable, {found[0]}, and no shell replaces it", meant)
