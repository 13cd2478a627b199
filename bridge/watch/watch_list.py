"""Decide which files and folders to watch: configs, rule files, links, sockets and the bridge's own configuration."""

from __future__ import annotations

import os
import shlex
import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

from bridge.config.settings import RuleKind
from bridge.diagnostics import Diagnostic, Severity
from bridge.host.links import readlink
from bridge.host.path_watch import WatchList
from bridge.model.address import UnixAddress
from bridge.vassals.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bridge.config.settings import Settings
    from bridge.model.address import Address
    from bridge.model.vassal import Vassal
    from bridge.monitors.base import Monitor
    from bridge.reconcile.desired import Desired
    from bridge.reconcile.run import PlannedRun

LINK_FOLDERS = 1000
"""Folders that are watched at most for the symlinks of one owner, who is not root: the kernel has a limit for all."""


class WatchedPaths:
    """What the daemon watches, brought up to date after each run; and which sockets in it are systemd's."""

    def __init__(self, monitors: Iterable[Monitor], settings: Settings, configuration: Iterable[str]) -> None:
        """Begin with what must be watched before any vassal is known; ``configuration`` as for :func:`base_list`."""
        self._sockets: dict[str, int] = {}
        """The device and inode of each socket that systemd made, in one number, by its path."""
        self.configure(monitors, settings, configuration)
        self._list = self._base_list()
        self.vassal_folders: set[str] = set()
        """The folders in which a config, a rule file or the configuration can change; the others have only sockets."""

    @property
    def names(self) -> Mapping[str, set[str]]:
        """The names to watch, by their folder."""
        return self._list.names

    def configure(self, monitors: Iterable[Monitor], settings: Settings, configuration: Iterable[str]) -> None:
        """Take over another configuration, which counts from the next run of all vassals."""
        self._monitors, self._settings, self._configuration = tuple(monitors), settings, tuple(configuration)

    def update(self, planned: PlannedRun) -> tuple[Diagnostic, ...]:
        """Watch what a run found: the links and sockets of the vassals in its scope; return what went wrong."""
        guard = Guard()
        if planned.scope.is_all:
            self._sockets = {}
            self._list = self._base_list()
            before = set()
        else:
            self._forget_sockets(planned)
            before = set(self.names)
        cut = add_links(self._list, self._settings, planned.desired, guard)
        self.vassal_folders = (self.vassal_folders & before) | (self.names.keys() - before)
        add_sockets(self._list, planned.desired, guard)
        made = (path for one in planned.conflicts.accepted for path in _paths(one.addresses))
        self._sockets |= {path: inode for path in made if (inode := _inode(path))}
        return (*guard.problems.values(), *cut)

    def memory(self) -> object:
        """Return what runs have found, for :meth:`recall` in another process."""
        return self._sockets, self._list, self.vassal_folders

    def recall(self, memory: Any) -> None:
        """Take over what another process has found."""
        self._sockets, self._list, self.vassal_folders = memory

    def is_unchanged_socket(self, path: str) -> bool:
        """Return whether the path has the socket that systemd made there: its creation is no news."""
        known = self._sockets.get(path)
        return known is not None and known == _inode(path)

    def has_lost_socket(self) -> bool:
        """Return whether any socket that systemd made was removed or replaced."""
        return any(_inode(path) != inode for path, inode in self._sockets.items())

    def _base_list(self) -> WatchList:
        return base_list(self._monitors, self._settings, self._configuration)

    def _forget_sockets(self, planned: PlannedRun) -> None:
        for installed in planned.actual.installed.values():
            for path in _paths(installed.addresses):
                self._sockets.pop(path, None)
                self._list.forget(path)


def base_list(monitors: Iterable[Monitor], settings: Settings, configuration: Iterable[str]) -> WatchList:
    """Return what to watch whatever vassals there are.

    Args:
        monitors: the open monitors, each of which adds what it reads.
        settings: these may name an on-demand command, which is watched if it is the rule in force.
        configuration: the files and folders that the settings came from.
    """
    watch_list = WatchList(readlink)
    for path in configuration:
        watch_list.file(path)
    for monitor in monitors:
        monitor.watch(watch_list)
    for path in _rule_programs(settings):
        watch_list.file(path)
    return watch_list


def add_links(watch_list: WatchList, settings: Settings, desired: Desired, guard: Guard) -> list[Diagnostic]:
    """Watch the targets of configs and rule files that are symlinks: only these can be outside the watched folders.

    One owner's links may lead through ``LINK_FOLDERS`` folders. Returns a warning for each vassal whose links would
    lead through more: a change there is noticed at the next run of all vassals.
    """
    cut: list[Diagnostic] = []
    folders: Counter[int] = Counter()
    suffixes = dict.fromkeys(("", settings.on_demand_rule.extension))
    for vassal in _vassals(desired):
        owner = vassal.config.owner.uid
        with guard.of(vassal):
            for path in (vassal.config.path + suffix for suffix in suffixes):
                if not os.path.islink(path):
                    continue
                if owner and folders[owner] >= LINK_FOLDERS:
                    cut.append(_unwatched(vassal))
                    break
                before = len(watch_list.names)
                watch_list.file(path)
                folders[owner] += len(watch_list.names) - before
    return cut


def _unwatched(vassal: Vassal) -> Diagnostic:
    return vassal.problem(
        "links-unwatched",
        f"symlinks of its owner lead through more than {LINK_FOLDERS} folders, so this one's target is not watched",
        "put the configs into few folders; a change of the target counts when any other change has all vassals read",
        severity=Severity.WARNING,
    )


def add_sockets(watch_list: WatchList, desired: Desired, guard: Guard) -> None:
    """Watch the unix sockets of the vassals."""
    for resolved in desired.resolved:
        with guard.of(resolved.vassal):
            for path in _paths(resolved.addresses):
                watch_list.file(path)


def _paths(addresses: Iterable[Address]) -> Iterator[str]:
    return (address.path for address in addresses if isinstance(address, UnixAddress))


def _vassals(desired: Desired) -> Iterable[Vassal]:
    yield from (resolved.vassal for resolved in desired.resolved)
    yield from (rejection.vassal for rejection in desired.rejections)


def _rule_programs(settings: Settings) -> list[str]:
    """Return the files of the exec rule, if it is in force: the program, and the arguments that are files."""
    rule = settings.on_demand_rule
    if rule.kind is not RuleKind.EXEC:
        return []
    try:
        words = shlex.split(rule.value)
    except ValueError:
        # The run reports this.
        return []
    if words and (program := shutil.which(words[0])):
        words[0] = os.path.abspath(program)
    return [word for word in words if word.startswith("/") and os.path.isfile(word)]


def _inode(path: str) -> int | None:
    try:
        info = os.lstat(path)
    except OSError:
        return None
    return info.st_dev << 64 | info.st_ino
