"""A reader of unit files by the rules of systemd.syntax(7), which shares nothing with the bridge: the bridge writes."""

from __future__ import annotations

import re
from typing import NamedTuple

BLANK = " \t\n\r"
LINE_MAX = 1 << 20
"""Characters that systemd reads of a line (LONG_LINE_MAX)."""
_SIMPLE = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", '"': '"', "'": "'", "s": " ",
}  # fmt: skip
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)


class Assignment(NamedTuple):
    """One line of a unit file, its continuations included."""

    section: str
    key: str
    value: str


def parse_unit(text: str) -> list[Assignment]:
    """Return the assignments of a unit file, in order; assert that systemd would complain about no line.

    systemd ends a line at a carriage return and at a NUL too (fileio.c, ``read_line_full``).
    """
    text.encode()
    found: list[Assignment] = []
    section, continued = "", ""
    for line in re.split("[\n\r\0]", text):
        assert len(line) < LINE_MAX
        if line.lstrip(BLANK)[:1] in {"#", ";"}:
            continue
        whole = continued + line
        if whole.endswith("\\") and not whole.endswith("\\\\"):
            continued = whole[:-1] + " "
            continue
        continued = ""
        whole = whole.strip(BLANK)
        if not whole:
            continue
        if whole[0] == "[":
            assert whole[-1] == "]", f"no section header: {whole!r}"
            section = whole[1:-1]
            continue
        key, equals, value = whole.partition("=")
        assert section, f"outside any section: {whole!r}"
        assert equals, f"no assignment: {whole!r}"
        found.append(Assignment(section, key.rstrip(BLANK), value.lstrip(BLANK)))
    assert not continued, "the last line is continued"
    return found


def split_words(line: str) -> list[str]:
    """Split a setting's value as systemd.syntax(7), "QUOTING", says."""
    words: list[str] = []
    at = 0
    while True:
        while at < len(line) and line[at] in BLANK:
            at += 1
        if at == len(line):
            return words
        if line[at] in "\"'":
            end = re.compile(rf"(?:[^\\{line[at]}]|\\.)*", re.DOTALL).match(line, at + 1)
            assert end is not None
            raw, at = end[0], end.end() + 1
            assert line[at - 1 : at] == line[end.start() - 1], "the quote is not closed"
        else:
            bare = re.compile(r"(?:[^\\ \t\n\r\"']|\\.)+", re.DOTALL).match(line, at)
            assert bare is not None
            raw, at = bare[0], bare.end()
        assert at == len(line) or line[at] in BLANK, "a quoted word must end with its quote"
        words.append(_ESCAPE.sub(unescape, raw))


def unescape(match: re.Match[str]) -> str:
    """Return what an escape stands for."""
    hexadecimal, octal, short, long, simple = match.groups()
    if simple is not None:
        return _SIMPLE[simple]
    return chr(int(octal, 8) if octal else int(hexadecimal or short or long, 16))


def expand_specifiers(text: str) -> str:
    """Expand ``%%``; any other specifier would put something else in its place."""
    assert re.fullmatch(r"(?:[^%]|%%)*", text, re.DOTALL), f"a specifier in {text!r}"
    return text.replace("%%", "%")


def expand_variables(text: str) -> str:
    """Expand ``$$`` as systemd.service(5), "COMMAND LINES", says; nothing may be taken for a variable."""
    assert re.fullmatch(r"(?:[^$]|\$\$)*", text, re.DOTALL), f"a variable in {text!r}"
    return text.replace("$$", "$")
