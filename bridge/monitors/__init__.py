"""The imperial monitors: each answers one question, "which vassals are there now?".

A monitor is one module, named by the scheme it serves. Its class is imported when a setting names it.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic, printable
from bridge.model.vassal import option_for

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
    is ``dir://``, anything else ``glob://`` (core/emperor.c, ``emperor_build_scanners``).

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
    if scheme in {"", "glob"}:
        from bridge.host import patterns

        pattern = os.path.join(patterns.escape(os.path.abspath(settings.chdir)), rest)
        scheme = scheme or ("dir" if _is_directory(pattern, settings) else "glob")
        place = pattern if scheme == "glob" else place
    if scheme not in SCHEMES:
        # What follows the scheme may hold a password.
        raise _unknown(
            f"there is no monitor for {printable(scheme)}://",
            f"{', '.join(f'{known}://' for known in SCHEMES)} are known; so is a plain directory or pattern",
        )
    module, name = SCHEMES[scheme]
    monitor: Monitor = getattr(import_module(module), name)(place, settings)
    return monitor


def _is_directory(pattern: str, settings: Settings) -> bool:
    """Tell whether a pattern matches exactly one directory.

    What does not exist is taken for a directory, and so is a file that cannot be a config: the report says so.
    """
    from bridge.host import patterns

    try:
        found = patterns.expand(pattern).paths
    except patterns.TooManyError:
        return False
    if len(found) == 1 and os.path.isdir(found[0]):
        return True
    return not patterns.is_special(pattern) and not (found and option_for(pattern, settings.emperor_extra_extension))


def _unknown(message: str, hint: str) -> BridgeError:
    return BridgeError(Diagnostic(code="monitor-unknown", message=message, hint=hint))
