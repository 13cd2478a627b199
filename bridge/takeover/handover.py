"""The switch from the Emperor to systemd: what is started when, so that no address is without a server for long.

At a unix path systemd replaces the file of a socket, also while the Emperor still listens on it. So a vassal that only
waits is handed over before the Emperor is stopped: no connection is refused or lost. Any other vassal is started as
soon as its own processes have ended, whatever the others do. The Emperor keeps its TCP sockets open until the last app
has ended. Once it was told to stop it does not look at them any more, so they are made to listen no more. Some
hundredths of a second pass until systemd listens there, and a connection that comes in that time is refused.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bridge.host.files import remove_with_folder, write_all
from bridge.host.listeners import heard, make_canonical_address, queued_at
from bridge.host.services import processes_of
from bridge.model.address import UnixAddress
from bridge.model.unit import DOWN
from bridge.model.unit_names import TARGET, label_of, service_of
from bridge.progress import no_progress
from bridge.reconcile.steps import Plan
from bridge.takeover.gap import Gap, GapWatch
from bridge.takeover.hold import DROP_IN, Hold
from bridge.takeover.holders import Holders, assign
from bridge.takeover.leavings import leavings
from bridge.takeover.remaining import Remaining

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from bridge.config.paths import Paths
    from bridge.host.services import ServiceProcess
    from bridge.model.address import Address
    from bridge.model.unit import UnitState
    from bridge.model.vassal import ResolvedVassal
    from bridge.reconcile.apply import PlanExecutor
    from bridge.reconcile.run import PlannedRun
    from bridge.state.lock import Pending
    from bridge.systemd.protocol import Manager
    from bridge.takeover.emperor import Emperor

PATIENCE = 90.0
"""Seconds after which an Emperor that does not end is killed with all its vassals; systemd's own limit is the same."""
KILL_PATIENCE = 10.0
SERVED_WITHIN = 10.0
"""Seconds for which vassals that run always may take until they listen."""
QUEUE_PATIENCE = 3.0
"""Seconds for which connections that wait for the Emperor's apps may delay the stop."""
TOGETHER, TOGETHER_EACH = 0.5, 0.01
"""Seconds for which vassals that have ended wait for others to end, and for each vassal, if that is less."""
HELD_WITHIN = 5.0
"""Seconds for which apps that are woken wait until all others listen that were started."""
ASK_EVERY = 3.0
"""Seconds between two questions to systemd for the state of the Emperor's service, once it stops: it is busy."""
_NICE = -15
_STEP = 0.02
"""Seconds between two looks at the Emperor's processes."""


