"""What is wrong, where, and what to do about it: the one form in which problems reach an admin.

Nothing below the command line prints. Problems are values: they are collected, the rest goes on, and the
exit status follows from the worst of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Severity(StrEnum):
    """How bad a problem is: an error refuses or fails something, a warning only informs."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnostic:
    """One problem, in words for the admin."""

    code: str
    """Stable and unique to the kind of problem, such as ``address-conflict``."""
    message: str
    """What is wrong, without the place."""
    hint: str = ""
    """What to do about it."""
    path: str | None = None
    """The file it is about."""
    line: int | None = None
    """The line in that file, counted from 1."""
    vassal: str | None = None
    """The name of the vassal it concerns."""
    config: str | None = None
    """The path of that vassal's config."""
    key: str | None = None
    """That vassal's key, which tells it from all others."""
    severity: Severity = Severity.ERROR
    detail: str = field(default="", compare=False)
    """More than an admin needs, such as a traceback: the journal keeps it at the priority debug."""

    def __str__(self) -> str:
        place = printable(self.path or self.vassal or "")
        if self.line is not None:
            place += f":{self.line}"
        message = printable(self.message)
        text = f"{place}: {self.severity}: {message}" if place else f"{self.severity}: {message}"
        return f"{text} ({printable(self.hint)}) [{self.code}]" if self.hint else f"{text} [{self.code}]"


class BridgeError(Exception):
    """A problem that ends the whole run; carries the diagnostics that say why, the first one as ``diagnostic``."""

    def __init__(self, diagnostic: Diagnostic, *more: Diagnostic) -> None:
        super().__init__("\n".join(map(str, (diagnostic, *more))))
        self.diagnostic = diagnostic
        self.diagnostics = (diagnostic, *more)


def errors(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Return those diagnostics that refuse or fail something."""
    return [d for d in diagnostics if d.severity is Severity.ERROR]


def printable(text: str) -> str:
    """Return ``text`` fit for one line of a terminal: whatever is not printable is shown as a backslash escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where there are more."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
