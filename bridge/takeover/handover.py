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

from bridge.host.files import write_all
from bridge.host.listeners import heard, make_canonical_address, occupied, queued_at
from bridge.host.release import stop_listening
from bridge.host.services import has_ended, processes_of
from bridge.model.address import UnixAddress
from bridge.model.unit import DOWN
from bridge.model.unit_names import TARGET, label_of, service_of
from bridge.progress import no_progress
from bridge.reconcile.steps import Plan
from bridge.takeover.gap import Gap, GapWatch
from bridge.takeover.hold import DROP_IN, Hold, remove_drop_in
from bridge.takeover.holders import Holders, assign

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from bridge.config.paths import Paths
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
HELD_WITHIN = 2.0
"""Seconds for which apps that are woken wait until all addresses listen."""
ASK_EVERY = 0.5
"""Seconds between two questions to systemd for the state of the Emperor's service, once it stops."""
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
        at = {v.vassal.label: numbers[v.canonical_address] for v in vassals if v.canonical_address in numbers}
        processes = processes_of(self.emperor.unit, is_users=self.paths.user_manager)
        found = assign(processes, vassals, at)
        self.served |= found.of.keys() | {label for label, those in at.items() if not found.sockets.isdisjoint(those)}
        return found

    def is_down(self) -> bool:
        """Tell whether nothing of the Emperor's service runs."""
        return self._state().is_down

    def wait_until_down(self) -> None:
        """Stop the Emperor and wait for its end; kill it in the end.

        Raises:
            BridgeError: systemd refuses.
        """
        self.manager.stop(self.emperor.units, timeout=PATIENCE, progress=no_progress)
        if not self.is_down():
            self.manager.kill([self.emperor.unit])
            self.manager.stop(self.emperor.units, timeout=KILL_PATIENCE, progress=no_progress)

    def forget(self) -> None:
        """Remove the drop-ins, and that the Emperor's unit failed, if it did."""
        is_due = Hold(self.paths, self.manager).forget()
        # A run that was killed can have left an empty folder.
        if os.path.isdir(os.path.dirname(self._drop_in)):
            remove_drop_in(self._drop_in)
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
        watch = GapWatch(_addresses(found, [one for label, one in accepted.items() if label in self.served]))
        try:
            waiting = [label for label in starts if _only_waits(accepted.get(label), found)]
            executor.start([starts.pop(label) for label in waiting])
            _let_queues_run_empty(found.sockets)
            # One that was woken a moment ago is seen now. Once the Emperor stops, the machine is busy.
            found = self.look(accepted.values())
            hold = Hold(self.paths, self.manager)
            hold.prepare(service_of(unit) for unit in starts.values() if unit.endswith(".socket"))
            services = [unit for unit in starts.values() if unit.endswith(".service")]
            self.manager.stop(self.emperor.units, timeout=0.0, progress=no_progress)
            watch.retire(found.own_sockets.difference(*found.held.values()))
            hold.begin()
            self._start_freed(executor, _Rest(units=starts, vassals=accepted, found=found), watch)
            watch.wait(HELD_WITHIN)
            hold.end()
            self.manager.join(timeout=SERVED_WITHIN, progress=no_progress)
            self._wait_for(services)
            watch.wait(SERVED_WITHIN)
        finally:
            self.gap = watch.close()
        self.wait_until_down()

    def _start_freed(self, executor: PlanExecutor, rest: _Rest, watch: GapWatch) -> None:
        """Start each vassal as soon as nothing of it runs under the Emperor."""
        began = asked = time.monotonic()
        state = self._state()
        # Most end within a moment. Together they are started faster.
        together = began + min(TOGETHER, TOGETHER_EACH * len(rest.units))
        while rest.units:
            now = time.monotonic()
            if now > began + PATIENCE:
                self.wait_until_down()
            if state.active != "deactivating" or now > asked + ASK_EVERY:
                # It is busy, and may answer late.
                state, asked = self._state(), now
            watch.retire(rest.note_ended(is_down=state.is_down))
            freed: list[str] = []
            if now > together or not rest.is_any_left:
                if state.active == "deactivating":
                    rest.release()
                freed = rest.take_freed(is_down=state.is_down)
                executor.start(freed)
            if not freed:
                time.sleep(_STEP)

    def _wait_for(self, services: Collection[str]) -> None:
        """Wait until services that are starting have started; a slow one goes on starting."""
        states = self.manager.units(services) if services else {}
        starting = [unit for unit, state in states.items() if state.active == "activating"]
        self.manager.start(starting, timeout=SERVED_WITHIN, progress=no_progress)

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


