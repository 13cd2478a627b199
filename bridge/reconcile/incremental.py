"""A glance: which vassals are not as the last run left them. Where it tells, a run need look only at those.

It asks the file system for each file's number, size and times, the kernel for who listens, and systemd for the units
that run always, all in a few calls; a run with nothing to do ends here. Whatever it cannot tell, it does not: then
the run looks at everything.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING

from bridge import __version__
from bridge.host.files import remove_if_there, write_all
from bridge.host.listeners import listening
from bridge.model.address import collision_key
from bridge.monitors import monitor_for
from bridge.state.cache import CachedVassal, VassalCache
from bridge.units.render import COMMON, TARGET
from bridge.vassals.spawn import spawn_defaults

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.config.paths import Paths
    from bridge.config.settings import Settings
    from bridge.systemd.manager import Manager
    from bridge.units.directory import UnitDirectory

MOST = 200
"""Vassals that may have changed for a run to look at them alone: with more it is quicker to look at all."""
_TICK = 100_000_000
"""Nanoseconds by which the time of a file may lag behind the clock, and more."""
_USERS = ("/etc/passwd", "/etc/group")


class ChangeDetector:
    """Compares the present with the roll on disk, and writes it."""

    def __init__(self, paths: Paths, settings: Settings, store: UnitDirectory) -> None:
        self._layout = paths
        self._settings = settings
        self._store = store

    @property
    def is_possible(self) -> bool:
        """Whether files tell all: what a command prints is not to be known without running it."""
        settings = self._settings
        asks = settings.emperor_on_demand_extension or settings.emperor_on_demand_directory
        return bool(asks or not settings.emperor_on_demand_exec)

    def cache(self) -> tuple[VassalCache, dict[str, int]] | None:
        """Return the roll of the last run and the state each vassal's files had; None if it holds no longer."""
        try:
            with open(self._layout.cache, encoding="utf-8", errors="surrogateescape") as file:
                noted = json.load(file)
            if noted["basis"] != self._basis():
                return None
            digests = {config: digest for config, (digest, *_) in noted["vassals"].items()}
            records = {
                config: CachedVassal(name, label, tuple(keys), waits, is_served, tuple(files), tuple(made))
                for config, (_, name, label, keys, waits, is_served, files, made) in noted["vassals"].items()
            }
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return VassalCache(records), digests

    def changed(self, cache: VassalCache, digests: dict[str, int], manager: Manager) -> frozenset[str] | None:
        """Return the configs of vassals that are not as they were; None if that cannot be told, or of too many.

        Raises:
            BridgeError: the manager cannot be asked, or the settings name a monitor there is not.
        """
        if self._store.elsewhere():
            return None
        found = {
            config
            for config, record in cache.records.items()
            if not record.files or digests[config] != digest((*record.files, *record.made))
        }
        for spec in self._settings.emperor:
            if (configs := monitor_for(spec, self._settings).configs()) is None:
                return None
            found.update(config for config in configs if config not in cache.records)
        if len(found) > MOST or not self._store.labels() <= {record.label for record in cache.records.values()}:
            return None
        always = {f"vassal-{r.label}.service": c for c, r in cache.records.items() if r.files and not r.waits}
        states = manager.units([TARGET, *always])
        if TARGET not in states or states[TARGET].active != "active":
            return None
        found.update(c for unit, c in always.items() if unit not in states or states[unit].is_down)
        heard = {collision_key(address) for address in listening()}
        found.update(
            config for config, r in cache.records.items()
            if r.waits and r.files and r.waits not in heard and heard.isdisjoint(r.keys)
        )  # fmt: skip
        return frozenset(found) if len(found) <= MOST else None

    def write(self, cache: VassalCache, began: int, before: dict[str, int], looked_at: Iterable[str] | None) -> None:
        """Note the roll for the next run.

        Args:
            cache: all vassals.
            began: when this run began (nanoseconds since the epoch): of a file that changed since, nothing is known.
            before: the states of those that were not looked at.
            looked_at: the configs that were; None: all.

        Raises:
            OSError: the file system refuses.
        """
        fresh = cache.records.keys() if looked_at is None else cache.records.keys() & set(looked_at)
        vassals = {}
        for config, record in cache.records.items():
            state = before.get(config, 0)
            if config in fresh:
                is_settled = record.files and not any(_changed_since(path, began - _TICK) for path in record.files)
                state = digest((*record.files, *record.made)) if is_settled else 0
            vassals[config] = (state, *record)
        folder, name = os.path.split(self._layout.cache)
        write_all(folder, {name: json.dumps({"basis": self._basis(), "vassals": vassals})})

    def forget(self) -> None:
        """Have the next run look at everything.

        Raises:
            OSError: the file system refuses.
        """
        remove_if_there(self._layout.cache)

    def _basis(self) -> str:
        """Return what tells all that every vassal depends on from what it was; in it may be secrets (``env``)."""
        common = [f"{self._layout.unit_directory}/{unit}" for unit in COMMON]
        templates = [entry for folder in self._layout.templates for entry in _entries(folder)]
        defaults = spawn_defaults(self._settings, user_manager=self._layout.user_manager)
        facts = (__version__, self._layout.unit_directory, defaults, digest((*_USERS, *common, *templates)))
        return blake2b(repr(facts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def digest(files: Iterable[str]) -> int:
    """Return a number that is another once any of the files has changed, come or gone; 0 if there are none."""
    facts: list[int] = []
    for path in files:
        try:
            info = os.lstat(path)
            if stat.S_ISSOCK(info.st_mode):
                # uWSGI sets a socket's mode each time it starts.
                facts += (info.st_dev, info.st_ino)
                continue
            if stat.S_ISLNK(info.st_mode):
                facts += (info.st_ino, info.st_ctime_ns)
                info = os.stat(path)
        except OSError as error:
            facts.append(-(error.errno or 1))
        else:
            facts += (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
    # Of numbers, and so the same in each process.
    return hash(tuple(facts)) if facts else 0


def _changed_since(path: str, when: int) -> bool:
    with suppress(OSError):
        return max(os.lstat(path).st_ctime_ns, os.stat(path).st_ctime_ns) >= when
    return False


def _entries(folder: str) -> list[str]:
    with suppress(OSError):
        return [f"{folder}/{name}" for name in sorted(os.listdir(folder))]
    return []
