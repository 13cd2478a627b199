"""How the manager lists units: what it is asked for, and what it answers."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from bridge.model.unit import UnitState
from bridge.model.unit_names import PAUSE_PREFIX
from bridge.systemd.bus import CallError
from bridge.systemd.object_paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from bridge.systemd.bus import Bus

_MANAGER = "org.freedesktop.systemd1.Manager"
_PATTERNS = ["vassal-*", "vassals*", f"{PAUSE_PREFIX}vassal-*"]
_BY_NAME_MAX = 64
"""Units to list by name; beyond that by pattern: the manager compares each name with each of its units."""
_EACH = 30
"""How many units can be listed in the time that it takes to ask whether one is loaded."""


def is_quicker_asked(wanted: int, listed: int) -> bool:
    """Tell whether to ask for each of the wanted units is quicker than a list; ``listed`` is how long that was."""
    return _BY_NAME_MAX < wanted < listed / _EACH


def patterns(only: Collection[str] | None) -> list[str]:
    """Return the patterns that the manager is to list the units of: all vassals' units, or those with these names."""
    if only is None:
        return _PATTERNS
    # No character of a unit's name is special in a pattern (the manager matches with FNM_NOESCAPE).
    if len(only) <= _BY_NAME_MAX:
        return sorted(only)
    kinds = sorted({unit.rpartition(".")[2] for unit in only})
    return [f"{pattern}.{kind}" for kind in kinds for pattern in _PATTERNS]


def loaded(bus: Bus, units: Collection[str]) -> frozenset[str]:
    """Return those of the units that the manager has loaded: it is asked for each, and loads none for that."""
    named = sorted(units)
    answers = bus.call_many((ROOT, _MANAGER, "GetUnit", "s", (unit,)) for unit in named)
    return frozenset(u for u, answer in zip(named, answers, strict=True) if not _is_missing(answer))


def _is_missing(answer: tuple[Any, ...] | CallError) -> bool:
    return isinstance(answer, CallError) and answer.name == "org.freedesktop.systemd1.NoSuchUnit"


def states(units: Iterable[tuple[str, str, str, str]], only: Collection[str] | None) -> dict[str, UnitState]:
    """Return the states in a list of the manager's, or those of ``only`` these units."""
    found = units if only is None else [unit for unit in units if unit[0] in only]
    return {name: _state(load, active, sub) for name, load, active, sub in found}


@cache
def _state(load: str, active: str, sub: str) -> UnitState:
    """Return a state; thousands of units share the few objects."""
    return UnitState(load=load, active=active, sub=sub)
