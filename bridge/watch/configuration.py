"""The daemon's configuration: load it, notice when its files change, and load it again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError
from bridge.reconcile.sockets import has_lost

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from bridge.config.settings import Settings
    from bridge.reconcile.reconciler import Reconciler
    from bridge.systemd.protocol import Manager


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LoadedConfig:
    """What the daemon works with until its configuration changes."""

    reconciler: Reconciler
    """It holds the open monitors and the cache."""
    settings: Settings
    configuration: tuple[str, ...]
    """The files and folders that the settings and templates came from, to be watched too."""


class Configuration:
    """The configuration in force."""

    def __init__(self, load: Callable[[], LoadedConfig]) -> None:
        """Load it.

        Raises:
            BridgeError: it cannot be used.
        """
        self._load = load
        self.current = load()
        self._loaded_from = _versions(self.current.configuration)

    def has_lost_sockets(self, manager: Manager, labels: Collection[str] | None) -> bool:
        """Return whether the socket of a vassal is lost: a daemon-reload can close it, and systemd does not see that.

        With ``labels``, only those vassals are looked at, if a daemon-reload can have closed their sockets. Their apps
        kept the sockets open until they ended.

        Raises:
            BridgeError: the manager cannot be asked.
        """
        cache = self.current.reconciler.cache
        if labels is None:
            return has_lost(cache.installed(()), manager)
        fragile = cache.fragile(labels)
        return bool(fragile) and has_lost(fragile, manager)

    def is_outdated(self) -> bool:
        """Return whether any of its files or folders changed since it was loaded, or since that was last tried."""
        return self._loaded_from != _versions(self.current.configuration)

    def reload(self) -> None:
        """Load it again, and close the monitors of the one before.

        Raises:
            BridgeError: it cannot be used; the one before stays in force.
        """
        # A change during the load must count as a change after it.
        before = _versions(self.current.configuration)
        try:
            new = self._load()
        except BridgeError:
            self._loaded_from = before
            raise
        self._loaded_from = {path: before.get(path, now) for path, now in _versions(new.configuration).items()}
        old, self.current = self.current, new
        old.reconciler.close()


def _versions(paths: Iterable[str]) -> dict[str, tuple[int, int, int] | None]:
    """Return the device, inode and time of change of each path; None for a path that does not exist."""
    return {path: _version(path) for path in paths}


def _version(path: str) -> tuple[int, int, int] | None:
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino, info.st_ctime_ns
