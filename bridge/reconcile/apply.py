"""Apply a plan, in the order systemd needs, and check the outcome."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.model.unit_names import BRAKE, TARGET, is_brake, label_of, link_path, pause_of, service_of, socket_of
from bridge.progress import stage
from bridge.reconcile.bring_up import SHARE, BringUp, patience, start_sockets
from bridge.reconcile.outcome import OutcomeCheck, silent_vassals
from bridge.reconcile.reloads import Reloads, untold
from bridge.reconcile.stops import Stopper, unkillable
from bridge.state.lock import NOTHING, Pending

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from bridge.model.vassal import ResolvedVassal
    from bridge.progress import Progress
    from bridge.reconcile.run import PlannedRun
    from bridge.reconcile.steps import Plan
    from bridge.reconcile.stops import LateVassals
    from bridge.reconcile.unread import UnreadVassals
    from bridge.state.lock import Lock
    from bridge.state.pauses import PauseNotes
    from bridge.systemd.protocol import Manager
    from bridge.units.directory import UnitDirectory

SERVICE_PATIENCE = 10.0
"""Seconds to wait for always-on vassals, so as to report those that fail; a slow one goes on starting."""
BRIEF_PATIENCE = 1.5
"""The same for the daemon: other vassals change meanwhile, and it learns of a failure by the unit's events."""
TRIGGER_PATIENCE = 1.5
"""The longest wait, in seconds, until a socket may start its service again: a drop-in can set any time."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class PlanExecutor:
    """Does what a plan says. It may be killed anywhere: the next plan continues from what it left."""

    directory: UnitDirectory
    pauses: PauseNotes
    lock: Lock
    manager: Manager
    progress: Progress
    reason: Callable[[str], str]
    """Returns the manager's own words on why a unit failed."""
    late: LateVassals
    unread: UnreadVassals | None = None
    """Reads the configs that the plan has put off."""
    waits_for_late: bool = True
    """Whether a run waits for vassals that do not end. If not, another run must take them up."""

    def apply(
        self, plan: Plan, known: Iterable[str], accepted: Iterable[ResolvedVassal] = (), carried: Pending = NOTHING
    ) -> Pending:
        """Apply a plan for the ``accepted`` vassals; ``known`` are the unit files that existed before.

        ``carried`` is what earlier runs have left to do of vassals that this plan leaves out. Returns what is left to
        do now, for vassals that have not ended, or could not be told of their new configs yet.

        Raises:
            BridgeError: systemd or the file system refuses; what was done so far stays.
        """
        known = frozenset(known)
        restarting = [unit for unit in plan.write if unit in known and unit not in plan.keep_running]
        pending = Pending(
            restart=frozenset({*plan.stop, *restarting, *plan.renew, *plan.remove}),
            reread=frozenset({*plan.keep_running, *plan.reread}),
            reload=frozenset(plan.reload),
        )
        self.lock.begin(pending | carried)
        stopper = Stopper(self.manager, self.progress, self.late)
        stopping = [*plan.stop, *plan.idle]
        late = self._with_waiting(plan, stopper.stop(stopping, down=plan.idle))
        ready = plan.part(lambda unit: label_of(unit) not in late) if late else plan
        late |= self._carry_out(ready, known, accepted)
        young = self._reload(plan.reload)
        if late and self.waits_for_late:
            stubborn = self._with_waiting(plan, stopper.finish([*stopping, *plan.renew], late))
            rest = plan.part(lambda unit: label_of(unit) in late - stubborn)
            late = stubborn | self._carry_out(rest, known, accepted)
        carried = carried._replace(reload=carried.reload - pending.reload)
        return pending.part(lambda unit: label_of(unit) in late)._replace(reload=young) | carried

    def _carry_out(self, plan: Plan, known: frozenset[str], accepted: Iterable[ResolvedVassal]) -> frozenset[str]:
        """Do the rest for vassals whose units have stopped; return the labels of those that are late all the same."""
        rewritten = [unit for unit in plan.write if unit in known]
        restarting = [unit for unit in rewritten if unit not in plan.keep_running]
        # New units are written before old ones change: a killed run must leave a trace of who has an address.
        is_early = bool(plan.remove or restarting)
        if is_early and plan.unread and self.unread:
            plan = plan.with_texts(self.unread.texts(plan.unread.values()))
        fresh = _fresh_sockets(plan, known)
        later = {unit for socket in fresh for unit in (socket, service_of(socket), link_path(socket)) if not is_early}
        try:
            if BRAKE in plan.remove:
                self._end_brakes()
            self._forget_failures({*plan.stop, *plan.idle, *plan.remove, *restarting})
            # Links are made before others are removed: if the run is killed between, each vassal starts at boot.
            self.directory.link({path: target for path, target in plan.link.items() if path not in later})
            now = sorted(plan.write.keys() - later, key=lambda unit: (unit in known, unit))
            self.directory.write({unit: plan.write[unit] for unit in now})
            self.directory.unlink(plan.unlink)
            self.directory.remove(plan.remove)
            if self._reload_if_due([*rewritten, *plan.remove, *plan.reread]):
                self._repair_sockets(accepted)
            late = self._renew(plan)
            self.retry(plan.retry)
            self._start_sockets([u for u in plan.start if u.endswith(".socket") and u not in later], plan)
            BringUp(self.directory, self.manager, self.progress, self.unread).start(fresh, plan, is_written=is_early)
        except OSError as error:
            raise BridgeError(_unwritable(error)) from error
        services = [unit for unit in plan.start if unit.endswith(".service") and label_of(unit) not in late]
        patience = SERVICE_PATIENCE if self.waits_for_late else BRIEF_PATIENCE
        self.manager.start(services, timeout=patience, progress=stage(self.progress, "starting vassals"))
        return late

    def _with_waiting(self, plan: Plan, late: frozenset[str]) -> frozenset[str]:
        """Return these labels, and those of the vassals that get the addresses of these."""
        waiting = plan.waiting(late)
        self.late.have_wait(waiting)
        return late.union(waiting)

    def _reload(self, services: Collection[str]) -> frozenset[str]:
        """Tell services that their config changed; return those that cannot be told yet, for another run."""
        reloads = Reloads(self.manager, self.late.deaf)
        young = reloads.tell(services)
        return reloads.tell_in_time(young) if self.waits_for_late else frozenset(young)

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
            # Of a service that has failed already, systemd does not report that it could not be started.
            self.manager.reset_failed(services)
            pauses = [pause_of(service) for service in services]
            self.manager.stop(pauses, timeout=SERVICE_PATIENCE, progress=stage(self.progress, "ending pauses"))
            _await_triggers(self.manager, services)

    def start(self, units: Collection[str]) -> None:
        """Start units that are written. It waits for sockets; ``Manager.join`` waits for services.

        Raises:
            BridgeError: systemd refuses.
        """
        sockets = [unit for unit in units if unit.endswith(".socket")]
        for at in range(0, len(sockets), SHARE):
            start_sockets(sockets[at : at + SHARE], self.manager, self.progress)
        if services := [unit for unit in units if unit.endswith(".service")]:
            self.manager.launch(services)

    def check(self, done: PlannedRun) -> tuple[Diagnostic, ...]:
        """Return what proved wrong: who does not listen or run, could not be killed, or is not told of its new config.

        Raises:
            BridgeError: systemd cannot be asked.
        """
        found = OutcomeCheck(self.manager, self.reason).check(done.unmoved, done.meant_down)
        return (*found, *unkillable(done, self.late.killed), *untold(done))

    def _forget_failures(self, over: set[str]) -> None:
        if over:
            # A unit that failed is remembered as such, even when its file is gone.
            states = self.manager.units(over)
            self.manager.reset_failed([u for u, state in states.items() if state.active == "failed" and u in over])
            self.pauses.forget(unit for unit in over if unit.endswith(".service"))

    def _end_brakes(self) -> None:
        """End the brakes that run, and forget those that failed. The end of a vassal that had failed starts one.

        A brake whose unit file is gone when systemd is reloaded is killed, and then it is shown as failed for ever.
        """
        if brakes := [unit for unit in self.manager.units() if is_brake(unit)]:
            self.manager.stop(brakes, timeout=SERVICE_PATIENCE, progress=stage(self.progress, "ending pauses"))
            self.manager.reset_failed(brakes)

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
        if self.manager.properties(remembered[:1], "Unit", "NeedDaemonReload").get(remembered[0]):
            raise BridgeError(_not_reloaded(remembered[0]))
        return True

    def _repair_sockets(self, accepted: Iterable[ResolvedVassal]) -> None:
        """Start again the sockets that the reload has closed.

        systemd (252, 257) escapes some characters of a socket's path when it notes its state for the reload. It then no
        longer knows the socket by the path in the unit, and closes it (core/socket.c, ``socket_deserialize_item``).
        """
        accepted = list(accepted)
        states = self.manager.units([one.vassal.socket for one in accepted if one.addresses])
        lost = silent_vassals(self.manager, accepted, states)
        if lost:
            units = [unit for one in lost for unit in (one.vassal.service, one.vassal.socket)]
            late = Stopper(self.manager, self.progress, self.late).stop(units)
            sockets = [one.vassal.socket for one in lost if one.vassal.label not in late]
            start_sockets(sockets, self.manager, self.progress)

    def _renew(self, plan: Plan) -> frozenset[str]:
        states = self.manager.units(plan.renew) if plan.renew else {}
        old = [unit for unit in plan.renew if unit in states and not states[unit].is_down]
        return Stopper(self.manager, self.progress, self.late).stop(old)

    def _start_sockets(self, sockets: list[str], plan: Plan) -> None:
        if TARGET in plan.start:
            self.manager.start(
                [TARGET], timeout=patience(len(sockets)), progress=stage(self.progress, "starting sockets")
            )
            states = self.manager.units(sockets)
            sockets = [unit for unit in sockets if unit not in states or states[unit].active == "inactive"]
        for at in range(0, len(sockets), SHARE):
            start_sockets(sockets[at : at + SHARE], self.manager, self.progress)


