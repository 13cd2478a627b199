"""Magic variables such as ``%n``: uWSGI replaces them in a config's text before it parses the text.

core/uwsgi.c, ``config_magic_table_fill`` and ``main``; core/utils.c, ``magic_sub``.
"""

from __future__ import annotations

import os.path
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.uwsgi.budget import STEP, Budget
from bridge.uwsgi.options import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_BYTES = 4 * 1024 * 1024
"""Bytes that a config may have after replacement: a file of nothing but ``%p`` would grow a thousandfold."""
UNKNOWN = frozenset("tTbVuUgGvhk")
"""Variables of the process: start time, binary, version, user and group, directory, host and processors."""
UPPER = "ODSPCENXIJ"
"""Variables that describe the first config of the process."""
_DIGITS = "0123456789"


@dataclass(frozen=True, slots=True)
class Substituted:
    """The text that uWSGI parses, and for each of its lines the line of the file."""

    data: bytes
    lines: Sequence[int]

    @property
    def moved(self) -> bool:
        """Whether any line has another number in the file."""
        return not isinstance(self.lines, range)

    def line(self, number: int) -> int:
        """Return the line of the file for a line of the text; both count from 1."""
        return self.lines[min(number, len(self.lines)) - 1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The file, or the section of a file, that magic variables describe."""

    filename: str
    """The path that uWSGI was given."""
    real: str
    """The absolute path without symlinks; a config that is itself a symlink keeps its own name."""
    section: str = ""
    inode: int | None = None


def table(
    source: Source, *, known: Mapping[str, str] | None = None, first: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the value of each magic variable that has one.

    ``known`` gives values of UNKNOWN variables. Capital letters describe the first config of the process: for an
    included config, ``first`` is the table of that one.
    """
    directory, _, name = source.real.rpartition("/")
    stem, dot, extension = name.rpartition(".")
    parts = [part for part in directory.split("/") if part]
    values = {
        "%": "%",
        "(": "%(",
        "[": "\033",
        "o": source.filename,
        "p": source.real,
        "j": _hash(source.real),
        "i": str(source.inode) if source.inode is not None else "",
        "s": name,
        "d": directory + "/",
        "c": os.path.basename(directory),
        "e": extension if dot else "",
        "n": stem if dot else name,
        "x": source.section,
        **dict(zip(_DIGITS, parts, strict=False)),
        **(known or {}),
    }
    for letter in UPPER:
        values[letter] = first[letter] if first is not None else values[letter.lower()]
    return values


def substitute(data: bytes, values: Mapping[str, str], *, path: str, budget: Budget | None = None) -> Substituted:
    """Return ``data`` with each ``%x`` replaced; UNKNOWN variables without a value stay as they are.

    ``magic_sub`` removes ``%`` with any other character after it, even the end of a line: its table has no value there.
    """
    budget = budget or Budget()
    if b"%" not in data:
        return Substituted(data, range(1, data.count(b"\n") + 2))
    pieces: list[bytes] = []
    lines = [1]
    line, position, size = 1, 0, 0
    while True:
        percent = data.find(b"%", position)
        literal = data[position:] if percent < 0 else data[position:percent]
        for _ in range(literal.count(b"\n")):
            line += 1
            lines.append(line)
        pieces.append(literal)
        size += len(literal)
        if percent < 0:
            is_moved = lines != list(range(1, len(lines) + 1))
            return Substituted(b"".join(pieces), tuple(lines) if is_moved else range(1, len(lines) + 1))
        budget.charge(STEP, path, line)
        variable = chr(data[percent + 1]) if percent + 1 < len(data) else ""
        keep = variable in UNKNOWN and variable not in values
        value = data[percent : percent + 2] if keep else os.fsencode(values.get(variable, ""))
        line += variable == "\n"
        lines.extend([line] * value.count(b"\n"))
        pieces.append(value)
        size += len(value)
        if size > MAX_BYTES:
            hint = "use fewer magic variables, or a shorter path"
            raise ConfigError("its magic variables make the config too long", path, line, hint)
        position = percent + 2


def _hash(text: str) -> str:
    """Hash as ``djb33x_hash`` (core/hash.c), which takes bytes as signed; print in the memory's byte order."""
    value = 5381
    for byte in os.fsencode(text):
        signed = byte - 256 if byte > 127 else byte
        value = (((value << 5) + value) ^ signed) & 0xFFFFFFFF
    return value.to_bytes(4, "little").hex().upper()