@dataclass(kw_only=True, slots=True, eq=False, repr=False)
class Handover:
    """One switch from an Emperor to systemd."""

    manager: Manager
    emperor: Emperor
    paths: Paths
    boot_link: str
    """The link that starts the vassals at boot: it is not made here."""
    switching: Callable[[], None]
    """Called once all units are written, and before anything is started or stopped."""
    gap: Gap = field(default_factory=Gap)
    served: frozenset[str] = frozenset()
    """The labels of the vassals that the Emperor served."""

    def carry_out(self, executor: PlanExecutor, planned: PlannedRun, left: Pending) -> Pending:
        """Carry out a plan: write all units, then switch.

        Raises:
            BridgeError: systemd or the file system refuses; what was done so far stays.
        """
        plan, files = planned.plan, planned.actual.files
        links = {path: target for path, target in plan.link.items() if path != self.boot_link}
        quiet = replace(plan, start=(), reload=(), retry=(), link=links)
        left = executor.apply(quiet, files, planned.unmoved, left)
        self.switching()
        self._keep_folders()
        self._switch(executor, planned)
        rest = Plan(start=tuple(u for u in plan.start if u == TARGET), reload=plan.reload, retry=plan.retry)
        return executor.apply(rest, files, planned.unmoved, left)

    def look(self, vassals: Collection[ResolvedVassal]) -> Holders:
        """Return whose the processes of the Emperor's service are."""
        canonical_address = make_canonical_address()
        numbers: dict[Address, set[int]] = {}
        for one in heard():
            numbers.setdefault(canonical_address(one.address), set()).add(one.number)
        listened = {v.vassal.label: [numbers[a] for a in v.canonical_addresses if a in numbers] for v in vassals}
        at = {label: set().union(*found) for label, found in listened.items() if found}
        found = assign(self._processes(), vassals, at)
        self.served |= found.of.keys() | {label for label, those in at.items() if not found.sockets.isdisjoint(those)}
        return found

    def leavings(self) -> tuple[str, ...]:
        """Return the files that the Emperor may leave behind."""
        processes = self._processes()
        own = assign(processes, (), {}).own
        return tuple(leavings([process for process in processes if process.pid in own], heard()))

    def is_down(self) -> bool:
        """Tell whether nothing of the Emperor's service runs.

        Where only the main process is killed (``KillMode=process``), as in a service that systemd makes of a script in
        /etc/init.d, others can outlive the service (systemd.kill(5)).
        """
        return self._state().is_down and not self._processes()

    def wait_until_down(self) -> None:
        """Stop the Emperor and wait for its end; kill it in the end.

        Raises:
            BridgeError: systemd refuses.
        """
        self.manager.stop(self.emperor.units, timeout=PATIENCE, progress=no_progress)
        deadline = time.monotonic() + KILL_PATIENCE
        while self._state().is_down and self._processes() and time.monotonic() < deadline:
            time.sleep(_STEP)
        if not self.is_down():
            self.manager.kill([self.emperor.unit])
            self.manager.stop(self.emperor.units, timeout=KILL_PATIENCE, progress=no_progress)

    def forget(self) -> None:
        """Remove the drop-ins, and that the Emperor's unit failed, if it did."""
        is_due = Hold(self.paths, self.manager).forget()
        # A run that was killed can have left an empty folder.
        if os.path.isdir(os.path.dirname(self._drop_in)):
            remove_with_folder(self._drop_in)
            is_due = True
        if is_due:
            self.manager.daemon_reload()
        self.manager.reset_failed([self.emperor.unit])

    def _switch(self, executor: PlanExecutor, planned: PlannedRun) -> None:
        with suppress(OSError):
            # The machine is busy with apps that end and start.
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        accepted = {one.vassal.label: one for one in planned.conflicts.accepted}
        starts = {label_of(unit): unit for unit in planned.plan.start if unit != TARGET}
        found = self.look(accepted.values())
        labels = _addresses(found, [one for label, one in accepted.items() if label in self.served])
        watch = GapWatch(labels)
        try:
            waiting = [label for label in starts if label in found.waiting and _has_files_only(accepted.get(label))]
            executor.start([starts.pop(label) for label in waiting])
            _let_queues_run_empty(found.sockets)
            # One that was woken a moment ago is seen now. Once the Emperor stops, the machine is busy.
            found = self.look(accepted.values())
            hold = Hold(self.paths, self.manager)
            hold.prepare(service_of(unit) for unit in starts.values() if unit.endswith(".socket"))
            services = [unit for unit in starts.values() if unit.endswith(".service")]
            self.manager.stop(self.emperor.units, timeout=0.0, progress=no_progress)
            watch.retire(found.own_sockets.difference(*found.held.values()))
            rest = Remaining(units=starts, vassals=accepted, found=found)
            for freed in self._start_freed(executor, rest, watch, hold):
                # What was started just now is not in a sample yet.
                if hold.is_on and not freed and not any(labels[address] not in rest.units for address in watch.silent):
                    hold.end()
            watch.wait(HELD_WITHIN)
            hold.end()
            self.manager.join(timeout=SERVED_WITHIN, progress=no_progress)
            self._wait_for(services)
            watch.wait(SERVED_WITHIN)
        finally:
            self.gap = watch.close()
        self.wait_until_down()

    def _start_freed(self, executor: PlanExecutor, rest: Remaining, watch: GapWatch, hold: Hold) -> Iterator[list[str]]:
        """Start each vassal as soon as nothing of it runs under the Emperor; yield what each round started."""
        began = asked = time.monotonic()
        state = self._state()
        # Most end within a moment. Together they are started faster.
        together = began + min(TOGETHER, TOGETHER_EACH * len(rest.units))
        while rest.units:
            now = time.monotonic()
            if now > began + PATIENCE:
                self.wait_until_down()
            if state.active != "deactivating" or now > asked + ASK_EVERY:
                state, asked = self._state(), now
            is_down = state.is_down and not self._processes()
            watch.retire(rest.note_ended(is_down=is_down))
            freed: list[str] = []
            if now > together or not rest.is_any_left:
                if state.active == "deactivating":
                    rest.release()
                freed = rest.take_freed(is_down=is_down)
            if freed:
                hold.begin()
                executor.start(freed)
            else:
                time.sleep(_STEP)
            yield freed

    def _wait_for(self, services: Collection[str]) -> None:
        """Wait until services that are starting have started; a slow one goes on starting."""
        states = self.manager.units(services) if services else {}
        starting = [unit for unit, state in states.items() if state.active == "activating"]
        self.manager.start(starting, timeout=SERVED_WITHIN, progress=no_progress)

    def _processes(self) -> list[ServiceProcess]:
        return processes_of(self.emperor.unit, is_users=self.paths.user_manager)

    def _state(self) -> UnitState:
        return self.manager.units([self.emperor.unit]).get(self.emperor.unit, DOWN)

    def _keep_folders(self) -> None:
        """Have systemd keep what it would remove with the Emperor: folders in which vassals have their sockets.

        Debian's uwsgi-emperor.service has ``RuntimeDirectory=uwsgi`` (systemd.exec(5)).
        """
        unit = self.emperor.unit
        folders = self.manager.properties([unit], "Service", "RuntimeDirectory").get(unit)
        if not folders or self.manager.properties([unit], "Service", "RuntimeDirectoryPreserve").get(unit) == "yes":
            return
        folder, name = os.path.split(self._drop_in)
        os.makedirs(folder, exist_ok=True)
        write_all(
            folder, {name: "# Made by emperor-bridge for a take-over.\n[Service]\nRuntimeDirectoryPreserve=yes\n"}
        )
        self.manager.daemon_reload()

    @property
    def _drop_in(self) -> str:
        return f"{self.paths.runtime_units}/{self.emperor.unit}.d/{DROP_IN}"


