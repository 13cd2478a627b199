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

TEXT_MAX = 500
"""Characters of a message or a hint; the middle of a longer one is left out."""
PATH_MAX = 4096
"""Characters of a path; the kernel takes no longer one (PATH_MAX in limits.h)."""
DETAIL_MAX = 20_000
"""Characters of a traceback."""
PER_OWNER = 20
"""Problems with the vassals of one owner that a run prints or writes to the journal; ``check`` prints all."""


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
    owner: int | None = None
    """The uid of the owner of that vassal's config."""
    detail: str = field(default="", compare=False)
    """More than an admin needs, such as a traceback: the journal keeps it at the priority debug."""

    def __post_init__(self) -> None:
        # Tenants write much of these texts, and they are kept, compared and printed again and again.
        for name, most in (("message", TEXT_MAX), ("hint", TEXT_MAX), ("path", PATH_MAX), ("detail", DETAIL_MAX)):
            if (text := getattr(self, name)) and len(text) > most:
                object.__setattr__(self, name, cut(text, most))

    def __str__(self) -> str:
        place = cut(printable(self.path or self.vassal or ""), PATH_MAX)
        if self.line is not None:
            place += f":{self.line}"
        # Escapes make a text longer.
        message, hint = cut(printable(self.message), TEXT_MAX), cut(printable(self.hint), TEXT_MAX)
        text = f"{place}: {self.severity}: {message}" if place else f"{self.severity}: {message}"
        return f"{text} ({hint}) [{self.code}]" if hint else f"{text} [{self.code}]"


class BridgeError(Exception):
    """A problem that ends the whole run; carries the diagnostics that say why, the first one as ``diagnostic``."""

    def __init__(self, diagnostic: Diagnostic, *more: Diagnostic) -> None:
        super().__init__("\n".join(map(str, (diagnostic, *more))))
        self.diagnostic = diagnostic
        self.diagnostics = (diagnostic, *more)


def errors(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Return those diagnostics that refuse or fail something."""
    return [d for d in diagnostics if d.severity is Severity.ERROR]


def bounded(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Return diagnostics in their order, with few of each owner's vassals and the number of the others.

    One tenant can have thousands of wrong files. Root's are the admin's own, and all are returned.
    """
    chosen: list[Diagnostic] = []
    counts: dict[int, int] = {}
    for diagnostic in diagnostics:
        owner = diagnostic.owner
        if owner:
            counts[owner] = counts.get(owner, 0) + 1
        if not owner or counts[owner] <= PER_OWNER:
            chosen.append(diagnostic)
    return [*chosen, *(_more(owner, number - PER_OWNER) for owner, number in counts.items() if number > PER_OWNER)]


def _more(owner: int, number: int) -> Diagnostic:
    return Diagnostic(
        code="more-problems",
        message=f"and {number:,} more problems with vassals of the user {owner}",
        hint="emperor-bridge check lists them all",
        severity=Severity.WARNING,
    )


def cut(text: str, most: int) -> str:
    """Return a text that is at most so long: what stands in the middle is left out."""
    if len(text) <= most:
        return text
    tail = most // 4
    return f"{text[: most - tail - 1]}…{text[-tail:]}"


def printable_lines(text: str) -> str:
    """Return a text of several lines fit for a terminal: tabs and ends of lines stay, all else is escaped."""
    return "".join(c if c in "\n\t" else printable(c) for c in text)


def printable(text: str) -> str:
    """Return ``text`` fit for one line of a terminal: whatever is not printable is shown as a backslash escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where there are more."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