def _await_triggers(manager: Manager, services: Iterable[str]) -> None:
    """Wait until the sockets of services may start these again."""
    results = manager.properties([socket_of(service) for service in services], "Socket", "Result")
    if closed := [socket for socket, result in results.items() if result == "trigger-limit-hit"]:
        # systemd still counts the starts that failed, also of a socket that is started anew.
        windows = manager.properties(closed, "Socket", "TriggerLimitIntervalUSec")
        time.sleep(min(max(windows.values(), default=0) / 1e6, TRIGGER_PATIENCE))


def _fresh_sockets(plan: Plan, known: frozenset[str]) -> list[str]:
    """Return the sockets to start that have no units from before, and so need no reload."""
    sockets = [unit for unit in plan.start if unit.endswith(".socket")]
    new = {s for s in sockets if {s, service_of(s)} <= plan.write.keys() and known.isdisjoint((s, service_of(s)))}
    return [s for s in sockets if s in new or s in plan.unread]


def _not_reloaded(unit: str) -> Diagnostic:
    return Diagnostic(
        code="reload-failed",
        vassal=unit,
        message="systemd did not read the changed units, though it reported success",
        hint="see its journal; many sockets need a higher LimitNOFILE for PID 1 (twice their number)",
    )


def _unwritable(error: OSError) -> Diagnostic:
    return Diagnostic(
        code="unit-directory",
        path=error.filename,
        message=f"units cannot be written: {error.strerror}",
        hint="mend this and sync again; it takes up where it stopped",
    )