def _has_files_only(resolved: ResolvedVassal | None) -> bool:
    """Tell whether all addresses of a vassal that waits are unix paths, where systemd can replace the file."""
    return resolved is not None and all(isinstance(address, UnixAddress) for address in resolved.canonical_addresses)


def _let_queues_run_empty(sockets: Collection[int]) -> None:
    """Wait until no connection waits for an app of the Emperor's, such as for one that was woken a moment ago.

    What waits when the Emperor stops is lost. Where apps are asked all the time, no queue is empty for long.
    """
    deadline, empty = time.monotonic() + QUEUE_PATIENCE, 0
    while empty < 3 and time.monotonic() < deadline:
        empty = 0 if queued_at(sockets) else empty + 1
        time.sleep(_STEP)


def _addresses(found: Holders, served: Iterable[ResolvedVassal]) -> dict[Address, str]:
    """Return where vassals are served under the Emperor, each address with the vassal's label.

    They wait there, or they run always and have bound it.
    """
    canonical_address = make_canonical_address()
    waiting: dict[Address, str] = {}
    bound: dict[int, str] = {}
    for one in served:
        waiting |= dict.fromkeys(one.canonical_addresses, one.vassal.label)
        if not one.canonical_addresses:
            bound |= dict.fromkeys(found.held.get(one.vassal.label, frozenset()) - found.own_sockets, one.vassal.label)
    labels = {}
    for address, number in ((canonical_address(one.address), one.number) for one in heard()):
        if label := waiting.get(address) or bound.get(number):
            labels[address] = label
    return labels
