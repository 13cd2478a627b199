"""From files that changed to the vassals that they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.model.vassal import option_for
from bridge.monitors import monitor_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bridge.config.settings import Settings
    from bridge.monitors.base import Monitor
    from bridge.state.cache import VassalCache


def configs_of(paths: Iterable[str], cache: VassalCache, settings: Settings) -> frozenset[str] | None:
    """Return the configs that the files are, or are rule files of; None if one of them might concern any vassal.

    What else lies beside configs, such as an editor's own files, is nobody's.

    Raises:
        BridgeError: the settings name a monitor there is not.
    """
    if settings.emperor_on_demand_exec:
        return None
    monitors = [monitor_for(spec, settings) for spec in settings.emperor]
    found: set[str] = set()
    for path in paths:
        configs = [c for c in _candidates(path, settings) if c in cache.records or _is_config(c, monitors, settings)]
        is_beside = any(monitor.holds(path) for monitor in monitors)
        if path.rpartition("/")[2] in cache.included or not (configs or is_beside):
            return None
        found.update(configs)
    return frozenset(found)


def _candidates(path: str, settings: Settings) -> Iterator[str]:
    yield path
    extension = settings.emperor_on_demand_extension
    if extension and path.endswith(extension):
        yield path.removesuffix(extension)


def _is_config(path: str, monitors: Iterable[Monitor], settings: Settings) -> bool:
    is_named = option_for(path, settings.emperor_extra_extension) is not None
    return is_named and any(monitor.covers(path) for monitor in monitors)
