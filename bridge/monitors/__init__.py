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
    from bridge.config.monitor_tables import MonitorTable
    from bridge.config.settings import Settings
    from bridge.monitors.base import Monitor

SCHEMES = {
    "dir": ("bridge.monitors.directory", "DirectoryMonitor"),
    "glob": ("bridge.monitors.glob", "GlobMonitor"),
}
"""The module and the class of each monitor of files, by its scheme."""
MIRRORED = {
    "pg": ("bridge.monitors.pg", "PgMonitor"),
    "mongodb": ("bridge.monitors.mongodb", "MongodbMonitor"),
    "mongodb2": ("bridge.monitors.mongodb", "Mongodb2Monitor"),
    "zmq": ("bridge.monitors.zmq", "ZmqMonitor"),
    "amqp": ("bridge.monitors.amqp", "AmqpMonitor"),
    "amqps": ("bridge.monitors.amqp", "AmqpsMonitor"),
}
"""The same of each monitor of a database or a broker."""


def open_monitors(settings: Settings, mirrors: str = "") -> tuple[Monitor, ...]:
    """Open every monitor that the settings name, each spec once. The mirrors of databases are below ``mirrors``.

    Raises:
        BridgeError: a spec names no place, or a scheme that the bridge does not have, or it cannot be used.
    """
    opened = [open_monitor(spec, settings, mirrors) for spec in settings.emperor]
    opened += [_open_table(table, settings, mirrors) for table in settings.monitor]
    return tuple({monitor.id: monitor for monitor in opened}.values())


def has_mirrors(settings: Settings) -> bool:
    """Tell whether the settings name a database or a broker."""
    return bool(settings.monitor) or any(spec.partition("://")[0] in MIRRORED for spec in settings.emperor)


def _open_table(table: MonitorTable, settings: Settings, mirrors: str) -> Monitor:
    scheme, separator, text = table.spec.partition("://")
    if not separator or scheme not in MIRRORED:
        raise _unknown(
            f"the spec of the monitor {table.name!r} is not one of a database or a broker",
            f"write one of {', '.join(f'{known}://' for known in MIRRORED)}, and folders as emperor = …",
        )
    return _open_mirrored(scheme, text, settings, mirrors, table)


def _open_mirrored(scheme: str, text: str, settings: Settings, mirrors: str, table: MonitorTable) -> Monitor:
    module, name = MIRRORED[scheme]
    monitor: Monitor = getattr(import_module(module), name)(text, settings, mirrors, table)
    return monitor


def open_monitor(spec: str, settings: Settings, mirrors: str = "") -> Monitor:
    """Open the monitor that an ``emperor = SPEC`` names, chosen as the Emperor chooses.

    Relative places are in the Emperor's ``chdir``. A known scheme decides. Otherwise what matches exactly one directory
    is ``dir://``, anything else ``glob://`` (core/emperor.c, ``emperor_build_scanners``).

    Raises:
        BridgeError: the spec names no place, or a scheme that the bridge does not have.
    """
    scheme, separator, rest = spec.partition("://")
    if not separator:
        scheme, rest = "", spec
    if scheme in MIRRORED:
        from bridge.config.monitor_tables import MonitorTable

        return _open_mirrored(scheme, rest, settings, mirrors, MonitorTable(spec=spec))
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
        known = ", ".join(f"{one}://" for one in (*SCHEMES, *MIRRORED))
        raise _unknown(
            f"there is no monitor for {printable(scheme)}://", f"{known} are known; so is a plain directory or pattern"
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
