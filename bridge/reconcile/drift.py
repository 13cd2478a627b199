"""What a plan must know beyond files and units: what is foreign, taken, outdated or lost."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.host.listeners import occupied
from bridge.host.path_watch import WatchList
from bridge.host.sock_diag import INODE_MASK, bound_files, file_of
from bridge.model.address import UnixAddress
from bridge.model.unit import Ownership
from bridge.model.unit_names import COMMON, TARGET, pause_of

if TYPE_CHECKING:
    from bridge.model.address import Address
    from bridge.reconcile.actual import ActualState
    from bridge.reconcile.desired import Desired
    from bridge.reconcile.run import RunContext
    from bridge.state.last_run import LastRun
    from bridge.systemd.manager import Manager


def refuse_foreign_common(actual: ActualState) -> None:
    """Refuse to work where the units that all vassals share are somebody else's.

    Raises:
        BridgeError: one of them is, or is masked.
    """
    for unit in COMMON:
        file = actual.files.get(unit)
        if file and file.ownership is Ownership.MASKED:
            code, path, message, hint = "unit-masked", file.path, f"{unit} is masked", f"systemctl unmask {unit}"
        elif file and file.ownership is Ownership.FOREIGN:
            code, path, message = "unit-foreign", file.path, f"{unit} was not made by this bridge"
            hint = "it is needed for the vassals: move that unit away"
        elif elsewhere := actual.elsewhere.get(unit):
            code, path, message = "unit-foreign", elsewhere, f"{unit} is there already, and not where this bridge works"
            hint = "move it away; if it is the bridge's: emperor-bridge remove, with --runtime if it is in /run"
        else:
            continue
        raise BridgeError(Diagnostic(code=code, path=path, message=message, hint=hint))


def occupied_addresses(desired: Desired, actual: ActualState, *, asked: bool) -> dict[Address, str]:
    """Return the wanted addresses that cannot be listened on, each with the reason.

    ``asked`` tells whether the manager was; if not, whatever is installed is taken to listen.
    """
    own = {
        installed.canonical_address
        for installed in actual.installed.values()
        if installed.canonical_address and not (asked and actual.state(installed.socket).is_down)
    }
    return occupied((s.canonical_address for s in desired.resolved if s.canonical_address), own)


def lost_sockets(actual: ActualState, manager: Manager) -> frozenset[str]:
    """Return the labels of vassals whose socket systemd holds while its file is gone or another's.

    Nothing is remembered for it: the kernel tells which file a socket was bound to.
    """
    # To mend a socket ends its app: what changed just while it was looked at is looked at once more.
    return (lost := _lost(actual, manager)) and lost & _lost(actual, manager)


def _lost(actual: ActualState, manager: Manager) -> frozenset[str]:
    lost, doubtful = set(), {}
    bound = bound_files()
    for label, installed in actual.installed.items():
        if isinstance(installed.address, UnixAddress) and actual.state(installed.socket).active == "active":
            path = installed.address.path
            try:
                info = os.lstat(path)
            except FileNotFoundError:
                lost.add(label)
                continue
            except OSError:
                continue
            # systemd itself resolves /var/run, and takes other symlinked folders as they are written.
            files = bound.get(path, set()) | bound.get(str(installed.canonical_address), set())
            if not files or not stat.S_ISSOCK(info.st_mode):
                continue
            if info.st_ino & INODE_MASK not in files and file_of(path) not in {None, *files}:
                lost.add(label)
            elif len(files) > 1:
                doubtful[installed.socket] = (label, info.st_mtime_ns)
    # Two were bound to this path, and the file is one's: systemd's was made before systemd said that it listens.
    since = manager.properties(list(doubtful), "Unit", "ActiveEnterTimestamp")
    lost |= {label for unit, (label, made) in doubtful.items() if 0 < since.get(unit, 0) * 1000 < made}
    return frozenset(lost)


def stopped_units(actual: ActualState, circumstances: RunContext) -> frozenset[str]:
    """Return the units that somebody else stopped.

    A run that ends leaves all up but what fails, what wants to be down and what it notes. So what does nothing now was
    stopped since; after a run that did not end, that can be said only of what it had found so.
    """
    last, finished = circumstances.last, circumstances.stamp > 0
    down = {
        installed.waits_on
        for label, installed in actual.installed.items()
        if label not in actual.exiled and not (finished and installed.config in last.owed)
    } | {TARGET}
    return frozenset(
        unit for unit in down
        if actual.state(unit).active == "inactive" and unit not in actual.stale and (finished or unit in last.left)
    )  # fmt: skip


def config_folders(desired: Desired, actual: ActualState, last: LastRun) -> dict[str, int]:
    """Return the inode of each folder that configs are in; of one that has lost all of them, what it was with them.

    The place of a mount is an empty folder while it is not there: what comes back then is nothing new.
    """
    kept = {_folder(installed.config) for installed in actual.installed.values()}
    found = {folder: inode for folder, inode in last.folders.items() if folder in kept}
    for folder in {_folder(resolved.vassal.config) for resolved in desired.resolved}:
        with suppress(OSError):
            found[folder] = os.stat(folder).st_ino
    return found


def _folder(config: str) -> str:
    return os.path.dirname(os.path.realpath(config) if os.path.islink(config) else config)


def outdated(
    desired: Desired, actual: ActualState, manager: Manager, circumstances: RunContext, *, follow: bool = True
) -> frozenset[str]:
    """Return the labels of vassals that run, or gave up, on an older config than the one on disk.

    A change that an earlier run has already seen was dealt with then, so only newer files are asked about. Where the
    whole folder is another, files are new whatever their age: to rename a folder changes no file in it. Unless
    ``follow``, a config that is a symlink changes when the symlink does (``emperor-nofollow``).
    """
    folders = config_folders(desired, actual, circumstances.last)
    before = circumstances.last.folders
    exchanged = {folder for folder, inode in folders.items() if before.get(folder, inode) != inode}
    found = set()
    changed: dict[str, tuple[str, int]] = {}
    for vassal in (s.vassal for s in desired.resolved):
        pausing = not actual.state(pause_of(vassal.service)).is_down
        if pausing or actual.state(vassal.service).active in {"active", "failed"}:
            if exchanged and _folder(vassal.config) in exchanged:
                found.add(vassal.label)
                continue
            try:
                when = _changed_at(vassal.config) if follow else os.lstat(vassal.config).st_ctime_ns
            except OSError:
                continue
            if when > circumstances.stamp:
                changed[vassal.service] = (vassal.label, when)
    since = manager.properties(list(changed), "Unit", "StateChangeTimestamp")
    found |= {label for unit, (label, when) in changed.items() if when > since.get(unit, 0) * 1000}
    return frozenset(found)


def _changed_at(path: str) -> int:
    """Return when a file, or a symlink that leads to it, last changed.

    Every change and every touch sets the ctime, and nobody can set it to a day to come.

    Raises:
        OSError: it cannot be reached.
    """
    links = []

    def readlink(step: str) -> str | None:
        try:
            target = os.readlink(step)
        except OSError:
            return None
        links.append(step)
        return target

    WatchList(readlink).file(path)
    return max(os.stat(path).st_ctime_ns, *(os.lstat(link).st_ctime_ns for link in links), 0)
