"""A burst of changed files: whether it is over, and whom it affects."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError
from bridge.reconcile.run import Scope
from bridge.vassals.guard import is_unexpected
from bridge.watch.affected import keys_at, known_scope, scope_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.systemd.manager import SystemdManager
    from bridge.watch.configuration import LoadedConfig
    from bridge.watch.timing import Burst, Debounce


def is_over(debounce: Debounce, loaded: LoadedConfig, manager: SystemdManager) -> bool:
    """Tell whether a burst is over. Files that are about to change are held back.

    uWSGI reads its config anew when it reloads. It ends if the file is not there at that moment.
    """
    if not debounce.is_due():
        return False
    debounce.hold_unsettled()
    debounce.hold(_gone(debounce.known, loaded, manager))
    return debounce.is_due()


def scope_of_burst(loaded: LoadedConfig, burst: Burst, admit: Callable[[], bool]) -> Scope:
    """Return the vassals that a burst can affect. If ``admit`` puts a run of all vassals off, only the known ones."""
    place = (loaded.reconciler.cache, loaded.reconciler.monitors, loaded.settings)
    scope = Scope.all() if burst.is_whole else scope_of(burst.paths, *place)
    return known_scope(burst.paths, *place) if scope.is_all and not admit() else scope


def _gone(paths: Iterable[str], loaded: LoadedConfig, manager: SystemdManager) -> list[str]:
    """Return the files of vassals that are gone, if one of these runs: tar and git remove a file before they write it.

    The others are returned too, because vassals that are gone at once must be counted at once.
    """
    try:
        labels: dict[str, set[str]] = {}
        for path in paths:
            if not os.path.lexists(path):
                keys = keys_at(path, loaded.reconciler.monitors, loaded.settings)
                labels[path] = loaded.reconciler.cache.labels_of(keys)
        may_return = _is_running(set().union(*labels.values()), manager)
        return [path for path, its in labels.items() if its and may_return]
    except Exception as error:
        if not (is_unexpected(error) or isinstance(error, BridgeError)):
            raise
        # The run that follows has the same trouble, and tells of it.
        return []


def _is_running(labels: Iterable[str], manager: SystemdManager) -> bool:
    services = [f"vassal-{label}.service" for label in labels]
    return bool(services) and not all(state.is_down for state in manager.units(services).values())
