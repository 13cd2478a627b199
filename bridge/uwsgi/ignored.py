"""Explains why uWSGI reads no option of a file that is not empty: its section is missing, or written otherwise.

uWSGI goes on without them (core/ini.c, core/yaml.c, core/xmlconf.c). It only logs that an ini file lacks the section.
"""

from __future__ import annotations

import re

from bridge.uwsgi.options import Remark

_BOM = "\ufeff"
_MAX_LINES = 1000
"""Lines that are searched for the reason."""
_BLANK = " \t\r"
_YAML_KEY = re.compile(r"""(?P<quote>['"]?)(?P<name>[^'":#\s]+)(?P=quote)\s*:(?P<rest>.*)""")
_TAG = re.compile(r"<[^>]*>")


def explain(text: str, kind: str, *, path: str, section: str = "uwsgi") -> Remark | None:
    """Return why a file of this format has no options in this section; None if it has nothing that could be one."""
    lines = text.split("\n", _MAX_LINES)[:_MAX_LINES]
    if kind == "ini":
        return _ini(lines, path, section)
    if kind == "yaml":
        return _yaml(lines, path, section)
    if kind == "xml" and (words := _TAG.sub("", text[:_MAX_LINES]).strip()):
        line = text.count("\n", 0, text.find(words.split("\n")[0])) + 1
        what = "it has text but no elements, and uWSGI reads elements only"
        return Remark(what, f"write <{section}><name>value</name></{section}>", path, line)
    return None


def _ini(lines: list[str], path: str, section: str) -> Remark | None:
    headers: list[tuple[int, str]] = []
    lost = 0
    for number, line in enumerate(lines, start=1):
        stripped = line.lstrip(_BOM if number == 1 else "").strip(_BLANK)
        if stripped.startswith("["):
            headers.append((number, stripped))
        elif stripped and stripped[0] not in ";#":
            lost = lost or number
    if not lost:
        return None
    if lines[0].startswith(_BOM) and headers[:1] and headers[0][0] == 1:
        what = (
            f"it begins with a byte order mark, so uWSGI does not find {headers[0][1]}, and reads none of its options"
        )
        return Remark(what, "save it as UTF-8 without a byte order mark", path, 1)
    for number, header in headers:
        if header.lower() == f"[{section.lower()}]":
            what = f"uWSGI looks for [{section}] and ignores {header}, as it distinguishes upper and lower case"
            return Remark(what, f"write [{section}]", path, number)
        if re.match(rf"\[\s*{re.escape(section)}\b", header, re.IGNORECASE):
            what = f"uWSGI takes {header} for the section {header[1:-1]!r}, and reads none of its options"
            return Remark(what, f"write [{section}] and nothing else on this line", path, number)
    what = f"it has no section [{section}], so uWSGI reads none of its options"
    return Remark(what, f"write [{section}] above the options", path, lost)


def _yaml(lines: list[str], path: str, section: str) -> Remark | None:
    lost = next((number for number, line in enumerate(lines, start=1) if _is_yaml(line)), 0)
    if not lost:
        return None
    keys = ((number, _YAML_KEY.match(line.lstrip(_BOM))) for number, line in enumerate(lines, start=1))
    for number, key in keys:
        if key is None or key["name"].lower() != section.lower():
            continue
        if key["name"] != section:
            what = f"uWSGI looks for {section} and ignores {key['name']}, as it distinguishes upper and lower case"
            return Remark(what, f"write {section}:", path, number)
        if not (rest := key["rest"].strip()) or rest.startswith("#"):
            # There is nothing in it, or nothing that is an option.
            return None
        what = f"uWSGI reads no option that stands on the line of {section}:"
        return Remark(what, "write each option on a line of its own below it, as in: socket: VALUE", path, number)
    what = f"it has no mapping named {section}, so uWSGI reads none of its options"
    return Remark(what, f"write {section}: above the options, and indent them", path, lost)


def _is_yaml(line: str) -> bool:
    stripped = line.lstrip(_BOM).strip()
    return bool(stripped) and not stripped.startswith(("#", "%", "---", "..."))
