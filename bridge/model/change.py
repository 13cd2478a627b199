"""What the bridge does to a vassal, as the commands print it and the journal keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.model.unit import InstalledVassal
    from bridge.model.vassal import Vassal


class Verb(StrEnum):
    """What the bridge did to a vassal."""

    ADDED = "added"
    CHANGED = "changed"
    STARTED = "started"
    RELOADED = "reloaded"
    RETRIED = "retried"
    MENDED = "mended"
    REMOVED = "removed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One line of what ``sync`` prints: what the bridge does to a vassal, and in short why."""

    vassal: str
    unit: str
    """The unit that is changed."""
    verb: Verb
    detail: str = ""

    @classmethod
    def of(cls, vassal: Vassal | InstalledVassal, verb: Verb, detail: str = "") -> Change:
        """Return the change to a vassal."""
        unit = vassal.socket if verb is Verb.MENDED else vassal.service
        return cls(vassal=vassal.name, unit=unit, verb=verb, detail=detail)

    def __str__(self) -> str:
        return self._line(self.verb)

    @property
    def planned(self) -> str:
        """The line for a change that is planned but not made."""
        return self._line(f"would be {self.verb}")

    def _line(self, verb: str) -> str:
        return f"{self.vassal}: {verb}, {self.detail}" if self.detail else f"{self.vassal}: {verb}"
