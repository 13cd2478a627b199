"""Carries out a plan, in the order systemd needs, and sees whether it came true."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.model.address import UnixAddress
from bridge.model.unit_names import TARGET, link_path, pause_of, service_of
from bridge.model.vassal import Mode
from bridge.systemd.manager import needs_reload

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from bridge.model.unit import UnitState
    from bridge.model.vassal import ResolvedVassal
    from bridge.progress import Progress
    from bridge.reconcile.plan import Plan
    from bridge.state.lock import Lock
    from bridge.systemd.manager import Manager
    from bridge.units.directory import UnitDirectory

STOP_TIMEOUT = 300.0
"""Seconds the stop of all affected units may take; a vassal is killed after systemd's own 90 s."""
SOCKET_TIMEOUT = 300.0
"""Seconds the start of all sockets may take."""
SHARE = 2000
"""Sockets that are started as one job."""
SERVICE_PATIENCE = 15.0
"""Seconds to wait for always-on vassals, so as to report those that fail; a slow one goes on starting."""


class PlanExecutor:
    """Does what a plan says. Safe to be killed anywhere: the next plan takes up from what is there."""

    def __init__(
        self, *, store: UnitDirectory, manager: Manager, lock: Lock, tell: Progress, reason: Callable[[str], str]
    ) -> None:
        self._store = store
        self._manager = manager
        self._lock = lock
        self._tell = tell
        self._reason = reason

    def apply(self, plan: Plan, known: Iterable[str]) -> None:
        """Carry out a plan; ``known`` are the unit files that were there before.

        Raises:
            BridgeError: systemd or the file system refuses; what was done so far stays.
        """
        rewritten = [unit for unit in known if unit in plan.write]
        fresh = _fresh_sockets(plan, set(known))
        later = {unit for socket in fresh for unit in (socket, service_of(socket), link_path(socket))}
        self._lock.begin({*plan.stop, *rewritten, *plan.remove, *plan.reread})
        try:
            self._stop(plan, rewritten)
            self._store.unlink(plan.unlink)
            self._store.remove(plan.remove)
            self._store.link({path: target for path, target in plan.link.items() if path not in later})
            self._store.write({unit: text for unit, text in plan.write.items() if unit not in later})
            self._reload_if_due([*rewritten, *plan.remove, *plan.reread])
            self._renew(plan)
            self.retry(plan.retry)
            self._start_sockets([u for u in plan.start if u.endswith(".socket") and u not in later], plan)
            self._bring_up(fresh, plan)
        except OSError as error:
            raise BridgeError(_unwritable(error)) from error
        services = [unit for unit in plan.start if unit.endswith(".service")]
        self._manager.start(services, timeout=SERVICE_PATIENCE, progress=self._stage("starting vassals"))
        if plan.reload:
            self._manager.reload_units(plan.reload)

    def retry(self, services: Iterable[str]) -> None:
        """End the pauses of services that failed: what waits for them is tried at once.

        Raises:
            BridgeError: systemd or the file system refuses.
        """
        if services := list(services):
            try:
                self._store.forget_pauses(services)
            except OSError as error:
                raise BridgeError(_unwritable(error)) from error
            pauses = [pause_of(service) for service in services]
            self._manager.stop(pauses, timeout=STOP_TIMEOUT, progress=self._stage("ending pauses"))

    def check(self, accepted: Iterable[ResolvedVassal], *, down: Collection[str] = ()) -> list[Diagnostic]:
        """See that every admitted vassal listens, or runs; return what is wrong, in systemd's own words.

        ``down`` are labels of vassals that are meant to be down.
        """
        accepted = list(accepted)
        states = self._manager.units([u for s in accepted for u in (s.vassal.service, s.vassal.socket)])
        problems = []
        for resolved in accepted:
            if resolved.vassal.label in down:
                continue
            unit = resolved.vassal.socket if resolved.mode is Mode.ON_DEMAND else resolved.vassal.service
            if reason := self._trouble(resolved, unit, states):
                code = "not-listening" if resolved.mode is Mode.ON_DEMAND else "not-running"
                problems.append(resolved.vassal.problem(code, reason, f"see: journalctl -u '{unit}'"))
        return problems

    def _stop(self, plan: Plan, rewritten: list[str]) -> None:
        if plan.stop:
            self._manager.stop(plan.stop, timeout=STOP_TIMEOUT, progress=self._stage("stopping"))
        if over := {*plan.stop, *plan.remove, *rewritten}:
            # A unit that failed is remembered as such, even when its file is gone.
            states = self._manager.units(over)
            self._manager.reset_failed([u for u, state in states.items() if state.active == "failed" and u in over])
            self._store.forget_pauses(unit for unit in over if unit.endswith(".service"))

    def _reload_if_due(self, changed: list[str]) -> None:
        """Reload the manager only if it still has units in memory whose files changed.

        One that was stopped and is needed by none is forgotten, and read anew when it is next asked for.
        """
        if not changed:
            return
        loaded = self._manager.units(changed)
        if not (remembered := [unit for unit in changed if unit in loaded]):
            return
        self._tell("reloading systemd", 0, 1)
        self._manager.daemon_reload()
        # With more sockets than file descriptors the reload fails in silence.
        if still := needs_reload(self._manager, remembered[:1]):
            problem = Diagnostic(
                code="reload-failed",
                vassal=still[0],
                message="systemd did not read the changed units, though it reported success",
                hint="see its journal; many sockets need a higher LimitNOFILE for PID 1 (twice their number)",
            )
            raise BridgeError(problem)

    def _renew(self, plan: Plan) -> None:
        states = self._manager.units(plan.renew) if plan.renew else {}
        if old := [unit for unit in plan.renew if unit in states and not states[unit].is_down]:
            self._manager.stop(old, timeout=STOP_TIMEOUT, progress=self._stage("stopping"))

    def _bring_up(self, sockets: list[str], plan: Plan) -> None:
        """Write the units of sockets that systemd does not know, and start them, a share at a time.

        While systemd starts one share the next is written. In one go, the transaction of thousands of jobs would leave
        PID 1 with twice the memory that it needs.
        """
        for at in range(0, len(sockets), SHARE):
            share = sockets[at : at + SHARE]
            units = (unit for socket in share for unit in (service_of(socket), socket))
            self._store.write({unit: plan.write[unit] for unit in units})
            self._store.link({path: plan.link[path] for path in map(link_path, share) if path in plan.link})
            self._manager.join(timeout=SOCKET_TIMEOUT, progress=lambda *_: None)
            self._tell("starting sockets", at, len(sockets))
            if len(sockets) > 1:
                self._manager.launch(share)
            else:
                self._manager.start(share, timeout=SOCKET_TIMEOUT, progress=self._stage("starting sockets"))
        self._manager.join(timeout=SOCKET_TIMEOUT, progress=lambda *_: None)

    def _start_sockets(self, sockets: list[str], plan: Plan) -> None:
        if TARGET in plan.start:
            self._manager.start([TARGET], timeout=SOCKET_TIMEOUT, progress=self._stage("starting sockets"))
            states = self._manager.units(sockets)
            sockets = [unit for unit in sockets if unit not in states or states[unit].active == "inactive"]
        for at in range(0, len(sockets), SHARE):
            share = sockets[at : at + SHARE]
            self._manager.start(share, timeout=SOCKET_TIMEOUT, progress=self._stage("starting sockets"))

    def _trouble(self, resolved: ResolvedVassal, unit: str, states: Mapping[str, UnitState]) -> str:
        state = states.get(unit)
        if state is None or state.load in {"bad-setting", "error", "not-found"}:
            error = self._manager.properties([unit], "Unit", "LoadError").get(unit, ("", ""))
            return f"systemd cannot load {unit}: {error[1] or 'it is not there'}"
        if resolved.mode is Mode.ALWAYS:
            broken = state.is_down or state.sub.startswith("auto-restart")
            return f"it does not run: {self._why(unit, state)}" if broken else ""
        if state.active != "active":
            return f"its socket {resolved.address} does not listen: {self._why(unit, state)}"
        if isinstance(resolved.address, UnixAddress) and not _is_socket(resolved.address.path):
            return f"its socket file {resolved.address} is gone, though systemd still listens on it"
        return ""

    def _why(self, unit: str, state: UnitState) -> str:
        kind = "Socket" if unit.endswith(".socket") else "Service"
        result = self._manager.properties([unit], kind, "Result").get(unit, state.sub)
        return self._reason(unit) or f"systemd says {result}"

    def _stage(self, name: str) -> Callable[[int, int], None]:
        return lambda done, total: self._tell(name, done, total)


def _fresh_sockets(plan: Plan, known: set[str]) -> list[str]:
    """Return the sockets to start that have no units from before, and so need no reload."""
    sockets = (unit for unit in plan.start if unit.endswith(".socket") and unit in plan.write)
    return [s for s in sockets if service_of(s) in plan.write and known.isdisjoint((s, service_of(s)))]


def _unwritable(error: OSError) -> Diagnostic:
    return Diagnostic(
        code="unit-directory",
        path=error.filename,
        message=f"units cannot be written: {error.strerror}",
        hint="mend this and sync again; it takes up where it stopped",
    )


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
