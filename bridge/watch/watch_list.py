"""Where changes that matter can happen: the files that sources, rules, settings and sockets are made of."""

from __future__ import annotations

import os
import shlex
import shutil
from typing import TYPE_CHECKING

from bridge.host.path_watch import Trails
from bridge.model.address import UnixAddress
from bridge.monitors import monitor_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.config.settings import Settings
    from bridge.model.vassal import Vassal
    from bridge.reconcile.conflicts import Desired


def places(settings: Settings, configuration: Iterable[str]) -> Trails:
    """Return what is to be watched whatever vassals there are.

    ``configuration`` are files and folders that the settings themselves came from.

    Raises:
        BridgeError: the settings name a monitor there is not.
    """
    trails = Trails(_readlink)
    for path in configuration:
        trails.file(path)
    for spec in settings.emperor:
        monitor_for(spec, settings).trails(trails)
    for path in _commands(settings):
        trails.file(path)
    return trails


def add_links(trails: Trails, settings: Settings, desired: Desired) -> None:
    """Add what is to be watched for configs and rule files that are symlinks."""
    for vassal in _vassals(desired):
        # In a watched folder only a symlink leads to a place that is not watched yet.
        for path in (vassal.config, vassal.config + settings.emperor_on_demand_extension):
            if os.path.islink(path):
                trails.file(path)


def add_sockets(trails: Trails, desired: Desired) -> None:
    """Add what is to be watched for the vassals' sockets."""
    for settled in desired.settled:
        if isinstance(settled.address, UnixAddress):
            trails.file(settled.address.path)


def _vassals(desired: Desired) -> Iterable[Vassal]:
    yield from (settled.vassal for settled in desired.settled)
    yield from (refusal.vassal for refusal in desired.refusals)


def _commands(settings: Settings) -> list[str]:
    """Return the files the exec rule is made of: the program, and arguments that are files, such as a script."""
    try:
        words = shlex.split(settings.emperor_on_demand_exec)
    except ValueError:
        return []
    if words and (program := shutil.which(words[0])):
        words[0] = os.path.abspath(program)
    return [word for word in words if word.startswith("/") and os.path.isfile(word)]


def _readlink(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None
