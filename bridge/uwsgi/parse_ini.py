"""uWSGI's ini dialect, which is not Python's: core/ini.c."""

from __future__ import annotations

from bridge.uwsgi.options import Option

_BLANK = " \t\r"


def parse(text: str, *, path: str, section: str = "uwsgi") -> list[Option]:
    """Return the options of every ``[section]`` in ``text``, in order.

    core/ini.c, ``uwsgi_ini_config``: a comment is a line that begins with ``;`` or ``#``; nothing inside a line is
    one. Lines are never continued. Blanks around names and values are dropped. A name without ``=`` has an empty
    value. A section header loses its last character whatever that is, so ``[uwsgi] ; main`` is another section.
    Anything at all can be read this way, and a section that is not there is an empty one: nothing is raised.
    """
    options = []
    current = ""
    for line, written in enumerate(text.split("\n"), start=1):
        stripped = written.strip(_BLANK)
        if not stripped or stripped[0] in ";#":
            continue
        if stripped[0] == "[":
            current = stripped[1:-1]
        elif current == section:
            key, _, value = stripped.partition("=")
            options.append(Option(key.rstrip(_BLANK), value.lstrip(_BLANK), path, line))
    return options
