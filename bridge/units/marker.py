"""The marker: what a unit file says of itself, so that the bridge knows its own files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bridge.model.unit import Mark
from bridge.model.unit_names import (
    PAUSE_SCRIPT,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


_MARK = "X-EmperorBridge"


def read_mark(unit: str, text: str) -> Mark | None:
    """Return the mark of a unit file, or None if it is not the bridge's.

    A marked file copied to another name is not the bridge's either.
    """
    lines = [line.removeprefix(_comment(unit)) for line in text.split("\n", 8)[1:7]]
    if f"[{_MARK}]" not in lines:
        return None
    facts: dict[str, str] = {}
    for line in lines[lines.index(f"[{_MARK}]") + 1 :]:
        key, equals, quoted = line.partition("=")
        try:
            fact = json.loads(quoted) if equals else None
        except ValueError:
            break
        if not isinstance(fact, str):
            break
        facts[key.lower()] = fact
    if facts.get("unit") != unit:
        return None
    return Mark(**{key: fact for key, fact in facts.items() if key in Mark.__dataclass_fields__})


def _marked(unit: str, text: str, mark: Mark) -> str:
    facts: Mapping[str, str] = {
        "Unit": unit,
        "Config": mark.config,
        "Name": mark.name,
        "Monitor": mark.monitor,
        "Address": mark.address,
    }
    comment = _comment(unit)
    written = "".join(f"{comment}{key}={json.dumps(fact)}\n" for key, fact in facts.items() if fact)
    instead = "" if comment else f" Use a drop-in instead: systemctl edit '{unit}'"
    return f"# Made by emperor-bridge; edits are overwritten.{instead}\n{comment}[{_MARK}]\n{written}\n{text}"


def _comment(unit: str) -> str:
    """Return what makes a line of the mark a comment, where it is not a section that systemd passes over."""
    return "# " if unit == PAUSE_SCRIPT else ""
