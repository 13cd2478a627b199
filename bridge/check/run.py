"""Runs the checks of ``check`` that go beyond planning: on the configs and on the machine around them."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from bridge.check.vassals import check_vassals, put_together
from bridge.diagnostics import BridgeError
from bridge.host.second_process import SecondProcess
from bridge.monitors import has_mirrors
from bridge.progress import no_progress
from bridge.reconcile import incremental
from bridge.reconcile.conflicts import find_conflicts
from bridge.reconcile.occupied import occupied_addresses
from bridge.reconcile.preview import read
from bridge.reconcile.run import RunOptions
from bridge.systemd.manager import connected
from bridge.vassals.spawn import spawn_defaults

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from bridge.check.vassals import Found
    from bridge.config.paths import Paths
    from bridge.config.settings import Settings
    from bridge.diagnostics import Diagnostic
    from bridge.reconcile.desired import Desired
    from bridge.reconcile.reconciler import Reconciler
    from bridge.reconcile.run import PlannedRun
    from bridge.systemd.protocol import Manager
    from bridge.vassals.spawn import SpawnDefaults

_MANY = 256
"""Vassals that take longer to check than a child process takes to start."""
_CHILDS_SHARE = 0.57
"""Part of the vassals that the child reads and checks. This process has also to plan."""


class VassalChecks:
    """Checks all vassals. Of many, half are read and checked in a process of their own, from the beginning.

    Where they must be read once, that process begins when they have been read. They are checked as they were read: also
    one that the plan then refuses.
    """

    def __init__(self, settings: Settings, paths: Paths) -> None:
        self._settings = settings
        self._paths = paths
        self._process: SecondProcess[Found] | None = None
        self._rest: frozenset[str] | None = None
        """The keys of the vassals that the child leaves out."""
        self._read: Desired | None = None
        """What the plan has read."""

    def options(self, reconciler: Reconciler, *, covers_all: bool) -> RunOptions:
        """Begin, if there are many; return how to plan. ``covers_all``: whether the plan must be of all vassals."""
        keys = [key for monitor in reconciler.monitors for key in monitor.keys() or ()]
        # Neither a command nor a database is asked twice; and two monitors can have the same vassal.
        is_simple = incremental.is_possible(self._settings) and not has_mirrors(self._settings)
        if is_simple and len(reconciler.monitors) == 1 and len(keys) >= _MANY:
            others = round(len(keys) * _CHILDS_SHARE)
            self._rest = frozenset(keys[others:])
            work = partial(_read_and_check, reconciler, self._settings, self._paths, frozenset(keys[:others]))
            self._process = SecondProcess(work, is_worth_it=True)
        return RunOptions(with_configs=self._take, covers_changes=self._rest is not None and not covers_all)

    def _take(self, desired: Desired) -> None:
        """Take what the plan has read."""
        self._read = desired
        if not self._rest and len(desired.configs) >= _MANY:
            self.close()
            self._rest = frozenset()
            self._process = SecondProcess(
                partial(check_vassals, desired, self._defaults, self._paths), is_worth_it=True
            )

    def found(self, reconciler: Reconciler, manager: Manager | None) -> list[Diagnostic]:
        """Check the rest, and return all that was found wrong; after the plan, by its connection to the manager.

        Raises:
            BridgeError: the settings name a program, user or group that is not there.
        """
        desired = self._read or read(reconciler.planner, manager, self._rest)
        if self._rest is not None:
            desired = desired.part(self._rest)
        own = check_vassals(desired, self._defaults, self._paths)
        return put_together(*([self._process.result()] if self._process else []), own)

    @cached_property
    def _defaults(self) -> SpawnDefaults:
        return spawn_defaults(self._settings, user_manager=self._paths.user_manager)

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process:
            self._process.close()


def _read_and_check(reconciler: Reconciler, settings: Settings, paths: Paths, keys: Collection[str]) -> Found:
    """Read the configs of these vassals, and check them. The connection to the manager is another than the plan's."""
    # The parent shows the progress.
    planner = replace(reconciler.planner, progress=no_progress)
    try:
        with connected(paths) as manager:
            desired = read(planner, manager, keys)
    except BridgeError as error:
        if error.diagnostic.code != "no-manager":
            raise
        desired = read(planner, None, keys)
    return check_vassals(desired, spawn_defaults(settings, user_manager=paths.user_manager), paths)


def find_hidden_conflicts(planned: PlannedRun) -> Iterator[Diagnostic]:
    """Yield the conflicts that vassals would have with others if they were not rejected for themselves."""
    desired = planned.desired
    drafts = {draft.vassal.key for draft in desired.drafts}
    if not drafts:
        return
    others = tuple(rejection for rejection in desired.rejections if rejection.vassal.key not in drafts)
    whole = replace(desired, resolved=(*desired.resolved, *desired.drafts), rejections=others)
    conflicts = find_conflicts(whole, planned.actual, occupied_addresses(whole, planned.actual))
    yield from (problem for problem in conflicts.diagnostics if problem.key in drafts)
