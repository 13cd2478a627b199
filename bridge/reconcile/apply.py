"""Apply a plan, in the order systemd needs, and check the outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.host.files import is_socket
from bridge.host.listeners import listening
from bridge.model.address import UnixAddress, collision_key
from bridge.model.unit_names import TARGET, link_path, pause_of, service_of
from bridge.model.vassal import Mode
from bridge.progress import no_progress, stage
from bridge.state.lock import Pending
from bridge.systemd.manager import needs_reload

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from bridge.model.unit import UnitState
    from bridge.model.vassal import ResolvedVassal
    from bridge.progress import Progress
    from bridge.reconcile.steps import Plan
    from bridge.state.lock import Lock
    from bridge.state.pauses import PauseNotes
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


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanExecutor:
    """Does what a plan says. It may be killed anywhere: the next plan continues from what it left."""

    directory: UnitDirectory
    pauses: PauseNotes
    lock: Lock
    manager: Manager
    progress: Progress
    reason: Callable[[str], str]
    """Returns the manager's own words on why a unit failed."""

    def apply(self, plan: Plan, known: Iterable[str], accepted: Iterable[ResolvedVassal] = ()) -> None:
        """Apply a plan for the ``accepted`` vassals; ``known`` are the unit files that existed before.

        Raises:
            BridgeError: systemd or the file system refuses; what was done so far stays.
        """
        known = frozenset(known)
        rewritten = [unit for unit in plan.write if unit in known]
        restarting = [unit for unit in rewritten if unit not in plan.keep_running]
        fresh = _fresh_sockets(plan, known)
        later = {unit for socket in fresh for unit in (socket, service_of(socket), link_path(socket))}
        self.lock.begin(
            Pending(
                restart=frozenset({*plan.stop, *restarting, *plan.renew, *plan.remove}),
                reread=frozenset({*plan.keep_running, *plan.reread}),
            )
        )
        try:
            self._stop(plan, restarting)
            self.directory.unlink(plan.unlink)
            self.directory.remove(plan.remove)
            self.directory.link({path: target for path, target in plan.link.items() if path not in later})
            self.directory.write({unit: text for unit, text in plan.write.items() if unit not in later})
            if self._reload_if_due([*rewritten, *plan.remove, *plan.reread]):
                self._repair_sockets(accepted)
            self._renew(plan)
            self.retry(plan.retry)
            self._start_sockets([u for u in plan.start if u.endswith(".socket") and u not in later], plan)
            self._bring_up(fresh, plan)
        except OSError as error:
            raise BridgeError(_unwritable(error)) from error
        services = [unit for unit in plan.start if unit.endswith(".service")]
        self.manager.start(services, timeout=SERVICE_PATIENCE, progress=stage(self.progress, "starting vassals"))
        if plan.reload:
            self.manager.reload_units(plan.reload)

    def retry(self, services: Iterable[str]) -> None:
        """End the pauses of services that failed: connections that wait for them are served at once.

        Raises:
            BridgeError: systemd or the file system refuses.
        """
        if services := list(services):
            try:
                self.pauses.forget(services)
            except OSError as error:
                raise BridgeError(_unwritable(error)) from error
            self.manager.stop(
                [pause_of(service) for service in services],
                timeout=STOP_TIMEOUT,
                progress=stage(self.progress, "ending pauses"),
            )

    def check(self, accepted: Iterable[ResolvedVassal], *, down: Collection[str] = ()) -> list[Diagnostic]:
        """Check that every accepted vassal listens, or runs; return what is wrong, in systemd's own words.

        ``down`` are labels of vassals that are meant to be down.
        """
        accepted = list(accepted)
        states = self.manager.units([u for s in accepted for u in (s.vassal.service, s.vassal.socket)])
        problems = []
        for resolved in accepted:
            if resolved.vassal.label in down:
                continue
            unit = resolved.vassal.socket if resolved.mode is Mode.ON_DEMAND else resolved.vassal.service
            if reason := self._trouble(resolved, unit, states):
                code = "not-listening" if resolved.mode is Mode.ON_DEMAND else "not-running"
                problems.append(resolved.vassal.problem(code, reason, f"see: journalctl -u '{unit}'"))
        return problems

    def _stop(self, plan: Plan, restarting: list[str]) -> None:
        if plan.stop:
            self.manager.stop(plan.stop, timeout=STOP_TIMEOUT, progress=stage(self.progress, "stopping"))
        if over := {*plan.stop, *plan.remove, *restarting}:
            # A unit that failed is remembered as such, even when its file is gone.
            states = self.manager.units(over)
            self.manager.reset_failed([u for u, state in states.items() if state.active == "failed" and u in over])
            self.pauses.forget(unit for unit in over if unit.endswith(".service"))

    def _reload_if_due(self, changed: list[str]) -> bool:
        """Reload the manager only if it still has units in memory whose files changed; tell whether it was.

        One that was stopped and is needed by none is forgotten, and read anew when it is next asked for.
        """
        loaded = self.manager.units(changed) if changed else {}
        if not (remembered := [unit for unit in changed if unit in loaded]):
            return False
        self.progress("reloading systemd", 0, 1)
        self.manager.daemon_reload()
        # With more sockets than file descriptors the reload fails in silence.
        if still := needs_reload(self.manager, remembered[:1]):
            problem = Diagnostic(
                code="reload-failed",
                vassal=still[0],
                message="systemd did not read the changed units, though it reported success",
                hint="see its journal; many sockets need a higher LimitNOFILE for PID 1 (twice their number)",
            )
            raise BridgeError(problem)
        return True

    def _repair_sockets(self, accepted: Iterable[ResolvedVassal]) -> None:
        """Start again the sockets that the reload has closed.

        systemd 252 escapes some characters of a socket's path when it writes down its state for the reload. It then no
        longer knows the socket by the path in the unit, and closes it (core/socket.c, ``socket_deserialize_item``).
        """
        waiting = {one.vassal.socket: one for one in accepted if one.address}
        states = self.manager.units(list(waiting)) if waiting else {}
        heard = {collision_key(address) for address in listening()}
        lost = [
            one
            for unit, one in waiting.items()
            if unit in states
            and states[unit].active == "active"
            and heard.isdisjoint(collision_key(a) for a in (one.address, one.canonical_address) if a)
        ]
        if lost:
            units = [unit for one in lost for unit in (one.vassal.service, one.vassal.socket)]
            self.manager.stop(units, timeout=STOP_TIMEOUT, progress=stage(self.progress, "stopping"))
            sockets = [one.vassal.socket for one in lost]
            self.manager.start(sockets, timeout=SOCKET_TIMEOUT, progress=stage(self.progress, "starting sockets"))

    def _renew(self, plan: Plan) -> None:
        states = self.manager.units(plan.renew) if plan.renew else {}
        if old := [unit for unit in plan.renew if unit in states and not states[unit].is_down]:
            self.manager.stop(old, timeout=STOP_TIMEOUT, progress=stage(self.progress, "stopping"))

    def _bring_up(self, sockets: list[str], plan: Plan) -> None:
        """Write the units of sockets that systemd does not know, and start them, a share at a time.

        While systemd starts one share the next is written. In one go, the transaction of thousands of jobs would leave
        PID 1 with twice the memory that it needs.
        """
        for at in range(0, len(sockets), SHARE):
            share = sockets[at : at + SHARE]
            units = (unit for socket in share for unit in (service_of(socket), socket))
            self.directory.write({unit: plan.write[unit] for unit in units})
            self.directory.link({path: plan.link[path] for path in map(link_path, share) if path in plan.link})
            self.manager.join(timeout=SOCKET_TIMEOUT, progress=no_progress)
            self.progress("starting sockets", at, len(sockets))
            if len(sockets) > 1:
                self.manager.launch(share)
            else:
                self.manager.start(share, timeout=SOCKET_TIMEOUT, progress=stage(self.progress, "starting sockets"))
        self.manager.join(timeout=SOCKET_TIMEOUT, progress=no_progress)

    def _start_sockets(self, sockets: list[str], plan: Plan) -> None:
        if TARGET in plan.start:
            self.manager.start([TARGET], timeout=SOCKET_TIMEOUT, progress=stage(self.progress, "starting sockets"))
            states = self.manager.units(sockets)
            sockets = [unit for unit in sockets if unit not in states or states[unit].active == "inactive"]
        for at in range(0, len(sockets), SHARE):
            share = sockets[at : at + SHARE]
            self.manager.start(share, timeout=SOCKET_TIMEOUT, progress=stage(self.progress, "starting sockets"))

    def _trouble(self, resolved: ResolvedVassal, unit: str, states: Mapping[str, UnitState]) -> str:
        state = states.get(unit)
        if state is None or state.load in {"bad-setting", "error", "not-found"}:
            error = self.manager.properties([unit], "Unit", "LoadError").get(unit, ("", ""))
            return f"systemd cannot load {unit}: {error[1] or 'it is not there'}"
        if resolved.mode is Mode.ALWAYS:
            broken = state.is_down or state.sub.startswith("auto-restart")
            return f"it does not run: {self._why(unit, state)}" if broken else ""
        if state.active != "active":
            return f"its socket {resolved.address} does not listen: {self._why(unit, state)}"
        if isinstance(resolved.address, UnixAddress) and not is_socket(resolved.address.path):
            return f"its socket file {resolved.address} is gone, though systemd still listens on it"
        return ""

    def _why(self, unit: str, state: UnitState) -> str:
        kind = "Socket" if unit.endswith(".socket") else "Service"
        result = self.manager.properties([unit], kind, "Result").get(unit, state.sub)
        return self.reason(unit) or f"systemd says {result}"


def _fresh_sockets(plan: Plan, known: frozenset[str]) -> list[str]:
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
