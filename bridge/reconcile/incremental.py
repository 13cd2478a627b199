"""Find the vassals that changed since the last run, so that only those are processed.

The file system gives each file's inode, size and times, the kernel the listening sockets, and systemd the state of the
units that run always: a few calls for any number of vassals. What cannot be decided so makes the run process all.
"""

from __future__ import annotations

import os
from contextlib import closing, suppress
from enum import Flag, auto
from functools import partial
from sys import intern
from typing import TYPE_CHECKING

from bridge import __version__
from bridge.config.settings import RuleKind
from bridge.host.listeners import listening_keys
from bridge.host.second_process import SecondProcess
from bridge.model.address import UnixAddress, collision_key
from bridge.model.digest import blake2b
from bridge.model.unit_names import COMMON, TARGET, link_path
from bridge.model.vassal import Mode
from bridge.reconcile.run import Scope
from bridge.state import fingerprint
from bridge.state.cache import CachedVassal
from bridge.state.cache_file import CacheFile
from bridge.units.drop_ins import sockets_with_drop_ins
from bridge.units.marker import FORMAT
from bridge.vassals.spawn import spawn_defaults

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from bridge.config.paths import Paths
    from bridge.config.settings import Settings
    from bridge.diagnostics import Diagnostic
    from bridge.model.address import Address
    from bridge.model.unit import UnitState
    from bridge.model.vassal import ResolvedVassal
    from bridge.monitors.base import Monitor
    from bridge.reconcile.run import PlannedRun
    from bridge.state.cache import VassalCache
    from bridge.units.directory import UnitDirectory

    Asking = Callable[[Collection[str]], Callable[[], Mapping[str, UnitState]]]

MOST = 200
"""Vassals that may have changed for a run to process them alone: with more it is quicker to process all."""
_MANY = 500
"""Vassals whose files take longer to compare than a child process takes to start."""
_CHILDS_SHARE = 0.6
"""Part of the vassals whose files the child compares."""
_USERS = ("/etc/passwd", "/etc/group")


class Sees(Flag):
    """What of the vassals' sockets counts as a change."""

    SOCKETS = auto()
    """Those that the kernel does not have. ``status`` looks for these itself."""
    DROP_INS = auto()
    """Those that a drop-in may have listen elsewhere. ``sync`` has nothing to do for these."""


class ChangeDetector:
    """Compares the present with the cache."""

    def __init__(self, monitors: Sequence[Monitor], directory: UnitDirectory, unit_path: Sequence[str]) -> None:
        self._monitors = monitors
        self._directory = directory
        self._unit_path = unit_path

    def changed(
        self, cache: VassalCache, digests: Mapping[str, int], ask: Asking, sees: Sees = Sees.SOCKETS
    ) -> Scope | None:
        """Return the vassals that are not as the last run left them; None if that is unknown, or of too many.

        Args:
            cache: what the last run left.
            digests: the fingerprints of its files.
            ask: asks the manager for these units, and does not wait. Meanwhile the files are compared, those of many
                vassals in a process of their own.
            sees: what of the sockets counts.

        Raises:
            BridgeError: the manager cannot be asked.
        """
        if self._directory.elsewhere():
            return None
        records = cache.records
        clean = {key: record for key, record in records.items() if record.is_clean}
        always = {f"vassal-{record.label}.service": key for key, record in clean.items() if not record.addresses}
        states = ask([TARGET, *always])
        compare = partial(_differing, records, digests)
        keys = list(records)
        # While the child compares more than half, this process has the answers to read, and then the rest.
        others = round(len(keys) * _CHILDS_SHARE) if len(keys) >= _MANY else 0
        with closing(SecondProcess(partial(compare, keys[:others]), is_worth_it=others > 0)) as process:
            new = self._new(records)
            down = _down(always, states())
            moved = self._silent(clean) if Sees.SOCKETS in sees else set()
            moved |= self._with_drop_ins(clean) if Sees.DROP_INS in sees else set()
            found = compare(keys[others:]) | process.result()
        if new is None or down is None:
            return None
        found |= new
        known = cache.others.union(record.label for record in records.values())
        if len(found) > MOST or not self._directory.labels() <= known:
            return None
        changed = cache.with_rivals(found | down | moved)
        return Scope.of(changed) if len(changed) <= MOST else None

    def _new(self, records: Mapping[str, CachedVassal]) -> set[str] | None:
        """Return the keys of vassals that the cache does not have; None if a monitor cannot tell its vassals' keys."""
        found: set[str] = set()
        for monitor in self._monitors:
            if (keys := monitor.keys()) is None:
                return None
            found.update(key for key in keys if key not in records)
        return found

    @staticmethod
    def _silent(clean: Mapping[str, CachedVassal]) -> set[str]:
        """Return the keys of vassals that have an address at which the kernel has no socket."""
        heard = listening_keys()
        return {key for key, record in clean.items() if not _is_heard(record, heard)}

    def _with_drop_ins(self, clean: Mapping[str, CachedVassal]) -> set[str]:
        """Return the keys of vassals whose sockets may listen elsewhere, since a drop-in says so."""
        sockets = {f"vassal-{record.label}.socket": key for key, record in clean.items() if record.addresses}
        return {sockets[socket] for socket in sockets_with_drop_ins(sockets, self._unit_path)}


