"""How the manager lists units: what it is asked for, and what it answers."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from bridge.model.unit import UnitState
from bridge.model.unit_names import PAUSE_PREFIX
from bridge.systemd.bus import CallError
from bridge.systemd.call_errors import call_errors
from bridge.systemd.object_paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from bridge.systemd.bus import Bus

_MANAGER = "org.freedesktop.systemd1.Manager"
_LIST, _LIST_NAMED = "ListUnitsByPatterns", "ListUnitsByNames"
_PATTERNS = ["vassal-*", "vassals*", f"{PAUSE_PREFIX}vassal-*"]
_BY_NAME_MAX = 64
"""The most units that are asked for by a pattern each. The manager compares each pattern with each of its units."""
_EACH = 30
"""How many units can be listed in the time that it takes to ask whether one is loaded."""


class UnitLists:
    """Lists the vassals' loaded units."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.longest = 0
        """The most units that a list had."""

    def expect(self, longest: int) -> None:
        """Expect lists of so many units, as another process has seen. To ask for some may take less time."""
        self.longest = max(self.longest, longest)

    def begin(self, only: Collection[str] | None) -> Callable[[], dict[str, UnitState]]:
        """Ask for the state of all vassals' units, or of ``only`` these; the function returned waits for the answer.

        Raises:
            BridgeError: the manager cannot be reached. The function raises it too.
        """
        wanted = None if only is None else frozenset(only)
        with call_errors(_LIST):
            answer = self._bus.ask(ROOT, _MANAGER, _LIST, "asas", [], _patterns(wanted))

        def states() -> dict[str, UnitState]:
            with call_errors(_LIST):
                (units,) = answer()
            self.longest = max(self.longest, len(units))
            found = units if wanted is None else [unit for unit in units if unit[0] in wanted]
            return {name: _state(load, active, sub) for name, load, active, sub in found}

        return states

    def ask(self, only: Collection[str] | None) -> dict[str, UnitState]:
        """Return the states. Of few among many, it is first asked which are loaded, and only these are listed.

        Raises:
            BridgeError: the manager does not answer.
        """
        if only is not None and len(only) < self.longest / _EACH:
            return self._named(self._loaded(only))
        return {} if only is not None and not only else self.begin(only)()

    def _named(self, units: Collection[str]) -> dict[str, UnitState]:
        """List units that are loaded: the manager loads others for it, and says of them that they are inactive."""
        if not units:
            return {}
        with call_errors(_LIST_NAMED):
            (found,) = self._bus.call(ROOT, _MANAGER, _LIST_NAMED, "as", sorted(units))
        return {name: _state(load, active, sub) for name, load, active, sub in found}

    def _loaded(self, units: Collection[str]) -> frozenset[str]:
        """Return those of the units that the manager has loaded: it is asked for each, and loads none for that."""
        named = sorted(units)
        with call_errors("GetUnit"):
            answers = self._bus.call_many((ROOT, _MANAGER, "GetUnit", "s", (unit,)) for unit in named)
        return frozenset(u for u, answer in zip(named, answers, strict=True) if not _is_missing(answer))


def _patterns(only: Collection[str] | None) -> list[str]:
    if only is None:
        return _PATTERNS
    # No character of a unit's name is special in a pattern (the manager matches with FNM_NOESCAPE).
    if len(only) <= _BY_NAME_MAX:
        return sorted(only)
    kinds = sorted({unit.rpartition(".")[2] for unit in only})
    return [f"{pattern}.{kind}" for kind in kinds for pattern in _PATTERNS]


def _is_missing(answer: tuple[Any, ...] | CallError) -> bool:
    return isinstance(answer, CallError) and answer.name == "org.freedesktop.systemd1.NoSuchUnit"


@cache
def _state(load: str, active: str, sub: str) -> UnitState:
    """Return a state; thousands of units share the few objects."""
    return UnitState(load=load, active=active, sub=sub)
