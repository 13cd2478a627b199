"""What stands in the manual to be typed: the tests type it."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "packaging/man"
SQL = re.compile(r"(ALTER|CREATE|DELETE|GRANT|INSERT|REVOKE|SELECT|UPDATE) ")
ESCAPES = {r"\-": "-", r"\(aq": "'", r"\(dq": '"', r"\(ti": "~", r"\e": "\\"}


def blocks(page: str) -> list[str]:
    """Return what stands as it is in a page, in its order."""
    text = (FOLDER / page).read_text("utf-8")
    found = re.findall(r"^\.nf\n(.*?)^\.fi$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(r"\\(-|\(aq|\(dq|\(ti|e)", lambda match: ESCAPES[match[0]], block) for block in found]


def block(page: str, start: str) -> str:
    """Return the one block that begins so."""
    (found,) = (text for text in blocks(page) if text.startswith(start))
    return found


def sql(page: str) -> list[str]:
    """Return the blocks of SQL."""
    return [text for text in blocks(page) if SQL.match(text)]
