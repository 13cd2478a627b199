"""Recognises addresses that an admin wrote as for another reader: a shell, a config, or a person.

The Emperor takes a rule's address as it is: it would make a socket with quotes or a comment in its name. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

# Few addresses need these, so they are compiled when one does.
_PARTS = {
    r"[#;](?P<rest>).*": "is a comment, and a rule has none",
    r"(?i)[a-z0-9-]*(?:socket|listenstream|listen|address) *= *(?P<rest>.*)": (
        "has the name of an option before the address"
    ),
    r"(?P<quote>[\"'`])(?P<rest>[^\"'`]*)(?P=quote)?.*": "has quotes, which would be part of the address",
    r"(?i)unix:(?://)?(?P<rest>/.*)": "has a scheme before the path",
}
"""What is no part of an address, wherever it comes from; and the address beside it."""
_COMMENT = {
    r"(?P<rest>\S(?:.*?\S)?) +[#;](?:[ \w].*)?": "has a comment behind the address, and a rule has none",
}
_HOME = r"~(?P<user>[^/]*)(?P<rest>/.*|)"
_VARIABLE = r"\$(?:\{(\w+)\}|\((\w+)\)|(\w+))"
_STEP = f"(?<=/){_VARIABLE}"
_MOST_MISTAKES = 8
_PLAIN = re.compile(r"[/@:\[0-9][A-Za-z0-9/@:.\[\]_-]*")
"""Addresses as nearly all are: nothing below finds a mistake in them."""


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
        if _PLAIN.fullmatch(text):
            return None
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
            if found := re.fullmatch(pattern, text):
                return Mistake(message, found["rest"])
        if found := re.fullmatch(_HOME, text):
            folder = self.home(found["user"] or self.name)
            return Mistake("has a ~, and no shell replaces it", folder + found["rest"] if folder else "")
        return self._variable(text)

    def _variable(self, text: str) -> Mistake | None:
        found = re.match(_VARIABLE, text)
        if not (found or self.is_printed or text.startswith("@")):
            found = re.search(_STEP, text)
        if found is None:
            return None
        name = next(filter(None, found.groups()))
        value = {"HOME": self.home(self.name), "USER": self.name, "LOGNAME": self.name}.get(name)
        meant = f"{text[: found.start()]}{value}{text[found.end() :]}" if value else ""
        return Mistake(f"has a variable, {found[0]}, and no shell replaces it", meant)
