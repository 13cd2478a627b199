"""What the bridge does about a vassal, as it is told: by the commands, and in the journal."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.model.unit import InstalledVassal
    from bridge.model.vassal import Vassal


class Verb(StrEnum):
    """What happened to a vassal."""

    ADDED = "added"
    CHANGED = "changed"
    STARTED = "started"
    RELOADED = "reloaded"
    RETRIED = "retried"
    MENDED = "mended"
    REMOVED = "removed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One line of what sync tells: what is done about a vassal, and in short why."""

    vassal: str
    unit: str
    """The unit it is done to."""
    verb: Verb
    detail: str = ""

    @classmethod
    def of(cls, vassal: Vassal | InstalledVassal, verb: Verb, detail: str = "") -> Change:
        """Return what is done about a vassal."""
        unit = vassal.socket if verb is Verb.MENDED else vassal.service
        return cls(vassal=vassal.name, unit=unit, verb=verb, detail=detail)
