"""The folders of configs, by which a mount point without its mount is told from a folder whose configs are gone."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.host.links import make_real_path

if TYPE_CHECKING:
    from bridge.reconcile.actual import ActualState
    from bridge.reconcile.desired import Desired
    from bridge.state.last_run import LastRun


def config_folders(desired: Desired, actual: ActualState, last: LastRun) -> dict[str, int]:
    """Return the inode of each folder that configs are in; of a folder without any now, the inode it had with them.

    A mount point without its mount is an empty folder. When the mount is back, its configs are not new.
    """
    kept = {folder_of(installed.config) for installed in actual.installed.values()}
    found = {folder: inode for folder, inode in last.folders.items() if folder in kept}
    for folder in {folder_of(one.vassal.config.path) for one in desired.resolved}:
        with suppress(OSError):
            found[folder] = os.stat(folder).st_ino
    return found


def folder_of(config: str) -> str:
    """Return the folder that a config is in, behind all links."""
    return os.path.dirname(make_real_path()(config) if os.path.islink(config) else config)