def _differing(records: Mapping[str, CachedVassal], digests: Mapping[str, int], keys: Iterable[str]) -> set[str]:
    """Return those of the keys whose vassals are to be processed anyway, or have files that changed."""
    return {
        key
        for key in keys
        if not (record := records[key]).is_clean
        or digests[key] != fingerprint.digest((*record.inputs, *record.outputs))
    }


def _down(always: Mapping[str, str], states: Mapping[str, UnitState]) -> set[str] | None:
    """Return the keys of those that should run always and do not; None if the target of all is down."""
    if TARGET not in states or states[TARGET].active != "active":
        return None
    return {key for unit, key in always.items() if unit not in states or states[unit].is_down}


def _is_heard(record: CachedVassal, heard: set[str]) -> bool:
    """Tell whether somebody listens at each address of a vassal, in one of its spellings."""
    if heard.issuperset(record.collision_keys):
        return True
    return all(heard & {*spellings} for spellings in zip(record.addresses, record.collision_keys, strict=False))


def is_possible(settings: Settings) -> bool:
    """Tell whether files show every change: what an on-demand command prints is unknown until it is run."""
    return settings.on_demand_rule.kind is not RuleKind.EXEC


def cache_file(paths: Paths, settings: Settings) -> CacheFile:
    """Return the file of the cache, which is valid as long as what all vassals depend on is as it was.

    Raises:
        BridgeError: the settings name a program, user or group that is not there.
    """
    common = [f"{paths.unit_directory}/{unit}" for unit in COMMON]
    templates = [entry for folder in paths.templates for entry in _entries(folder)]
    defaults = spawn_defaults(settings, user_manager=paths.user_manager)
    spawn = (defaults.settings, defaults.program, defaults.setpriv)
    facts = (__version__, FORMAT, paths.unit_directory, spawn, fingerprint.digest((*_USERS, *common, *templates)))
    # Hashed, for the settings may hold secrets (``env``).
    basis = blake2b(repr(facts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return CacheFile(paths.cache, basis)


def _entries(folder: str) -> list[str]:
    with suppress(OSError):
        return [f"{folder}/{name}" for name in sorted(os.listdir(folder))]
    return []


def records_of(planned: PlannedRun, problems: Iterable[Diagnostic], unit_directory: str) -> dict[str, CachedVassal]:
    """Return what a run found of the vassals in its scope, by key."""
    troubled = {d.key for d in (*planned.diagnostics, *problems)}
    meant_down = planned.meant_down
    records: dict[str, CachedVassal] = {}
    for resolved in planned.conflicts.accepted:
        vassal = resolved.vassal
        is_clean = vassal.key not in troubled and vassal.label not in meant_down
        records[vassal.key] = CachedVassal(
            name=vassal.name,
            config=vassal.config.path,
            monitor=vassal.monitor,
            label=vassal.label,
            collision_keys=_collision_keys(resolved.canonical_addresses),
            addresses=tuple(intern(str(address)) for address in resolved.addresses),
            tenant=resolved.spawn.tenant,
            is_served=True,
            is_clean=is_clean,
            inputs=resolved.sources if is_clean else (),
            outputs=_outputs(resolved, unit_directory) if is_clean else (),
            note=vassal.row.note if vassal.row else "",
        )
    for rejection in planned.rejections:
        vassal = rejection.vassal
        claim = CachedVassal(vassal.name, vassal.config.path, vassal.monitor, vassal.label, inputs=rejection.sources)
        claim = claim._replace(note=vassal.row.note if vassal.row else "")
        _add(records, vassal.key, claim._replace(collision_keys=_collision_keys(rejection.addresses)))
    for key in planned.desired.unusable:
        _add(records, key, CachedVassal())
    removed = planned.removed
    for label, one in planned.actual.installed.items():
        known = records.get(one.key)
        if label not in removed and (known is None or not known.is_served):
            served = CachedVassal(one.name, one.config, one.monitor, label, _collision_keys(one.canonical_addresses))
            addresses = tuple(map(str, one.addresses))
            _add(records, one.key, served._replace(addresses=addresses, tenant=one.tenant, is_served=True))
    return records


def _add(records: dict[str, CachedVassal], key: str, record: CachedVassal) -> None:
    """Add what else a vassal has or wants. It is not clean: every run processes it."""
    if (known := records.get(key)) is not None:
        record = record._replace(
            name=known.name or record.name,
            config=known.config or record.config,
            monitor=known.monitor or record.monitor,
            label=known.label or record.label,
            collision_keys=(*known.collision_keys, *record.collision_keys),
            addresses=known.addresses or record.addresses,
            tenant=record.tenant if known.tenant is None else known.tenant,
            inputs=(*known.inputs, *record.inputs),
            note=known.note or record.note,
            is_served=known.is_served or record.is_served,
        )
    records[key] = record


def _collision_keys(addresses: Iterable[Address]) -> tuple[str, ...]:
    return tuple(intern(collision_key(address)) for address in addresses)


def _outputs(resolved: ResolvedVassal, unit_directory: str) -> tuple[str, ...]:
    vassal = resolved.vassal
    on_demand = resolved.mode is Mode.ON_DEMAND
    link = link_path(vassal.socket if on_demand else vassal.service)
    units = (vassal.service, vassal.socket, link, f"{vassal.socket}.d") if on_demand else (vassal.service, link)
    paths = (address.path for address in resolved.addresses if isinstance(address, UnixAddress))
    return (*(f"{unit_directory}/{unit}" for unit in units), *paths)
