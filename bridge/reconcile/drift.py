"""Detect drift: outdated configs, lost sockets, units that an admin stopped, and what an interrupted run left."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.host.links import changed_at
from bridge.model.unit_names import TARGET
from bridge.reconcile.config_folders import config_folders, folder_of
from bridge.reconcile.findings import Drift
from bridge.reconcile.sockets import lost_sockets
from bridge.vassals.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.reconcile.actual import ActualState
    from bridge.reconcile.desired import Desired
    from bridge.reconcile.run import RunContext
    from bridge.systemd.protocol import Manager

_HAVE_A_CONFIG = frozenset({"activating", "active", "reloading", "failed"})
"""States of services that have read their config, or gave up with it."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class DriftDetector:
    """Compares the actual state with what the last run left."""

    context: RunContext
    exiled: frozenset[str]
    """Labels of vassals that asked not to be started again."""
    follow: bool = True
    """Whether a config that is a symlink changes when its target does (unset by ``emperor-nofollow``)."""
    guard: Guard = field(default_factory=Guard)
    """Takes the vassals that cannot be examined."""

    def detect(self, desired: Desired, actual: ActualState, manager: Manager | None) -> Drift:
        """Detect all drift; without a manager, only what files tell.

        Raises:
            BridgeError: the manager cannot be asked.
        """
        context = self.context
        return Drift(
            outdated=self.outdated(desired, actual, manager) if manager else frozenset(),
            sockets_lost=lost_sockets(actual, manager, self.guard) if manager and context.sees_sockets else frozenset(),
            exiled=self.exiled,
            stopped_by_admin=self.stopped_units(actual) if context.leave_stopped else frozenset(),
            interrupted=context.interrupted,
            unread=context.unread,
        )

    def stopped_units(self, actual: ActualState) -> frozenset[str]:
        """Return the units that somebody else stopped.

        A run leaves all units up but those that fail, that want to be down, and that it notes. So a unit that is
        inactive now was stopped since. After a run that did not end, only the units it had noted are known to be.
        """
        context, last = self.context, self.context.last
        finished = context.stamp > 0
        candidates = {
            installed.primary_unit
            for label, installed in actual.installed.items()
            # Version 0.1.0 noted the paths of configs.
            if label not in self.exiled
            and not (finished and (installed.key in last.failed or installed.config in last.failed))
        } | {TARGET}
        return frozenset(
            unit
            for unit in candidates
            if actual.state(unit).active == "inactive"
            and unit not in context.interrupted
            and (finished or unit in last.stopped_by_admin)
        )

    def outdated(self, desired: Desired, actual: ActualState, manager: Manager) -> frozenset[str]:
        """Return the labels of vassals that run, or gave up, on an older config than the one on disk.

        The last run saw every change before it, so only newer files count. Where a folder was replaced, all its files
        are new, whatever their age: renaming a folder changes no file in it.

        Raises:
            BridgeError: the manager cannot be asked.
        """
        folders = config_folders(desired, actual, self.context.last)
        before = self.context.last.folders
        replaced = {folder for folder, inode in folders.items() if before.get(folder, inode) != inode}
        found = set()
        changed: dict[str, tuple[str, int]] = {}
        for vassal in (one.vassal for one in desired.resolved):
            is_pausing = not actual.state(vassal.pause).is_down
            if not is_pausing and actual.state(vassal.service).active not in _HAVE_A_CONFIG:
                continue
            path = vassal.config.path
            with self.guard.of(vassal):
                if vassal.service in self.context.untold or (replaced and folder_of(path) in replaced):
                    found.add(vassal.label)
                    continue
                with suppress(OSError):
                    when = changed_at(path) if self.follow else os.lstat(path).st_ctime_ns
                    if vassal.row and vassal.row.is_path:
                        # The config is the admin's file. Where it is touched, the row's note is written anew.
                        when = max(when, os.lstat(vassal.row.note).st_ctime_ns)
                    if when > self.context.stamp:
                        changed[vassal.service] = (vassal.label, when)
        since = manager.properties(list(changed), "Unit", "StateChangeTimestamp")
        found |= {label for unit, (label, when) in changed.items() if when > since.get(unit, 0) * 1000}
        return frozenset(found | _changed_during_start(changed, since, manager))


def _changed_during_start(
    changed: Mapping[str, tuple[str, int]], since: Mapping[str, int], manager: Manager
) -> set[str]:
    """Return the labels of vassals whose config changed after they were started and before they were ready.

    They may have read it before that. Nobody has reloaded them since: they are ready since their last change of state.
    """
    doubtful = [unit for unit, (_, when) in changed.items() if when <= since.get(unit, 0) * 1000]
    ready = manager.properties(doubtful, "Unit", "ActiveEnterTimestamp") if doubtful else {}
    began = manager.properties(doubtful, "Unit", "InactiveExitTimestamp") if doubtful else {}
    return {
        changed[unit][0]
        for unit in doubtful
        if ready.get(unit) == since[unit] and 0 < began.get(unit, 0) * 1000 < changed[unit][1]
    }
