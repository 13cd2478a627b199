"""The imperial monitors: each answers one question, "which vassals are there now?".

A monitor is one module, named by the scheme it serves. Its class is imported when a setting names it.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic, printable

if TYPE_CHECKING:
    from bridge.config.settings import Settings
    from bridge.monitors.base import Monitor

SCHEMES = {
    "dir": ("bridge.monitors.directory", "DirectoryMonitor"),
    "glob": ("bridge.monitors.glob", "GlobMonitor"),
}
"""The module and the class of each scheme's monitor."""


def open_monitors(settings: Settings) -> tuple[Monitor, ...]:
    """Open every monitor that the settings name, each spec once.

    Raises:
        BridgeError: a spec names no place, or a scheme that the bridge does not have.
    """
    opened = {monitor.id: monitor for spec in settings.emperor if (monitor := open_monitor(spec, settings))}
    return tuple(opened.values())


def open_monitor(spec: str, settings: Settings) -> Monitor:
    """Open the monitor that an ``emperor = SPEC`` names, chosen as the Emperor chooses.

    Relative places are in the Emperor's ``chdir``. A known scheme decides. Otherwise what matches exactly one directory
    is ``dir://``, anything else ``glob://`` (core/emperor.c, ``uwsgi_emperor_ues_init``).

    Raises:
        BridgeError: the spec names no place, or a scheme that the bridge does not have.
    """
    scheme, separator, rest = spec.partition("://")
    if not separator:
        scheme, rest = "", spec
    if not rest:
        raise _unknown(
            f"emperor = {printable(spec)} does not say where the vassals are", "name a directory or a pattern"
        )
    place = os.path.join(settings.chdir, rest)
    if not scheme:
        scheme = "dir" if _is_directory(place) else "glob"
    if scheme not in SCHEMES:
        # What follows the scheme may hold a password.
        raise _unknown(
            f"there is no monitor for {printable(scheme)}://",
            f"{', '.join(f'{known}://' for known in SCHEMES)} are known; so is a plain directory or pattern",
        )
    module, name = SCHEMES[scheme]
    monitor: Monitor = getattr(import_module(module), name)(place, settings)
    return monitor


def _is_directory(place: str) -> bool:
    from glob import glob, has_magic

    if not has_magic(place):
        return True
    matches = glob(place)
    return len(matches) == 1 and os.path.isdir(matches[0])


def _unknown(message: str, hint: str) -> BridgeError:
    return BridgeError(Diagnostic(code="monitor-unknown", message=message, hint=hint))
