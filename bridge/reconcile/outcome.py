"""Check the outcome of a run: whether every vassal listens, or runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.host.files import is_socket
from bridge.model.address import UnixAddress, listed
from bridge.model.vassal import Mode
from bridge.reconcile.sockets import silent_sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from bridge.diagnostics import Diagnostic
    from bridge.model.unit import UnitState
    from bridge.model.vassal import ResolvedVassal
    from bridge.systemd.protocol import Manager


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class OutcomeCheck:
    """Asks the manager what became of the vassals."""

    manager: Manager
    reason: Callable[[str], str]
    """Returns the manager's own words on why a unit failed."""

    def check(self, accepted: Iterable[ResolvedVassal], down: Collection[str]) -> list[Diagnostic]:
        """Check that every accepted vassal listens, or runs; return what is wrong, in systemd's own words.

        ``down`` are labels of vassals that are meant to be down.
        """
        accepted = [one for one in accepted if one.vassal.label not in down]
        states = self.manager.units([one.primary_unit for one in accepted])
        silent = {one.vassal.socket for one in silent_vassals(self.manager, accepted, states)}
        problems = []
        for resolved in accepted:
            on_demand, unit = resolved.mode is Mode.ON_DEMAND, resolved.primary_unit
            deaf = f"nobody listens on {listed(resolved.addresses)}, though systemd takes {unit} for active"
            if reason := self._trouble(resolved, unit, states) or (deaf if unit in silent else ""):
                code = "not-listening" if on_demand else "not-running"
                problems.append(resolved.vassal.problem(code, reason, f"see: journalctl -u '{unit}'"))
        return problems

    def _trouble(self, resolved: ResolvedVassal, unit: str, states: Mapping[str, UnitState]) -> str:
        state = states.get(unit)
        if state is None or state.load in {"bad-setting", "error", "not-found"}:
            error = self.manager.properties([unit], "Unit", "LoadError").get(unit, ("", ""))
            return f"systemd cannot load {unit}: {error[1] or 'it is not there'}"
        if resolved.mode is Mode.ALWAYS:
            broken = state.is_down or state.sub.startswith("auto-restart")
            return f"it does not run: {self._why(unit, state)}" if broken else ""
        if state.active != "active":
            return f"its socket {listed(resolved.addresses)} does not listen: {self._why(unit, state)}"
        paths = (address.path for address in resolved.addresses if isinstance(address, UnixAddress))
        if gone := [path for path in paths if not is_socket(path)]:
            return f"its socket file {gone[0]} is gone, though systemd still listens on it"
        return ""

    def _why(self, unit: str, state: UnitState) -> str:
        kind = "Socket" if unit.endswith(".socket") else "Service"
        result = self.manager.properties([unit], kind, "Result").get(unit, state.sub)
        return self.reason(unit) or f"systemd says {result}"


def silent_vassals(
    manager: Manager, accepted: Iterable[ResolvedVassal], states: Mapping[str, UnitState]
) -> list[ResolvedVassal]:
    """Return the vassals whose sockets systemd takes for active while the kernel has none there."""
    waiting = {one.vassal.socket: one for one in accepted if one.addresses}
    active = {unit: one for unit, one in waiting.items() if unit in states and states[unit].active == "active"}
    spellings = [
        (unit, pair)
        for unit, one in active.items()
        for pair in zip(one.addresses, one.canonical_addresses, strict=True)
    ]
    return [active[unit] for unit in silent_sockets(manager, spellings)]
