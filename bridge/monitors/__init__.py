"""The imperial monitors: each answers one question, "which vassals are there now?"."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.monitors.directory import DirectoryMonitor
from bridge.monitors.glob import PatternMonitor, matches_one_directory

if TYPE_CHECKING:
    from bridge.config.settings import Settings
    from bridge.monitors.base import Monitor


def monitor_for(spec: str, settings: Settings) -> Monitor:
    """Return the monitor an ``emperor = SPEC`` names, chosen as the Emperor chooses.

    Relative places are in its ``chdir``. A known scheme decides; otherwise what matches exactly one directory is
    ``dir://``, anything else ``glob://`` (core/emperor.c, ``uwsgi_emperor_ues_init``).

    Raises:
        BridgeError: the scheme is not one the bridge knows, or no place is named.
    """
    scheme, separator, rest = spec.partition("://")
    if not (rest if separator else spec):
        raise BridgeError(
            Diagnostic(
                code="monitor-unknown",
                message=f"{spec!r} does not say where the vassals are",
                hint="name a directory or a pattern",
            )
        )
    place = os.path.join(settings.chdir, rest if separator else spec)
    if not separator:
        is_directory = matches_one_directory(place) or not _has_magic(place)
        return DirectoryMonitor(place, settings) if is_directory else PatternMonitor(place, settings)
    if scheme == "dir":
        return DirectoryMonitor(place, settings)
    if scheme == "glob":
        return PatternMonitor(place, settings)
    raise BridgeError(
        Diagnostic(
            code="monitor-unknown",
            message=f"there is no monitor for {spec!r}",
            hint="dir:// and glob:// are known; so is a plain directory or pattern",
        )
    )


def _has_magic(spec: str) -> bool:
    return any(c in spec for c in "*?[")
