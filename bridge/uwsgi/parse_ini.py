"""Parses uWSGI's ini dialect, which is not Python's (core/ini.c)."""

from __future__ import annotations

from bridge.uwsgi.budget import MAX_OPTIONS, STEP, Budget, too_many
from bridge.uwsgi.options import Option

_BLANK = " \t\r"


def parse(text: str, *, path: str, section: str = "uwsgi", budget: Budget | None = None) -> list[Option]:
    """Return the options of every ``[section]`` in ``text``, in order.

    core/ini.c, ``uwsgi_ini_config``: only a line that begins with ``;`` or ``#`` is a comment. A line never continues
    on the next. Blanks around names and values are dropped. A name without ``=`` has an empty value. uWSGI removes the
    last character of a section header, whatever it is, so ``[uwsgi] ; main`` is another section. No text is invalid,
    and a missing section has no options.
    """
    budget = budget or Budget()
    options: list[Option] = []
    current = ""
    lines = text.split("\n")
    is_paid = budget.covers(len(text) + STEP * len(lines))
    for line, written in enumerate(lines, start=1):
        if not is_paid:
            budget.charge(len(written) + STEP, path, line)
        stripped = written.strip(_BLANK)
        if not stripped or stripped[0] in ";#":
            continue
        if stripped[0] == "[":
            current = stripped[1:-1]
        elif current == section:
            key, _, value = stripped.partition("=")
            if len(options) == MAX_OPTIONS:
                raise too_many(path, line)
            options.append(Option(key.rstrip(_BLANK), value.lstrip(_BLANK), path, line))
    return options
