"""The mark of a unit file: it says that the bridge made the file, and from what."""

from __future__ import annotations

import re
from json import JSONDecoder
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING

from bridge.model.unit import Mark
from bridge.model.unit_names import SCRIPTS

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = "6"
"""Raised whenever a version renders other text from the same facts. Units of another format are rewritten, and no app
is stopped for it; a test compares it with the golden files."""
UNCLAIMED = frozenset({"", "2"})
"""The formats of units that name no bridge.toml, whichever they were made under."""

_decoded = JSONDecoder().raw_decode
_SECTION = "X-EmperorBridge"
_LINES = 12
"""The lines at the beginning of a file in which the mark stands."""
_TENANT_SLICE = re.compile(r"^Slice=vassals-[0-9a-f]{2}-(?P<uid>[0-9]+)\.slice$", re.MULTILINE)


def read_mark(unit: str, text: str) -> Mark | None:
    """Return the mark of a unit file, or None if the bridge did not make it.

    A marked file that was copied to another name is not the bridge's either.
    """
    comment = _comment(unit)
    lines = [line.removeprefix(comment) for line in text.split("\n", _LINES)[1:_LINES]]
    if f"[{_SECTION}]" not in lines:
        return None
    facts: dict[str, str] = {}
    for line in lines[lines.index(f"[{_SECTION}]") + 1 :]:
        key, equals, written = line.partition("=")
        try:
            fact, end = _decoded(written := written.strip(" \t\r")) if equals else (None, 0)
        except ValueError:
            break
        if not isinstance(fact, str) or end != len(written):
            break
        facts[key.lower()] = fact
    if facts.get("unit") != unit:
        return None
    if "format" not in facts and (found := _TENANT_SLICE.search(text)):
        # Version 0.1.0 named the tenant in the slice alone.
        facts["tenant"] = found["uid"]
    return Mark(**{key: fact for key, fact in facts.items() if key in Mark.__dataclass_fields__})


def marked(text: str, mark: Mark) -> str:
    """Return a unit file's text with its mark in front."""
    facts: Mapping[str, str] = {
        "Unit": mark.unit,
        "Config": mark.config,
        "Name": mark.name,
        "Monitor": mark.monitor,
        "Address": mark.address,
        "Tenant": mark.tenant,
        "Configuration": mark.configuration,
        "Format": FORMAT,
    }
    comment = _comment(mark.unit)
    written = "".join(f"{comment}{key}={quoted(fact)}\n" for key, fact in facts.items() if fact)
    instead = "" if comment else f" Use a drop-in instead: systemctl edit '{mark.unit}'"
    return f"# Made by emperor-bridge; edits are overwritten.{instead}\n{comment}[{_SECTION}]\n{written}\n{text}"


def unmarked(text: str) -> str:
    """Return a unit file's text without its mark, which ends with the first empty line."""
    return text.partition("\n\n")[2] if f"[{_SECTION}]\n" in text else text


def _comment(unit: str) -> str:
    """Return what makes a line of the mark a comment, in a file that is no unit."""
    return "# " if unit in SCRIPTS else ""
