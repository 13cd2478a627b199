"""What a shell offers for a half-typed command line: names of vassals, files, folders.

click writes the shells' side of it, and asks these functions (click.shell_completion).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from bridge.config.paths import make_paths
from bridge.diagnostics import BridgeError
from bridge.model.unit_names import PREFIX
from bridge.units.marker import read_mark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import click
    from click.shell_completion import CompletionItem

    from bridge.config.paths import Paths

_PLAIN = re.compile(r"[\w./@][\w./@%+=,-]*")
"""A name that every shell takes as one word as it is. Tenants choose names, and bash expands what it is offered."""
_HEAD = 8192
"""Bytes at the beginning of a unit in which its mark stands."""
_KINDS = {"FILE": "file", "PROGRAM": "file", "CMD": "file", "DIR": "dir"}
"""What a shell completes by itself, by the placeholder of an option."""


def complete_vassal(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the installed vassals whose names begin with this.

    They are read from the units on disk: that takes no bus and no right. What cannot be read is not offered.
    """
    from click.shell_completion import CompletionItem

    given = context.params
    try:
        paths = make_paths(user=bool(given.get("user")), runtime=bool(given.get("runtime")))
    except BridgeError:
        return []
    if config := given.get("config"):
        paths = paths.for_configuration(config)
    names = sorted({name for name in _vassals(paths) if name.startswith(incomplete) and _PLAIN.fullmatch(name)})
    return [CompletionItem(name) for name in names]


def _vassals(paths: Paths) -> Iterator[str]:
    """Yield the names of the vassals that this configuration has units for."""
    try:
        units = os.listdir(paths.unit_directory)
    except OSError:
        return
    for unit in units:
        if not (unit.startswith(PREFIX) and unit.endswith(".service")):
            continue
        try:
            with open(os.path.join(paths.unit_directory, unit), "rb") as file:
                mark = read_mark(unit, os.fsdecode(file.read(_HEAD)))
        except OSError:
            continue
        if mark is not None and mark.configuration == paths.configuration:
            yield mark.name


def complete_path(
    placeholder: str,
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]] | None:
    """Return what completes the value of an option by its placeholder, if that is a file or a folder."""
    if (kind := _KINDS.get(placeholder)) is None:
        return None

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type=kind)]

    return complete
