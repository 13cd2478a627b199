"""A burst of changed files: whether it is over, and whom it affects."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError
from bridge.reconcile.run import Scope
from bridge.vassals.guard import is_unexpected
from bridge.watch.affected import keys_at, known_scope, scope_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bridge.systemd.manager import SystemdManager
    from bridge.watch.configuration import LoadedConfig
    from bridge.watch.timing import Burst, Debounce


def is_over(debounce: Debounce, loaded: LoadedConfig, manager: SystemdManager) -> bool:
    """Tell whether a burst is over. If a file of a running vassal is gone, it may come back, so it is put off once.

    uWSGI reads its config anew when it reloads. It ends if the file is not there at that moment. The whole burst is put
    off, for vassals that are gone at once must be counted at once, and a renamed one keeps its address. For the same
    reasons it is put off if files of several vassals are gone, or only one of a vassal's two: ``rm`` and ``mv`` may
    be held up on their way, and a neighbour may want the address.
    """
    if not debounce.is_due():
        return False
    if not debounce.awaits_return and _may_go_on(debounce.known, loaded, manager):
        debounce.await_return()
    if debounce.is_due():
        debounce.hold_unsettled()
    return debounce.is_due()


def scope_of_burst(loaded: LoadedConfig, burst: Burst, admit: Callable[[], bool]) -> Scope:
    """Return the vassals that a burst can affect. If ``admit`` puts a run of all vassals off, only the known ones."""
    place = (loaded.reconciler.cache, loaded.reconciler.monitors, loaded.settings)
    scope = Scope.all() if burst.is_whole else scope_of(burst.paths, *place)
    return known_scope(burst.paths, *place) if scope.is_all and not admit() else scope


def _may_go_on(paths: Iterable[str], loaded: LoadedConfig, manager: SystemdManager) -> bool:
    """Tell whether more may follow: a running vassal or several vassals lack a file, or one has only one of its two.

    tar and git remove a file before they write it anew.
    """
    try:
        gone = [path for path in paths if not os.path.lexists(path)]
        keys = {key for path in gone for key in keys_at(path, loaded.reconciler.monitors, loaded.settings)}
        services = [f"vassal-{label}.service" for label in loaded.reconciler.cache.labels_of(keys)]
        if len(services) != 1 or any(map(os.path.lexists, _beside(gone, loaded.settings.on_demand_rule.extension))):
            return bool(services)
        return not all(state.is_down for state in manager.units(services).values())
    except Exception as error:
        if not (is_unexpected(error) or isinstance(error, BridgeError)):
            raise
        # The run that follows has the same trouble, and tells of it.
        return False


def _beside(paths: Iterable[str], extension: str) -> Iterator[str]:
    """Yield the rule file of each path that is a config's, and the config of each that is a rule file's."""
    if extension:
        for path in paths:
            yield path.removesuffix(extension) if path.endswith(extension) else path + extension
