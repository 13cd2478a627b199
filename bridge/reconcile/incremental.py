"""A glance: which vassals are not as the last run left them. Where it tells, a run need look only at those.

It asks the file system for each file's number, size and times, the kernel for who listens, and systemd for the units
that run always, all in a few calls; a run with nothing to do ends here. Whatever it cannot tell, it does not: then
the run looks at everything.
"""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING

from bridge.model.address import UnixAddress, collision_key
from bridge.model.unit_names import link_path
from bridge.model.vassal import Mode
from bridge.state.cache import CachedVassal, VassalCache

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.diagnostics import Diagnostic
    from bridge.model.address import Address
    from bridge.model.vassal import ResolvedVassal
    from bridge.reconcile.run import PlannedRun


import json
import os
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING

from bridge import __version__
from bridge.host.files import remove_if_there, write_all
from bridge.host.listeners import listening
from bridge.model.unit_names import COMMON, TARGET
from bridge.monitors import monitor_for
from bridge.state import fingerprint
from bridge.vassals.spawn import spawn_defaults

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.config.paths import Paths
    from bridge.config.settings import Settings
    from bridge.systemd.manager import Manager
    from bridge.units.directory import UnitDirectory

MOST = 200
"""Vassals that may have changed for a run to look at them alone: with more it is quicker to look at all."""
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
            if not record.files or digests[config] != fingerprint.digest((*record.files, *record.made))
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
                is_settled = record.files and not any(fingerprint.changed_since(path, began) for path in record.files)
                state = fingerprint.digest((*record.files, *record.made)) if is_settled else 0
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
        facts = (__version__, self._layout.unit_directory, defaults, fingerprint.digest((*_USERS, *common, *templates)))
        return blake2b(repr(facts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _entries(folder: str) -> list[str]:
    with suppress(OSError):
        return [f"{folder}/{name}" for name in sorted(os.listdir(folder))]
    return []


def records_of(
    planned: PlannedRun, problems: Iterable[Diagnostic], *, extension: str, unit_directory: str
) -> dict[str, CachedVassal]:
    """Return what a run found of the vassals it looked at; ``extension`` is that of the rule's files, if it has any."""
    told = {d.config for d in (*planned.diagnostics, *problems)}
    meant_down = planned.meant_down
    records: dict[str, CachedVassal] = {}
    for resolved in planned.conflicts.accepted:
        config, label = resolved.vassal.config, resolved.vassal.label
        is_well = config not in told and label not in meant_down
        records[config] = CachedVassal(
            name=resolved.vassal.name,
            label=label,
            keys=_keys(resolved.canonical_address),
            waits=intern(str(resolved.address or "")),
            is_served=True,
            files=_files(resolved, extension) if is_well else (),
            made=_made(resolved, unit_directory) if is_well else (),
        )
    for rejection in planned.rejections:
        vassal = rejection.vassal
        _add(records, vassal.config, CachedVassal(name=vassal.name, label=vassal.label, keys=_keys(rejection.address)))
    for config in planned.desired.unusable:
        _add(records, config, CachedVassal())
    gone = {f"vassal-{label}.service" for label in planned.actual.installed} & set(planned.plan.remove)
    for label, installed in planned.actual.installed.items():
        known = records.get(installed.config)
        if installed.service not in gone and (known is None or not known.is_served):
            keys = _keys(installed.canonical_address)
            _add(records, installed.config, CachedVassal(name=installed.name, label=label, keys=keys, is_served=True))
    return records


def _add(records: dict[str, CachedVassal], config: str, record: CachedVassal) -> None:
    """Add what else a config has or wants; such a one is looked at each time."""
    if (known := records.get(config)) is not None:
        keys = (*known.keys, *record.keys)
        is_served = known.is_served or record.is_served
        record = CachedVassal(known.name or record.name, known.label or record.label, keys, "", is_served)
    records[config] = record


def _keys(address: Address | None) -> tuple[str, ...]:
    return (intern(collision_key(address)),) if address else ()


def _files(resolved: ResolvedVassal, extension: str) -> tuple[str, ...]:
    return (*resolved.sources, resolved.vassal.config + extension) if extension else resolved.sources


def _made(resolved: ResolvedVassal, unit_directory: str) -> tuple[str, ...]:
    vassal = resolved.vassal
    waits = resolved.mode is Mode.ON_DEMAND
    link = link_path(vassal.socket if waits else vassal.service)
    units = (vassal.service, vassal.socket, link) if waits else (vassal.service, link)
    socket = (resolved.address.path,) if isinstance(resolved.address, UnixAddress) else ()
    return (*(f"{unit_directory}/{unit}" for unit in units), *socket)
