"""Where changes that matter can happen: the files that sources, rules, settings and sockets are made of."""

from __future__ import annotations

import os
import shlex
import shutil
from typing import TYPE_CHECKING

from bridge.host.path_watch import WatchList
from bridge.model.address import UnixAddress
from bridge.monitors import monitor_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.config.settings import Settings
    from bridge.model.vassal import Vassal
    from bridge.reconcile.desired import Desired


def places(settings: Settings, configuration: Iterable[str]) -> WatchList:
    """Return what is to be watched whatever vassals there are.

    ``configuration`` are files and folders that the settings themselves came from.

    Raises:
        BridgeError: the settings name a monitor there is not.
    """
    watch_list = WatchList(_readlink)
    for path in configuration:
        watch_list.file(path)
    for spec in settings.emperor:
        monitor_for(spec, settings).watch_list(watch_list)
    for path in _commands(settings):
        watch_list.file(path)
    return watch_list


def add_links(watch_list: WatchList, settings: Settings, desired: Desired) -> None:
    """Add what is to be watched for configs and rule files that are symlinks."""
    for vassal in _vassals(desired):
        # In a watched folder only a symlink leads to a place that is not watched yet.
        for path in (vassal.config, vassal.config + settings.emperor_on_demand_extension):
            if os.path.islink(path):
                watch_list.file(path)


def add_sockets(watch_list: WatchList, desired: Desired) -> None:
    """Add what is to be watched for the vassals' sockets."""
    for resolved in desired.resolved:
        if isinstance(resolved.address, UnixAddress):
            watch_list.file(resolved.address.path)


def _vassals(desired: Desired) -> Iterable[Vassal]:
    yield from (resolved.vassal for resolved in desired.resolved)
    yield from (rejection.vassal for rejection in desired.rejections)


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
