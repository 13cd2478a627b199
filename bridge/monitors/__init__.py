"""The imperial monitors: each answers one question, "which vassals are there now?"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.monitors.directory import DirectoryMonitor
from bridge.monitors.pattern import PatternMonitor, matches_one_directory

if TYPE_CHECKING:
    from bridge.monitors.base import Monitor


def monitor_for(spec: str) -> Monitor:
    """Return the monitor an ``emperor = SPEC`` names, chosen as the Emperor chooses.

    A known scheme decides; otherwise what matches exactly one directory is ``dir://``, anything else ``glob://``
    (core/emperor.c, ``uwsgi_emperor_ues_init``).

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
    if not separator:
        return DirectoryMonitor(spec) if matches_one_directory(spec) or not _has_magic(spec) else PatternMonitor(spec)
    if scheme == "dir":
        return DirectoryMonitor(rest)
    if scheme == "glob":
        return PatternMonitor(rest)
    raise BridgeError(
        Diagnostic(
            code="monitor-unknown",
            message=f"there is no monitor for {spec!r}",
            hint="dir:// and glob:// are known; so is a plain directory or pattern",
        )
    )


def _has_magic(spec: str) -> bool:
    return any(c in spec for c in "*?[")