@dataclass(kw_only=True, slots=True, eq=False, repr=False)
class _Rest:
    """The vassals that are still to be started."""

    units: dict[str, str]
    """What to start, by label."""
    vassals: Mapping[str, ResolvedVassal]
    found: Holders
    _ended: set[str] = field(default_factory=set)
    """The labels of those of which nothing runs under the Emperor any more."""

    @property
    def is_any_left(self) -> bool:
        """Whether something of a vassal still runs under the Emperor."""
        return len(self._ended) < len(self.units)

    def note_ended(self, *, is_down: bool) -> set[int]:
        """Note of which vassals nothing runs any more; return the sockets at which the Emperor's apps serve no more.

        ``is_down`` tells that nothing of the Emperor is left.
        """
        left = self.units.keys() - self._ended
        ended = {label for label in left if is_down or all(map(has_ended, self.found.awaited(label)))}
        self._ended |= ended
        return {number for label in ended for number in self.found.held.get(label, ())}

    def take_freed(self, *, is_down: bool) -> list[str]:
        """Return the units that can be started now; they are no longer among those to start."""
        wanted = {label: self._port(label) for label in self._ended}
        busy = {} if is_down else occupied(filter(None, wanted.values()), ())
        freed = [label for label, address in wanted.items() if address not in busy]
        self._ended.difference_update(freed)
        return [self.units.pop(label) for label in freed]

    def release(self) -> None:
        """Have the Emperor listen no more where vassals of which nothing runs wait to be started.

        It has been told to stop. Before that it would take the end of listening for a connection.
        """
        ports = {port for label in self._ended if (port := self._port(label))}
        numbers = {one.number for one in heard() if one.address in ports} & self.found.own_sockets
        if numbers:
            stop_listening(self.found.own, numbers)

    def _port(self, label: str) -> Address | None:
        """Return where a vassal is to wait if nobody else may listen there at the time."""
        address = self.vassals[label].canonical_address if label in self.vassals else None
        return None if isinstance(address, UnixAddress) else address


def _only_waits(resolved: ResolvedVassal | None, found: Holders) -> bool:
    """Tell whether a vassal waits at a unix path, and nothing of it runs."""
    is_there = resolved is not None and resolved.vassal.label not in found.of
    return is_there and resolved is not None and isinstance(resolved.canonical_address, UnixAddress)


def _let_queues_run_empty(sockets: Collection[int]) -> None:
    """Wait until no connection waits for an app of the Emperor's, such as for one that was woken a moment ago.

    What waits when the Emperor stops is lost. Where apps are asked all the time, no queue is empty for long.
    """
    deadline, empty = time.monotonic() + QUEUE_PATIENCE, 0
    while empty < 3 and time.monotonic() < deadline:
        empty = 0 if queued_at(sockets) else empty + 1
        time.sleep(_STEP)


def _addresses(found: Holders, served: Iterable[ResolvedVassal]) -> set[Address]:
    """Return where vassals are served under the Emperor: where they wait, and what those that run always have bound."""
    served = list(served)
    canonical_address = make_canonical_address()
    waiting = {one.canonical_address for one in served}
    always = (one.vassal.label for one in served if one.address is None)
    bound = {number for label in always for number in found.held.get(label, ())} - found.own_sockets
    listening = ((canonical_address(one.address), one.number) for one in heard())
    return {address for address, number in listening if address in waiting or number in bound}
