"""Runs the checks of ``check`` that go beyond planning: on the configs and on the machine around them."""

from __future__ import annotations

import glob
import os
import re
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from bridge.check.known_options import KnownOptions
from bridge.check.limits import find_limits, read_limits
from bridge.check.lint import (
    by_collision,
    find_misspelt,
    find_open_config,
    find_other_protocol,
    find_pidfile_clashes,
    find_removed_folders,
    lint,
)
from bridge.check.mirrors import find_magic
from bridge.check.missing_files import find_missing_files
from bridge.check.nginx import CONFIGS, find_passes
from bridge.check.obstacles import Obstacles
from bridge.check.reload import find_reload_hazard
from bridge.diagnostics import BridgeError, errors
from bridge.host.files import read_text
from bridge.host.listeners import make_canonical_address
from bridge.host.second_process import SecondProcess
from bridge.host.users import spellings
from bridge.monitors import has_mirrors
from bridge.reconcile import incremental
from bridge.reconcile.conflicts import find_conflicts
from bridge.reconcile.occupied import occupied_addresses
from bridge.reconcile.preview import read
from bridge.reconcile.run import RunOptions
from bridge.systemd.manager import connected
from bridge.vassals.spawn import spawn_defaults

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bridge.config.paths import Paths
    from bridge.config.settings import Settings
    from bridge.diagnostics import Diagnostic
    from bridge.reconcile.desired import Desired
    from bridge.reconcile.reconciler import Reconciler
    from bridge.reconcile.run import PlannedRun
    from bridge.vassals.spawn import SpawnDefaults

_MANY = 256
"""Vassals that take longer to check than a child process takes to start."""
_RUNTIME = re.compile(r"^RuntimeDirectory=(?P<names>.+)$", re.MULTILINE)
_KEPT = re.compile(r"^RuntimeDirectoryPreserve=(yes|true|1|on)\s*$", re.MULTILINE)


class VassalChecks:
    """Checks all vassals. Of many it does so in a process of its own, while the plan is made.

    They are checked as they were read: also one that the plan then refuses.
    """

    def __init__(self, settings: Settings, paths: Paths) -> None:
        self._settings = settings
        self._paths = paths
        self._process: SecondProcess[list[Diagnostic]] | None = None

    def options(self, reconciler: Reconciler, *, covers_all: bool) -> RunOptions:
        """Return how to plan. The configs of many vassals begin to be read and checked at once, beside the plan.

        ``covers_all``: whether the plan must be of all vassals.
        """
        keys = [monitor.keys() or () for monitor in reconciler.monitors]
        # To ask a command, or for what a database says, is not done twice.
        is_repeatable = incremental.is_possible(self._settings) and not has_mirrors(self._settings)
        if not is_repeatable or sum(map(len, keys)) < _MANY:
            return RunOptions(with_configs=self.begin)
        self._process = SecondProcess(
            partial(_read_and_found, reconciler, self._settings, self._paths), is_worth_it=True
        )
        return RunOptions(with_configs=lambda _: None, covers_changes=not covers_all)

    def begin(self, desired: Desired) -> None:
        """Begin to check these vassals, whose configs were read.

        Raises:
            BridgeError: the settings name a program, user or group that is not there.
        """
        self.close()
        defaults = spawn_defaults(self._settings, user_manager=self._paths.user_manager)
        work = partial(_found, desired, defaults, self._paths)
        self._process = SecondProcess(work, is_worth_it=len(desired.configs) >= _MANY)

    def found(self) -> list[Diagnostic]:
        """Return what was found wrong."""
        return self._process.result() if self._process else []

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process:
            self._process.close()


def _read_and_found(reconciler: Reconciler, settings: Settings, paths: Paths) -> list[Diagnostic]:
    """Read all configs, and check them. The connection to the manager is another than the plan's."""
    try:
        with connected(paths) as manager:
            desired = read(reconciler.planner, manager)
    except BridgeError as error:
        if error.diagnostic.code != "no-manager":
            raise
        desired = read(reconciler.planner, None)
    return _found(desired, spawn_defaults(settings, user_manager=paths.user_manager), paths)


def _found(desired: Desired, defaults: SpawnDefaults, paths: Paths) -> list[Diagnostic]:
    return list(check_vassals(desired, defaults, paths))


def check_vassals(desired: Desired, defaults: SpawnDefaults, paths: Paths) -> Iterator[Diagnostic]:
    """Yield the warnings on the vassals' configs, also on those of rejected vassals.

    nginx's files and the unit files are read once for all vassals.
    """
    directories = _runtime_directories(paths)
    nginx = {path: read_text(path) for path in sorted(path for pattern in CONFIGS for path in glob.glob(pattern))}
    passes = by_collision(find_passes(nginx), make_canonical_address())
    served = [(one, desired.configs[one.vassal.key]) for one in desired.resolved]
    read = served + [(one, desired.configs[one.vassal.key]) for one in desired.drafts]
    # A wrapper is not uWSGI: it may not know --help, and might start something.
    options = KnownOptions("" if defaults.settings.emperor_wrapper else defaults.program)
    obstacles = Obstacles(paths.unit_path, of_many=True)
    # An option that has a vassal refused needs no warning beside that.
    refused = {(problem.key, problem.path, problem.line) for problem in errors(desired.diagnostics) if problem.line}
    for one, config in read:
        yield from (w for w in lint(one, config, spellings) if (w.key, w.path, w.line) not in refused)
        yield from find_removed_folders(one, directories)
        yield from find_reload_hazard(one)
        yield from find_magic(one.vassal)
        yield from find_other_protocol(one, config, passes)
        for obstacle in obstacles.of(one.vassal.service, drop_ins_only=True):
            yield obstacle.problem(one.vassal)
        if one.spawn.tenant is not None:
            yield from find_open_config(one.vassal, _modes(one.vassal.config.path))
        if known := options.known(config):
            yield from find_misspelt(one.vassal, config, known, partial(_texts, one.sources))
    yield from find_pidfile_clashes(read)
    yield from find_missing_files(read, options.plugin_folder, user_manager=paths.user_manager)
    yield from find_limits(served, read_limits())


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


def _runtime_directories(paths: Paths) -> dict[str, str]:
    """Return by folder in /run the unit with which systemd removes it (``RuntimeDirectory=``)."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    for folder in paths.unit_path:
        for path in sorted(glob.glob(f"{glob.escape(folder)}/*.service")):
            unit = os.path.basename(path)
            if unit in seen or unit.startswith("vassal-"):
                continue
            seen.add(unit)
            text = read_text(path)
            if "RuntimeDirectory=" in text and not _KEPT.search(text):
                names = [name for line in _RUNTIME.findall(text) for name in line.split()]
                found |= {f"/run/{name}": unit for name in names}
    return found


def _modes(config: str) -> dict[str, int]:
    modes = {}
    for path in (config, os.path.dirname(config)):
        with suppress(OSError):
            modes[path] = os.stat(path).st_mode
    return modes


def _texts(paths: Sequence[str]) -> str:
    return "".join(map(read_text, paths))
