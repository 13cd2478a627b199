"""Map changed paths to the vassals that they can affect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.config.settings import RuleKind
from bridge.reconcile.run import Scope
from bridge.vassals.guard import is_unexpected

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bridge.config.settings import Settings
    from bridge.monitors.base import Monitor
    from bridge.state.cache import VassalCache


def scope_of(paths: Iterable[str], cache: VassalCache, monitors: Sequence[Monitor], settings: Settings) -> Scope:
    """Return the vassals whose config or rule file is at one of the paths.

    The scope is all vassals if a path can affect any of them: a file that some config includes, links to or asks
    about, or a file outside the monitors' folders. Other files beside the configs, such as an editor's, affect none.
    """
    if settings.on_demand_rule.kind is RuleKind.EXEC:
        # The rule's command may read any file.
        return Scope.all()
    try:
        return _scope_of(paths, cache, monitors, settings)
    except Exception as error:
        if not is_unexpected(error):
            raise
        # Whatever is wrong with a path, all vassals are sure to have what it affects.
        return Scope.all()


def known_scope(paths: Iterable[str], cache: VassalCache, monitors: Sequence[Monitor], settings: Settings) -> Scope:
    """Return the vassals at those of the paths that can affect only these."""
    scopes = [scope_of([path], cache, monitors, settings) for path in paths]
    return Scope.of(frozenset().union(*(one.keys for one in scopes if one.keys is not None)))


def keys_at(path: str, monitors: Iterable[Monitor], settings: Settings) -> Iterator[str]:
    """Yield the keys of the vassals whose config or rule file is at a path, whether a file is there or not."""
    extension = settings.on_demand_rule.extension
    configs = [path]
    if extension and path.endswith(extension):
        configs.append(path.removesuffix(extension))
    for monitor in monitors:
        for config in configs:
            if (key := monitor.key_at(config)) is not None:
                yield key


def _scope_of(paths: Iterable[str], cache: VassalCache, monitors: Sequence[Monitor], settings: Settings) -> Scope:
    affected: set[str] = set()
    for path in paths:
        # The cache knows base names only, since the file may have been changed through another path.
        if path.rpartition("/")[2] in cache.included:
            return Scope.all()
        keys = set(keys_at(path, monitors, settings))
        if not keys and not any(monitor.holds(path) for monitor in monitors):
            return Scope.all()
        affected |= keys
    return Scope.of(frozenset(affected))
