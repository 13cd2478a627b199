"""Where systemd really listens: sockets that were lost, and those that a drop-in of an admin's has changed."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from bridge.diagnostics import printable
from bridge.host.listeners import unheard
from bridge.host.sock_diag import INODE_MASK, bound_files, file_of, shown_listeners
from bridge.model.address import UnixAddress, listed
from bridge.reconcile.actual import ActualState
from bridge.vassals.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from bridge.diagnostics import Diagnostic
    from bridge.host.sock_diag import Listener
    from bridge.model.address import Address
    from bridge.model.unit import InstalledVassal
    from bridge.reconcile.desired import Desired
    from bridge.systemd.protocol import Manager


def lost_sockets(actual: ActualState, manager: Manager, guard: Guard) -> frozenset[str]:
    """Return the labels of vassals whose socket systemd takes for active, while no client can reach it.

    The file of a unix socket is gone or somebody else's, or the kernel has no socket at the address any more. Nothing
    is remembered for it: the kernel knows which file a socket was bound to.

    Raises:
        BridgeError: the manager cannot be asked.
    """
    # To repair a socket ends its app. So a file that changed just while it was examined is examined once more.
    return (lost := _lost(actual, manager, guard)) and lost & _lost(actual, manager, guard)


def has_lost(installed: Mapping[str, InstalledVassal], manager: Manager) -> bool:
    """Tell whether the socket of any of these vassals is lost, as after a daemon-reload.

    Raises:
        BridgeError: the manager cannot be asked.
    """
    return bool(lost_sockets(ActualState(installed=installed, states=manager.units()), manager, Guard()))


def silent_sockets(
    manager: Manager, waiting: Sequence[tuple[str, Collection[Address]]], shown: Sequence[Listener] | None = None
) -> set[str]:
    """Return those of the sockets that the kernel does not have.

    Args:
        manager: it knows which sockets are in a network namespace of their own, where the kernel shows none.
        waiting: the units of active sockets, each with an address in all its spellings.
        shown: the unix sockets that the kernel has, if it was asked just now.

    Raises:
        BridgeError: the manager cannot be asked.
    """
    # The kernel's tables change while they are read. So what they lack is looked for once more.
    for known in (shown, None):
        silent = unheard((address for _, spellings in waiting for address in spellings), known)
        waiting = [(unit, spellings) for unit, spellings in waiting if spellings and silent.issuperset(spellings)]
        if not waiting:
            return set()
    units = sorted({unit for unit, _ in waiting})
    apart = manager.properties(units, "Socket", "PrivateNetwork")
    elsewhere = manager.properties(units, "Socket", "NetworkNamespacePath")
    return {unit for unit in units if not apart.get(unit) and not elsewhere.get(unit)}


def find_moved_sockets(desired: Desired, actual: ActualState) -> Iterator[Diagnostic]:
    """Yield a problem for each vassal whose socket does not listen where its rule says, since a drop-in says so."""
    if not actual.listening:
        return
    rejected = (rejection.vassal for rejection in desired.rejections)
    for vassal in (*(resolved.vassal for resolved in desired.resolved), *rejected):
        installed = actual.installed.get(vassal.label)
        found = actual.listening.get(vassal.label)
        if installed is None or found is None or installed.key != vassal.key:
            continue
        paths = " and ".join(map(printable, found.drop_ins)) or "a drop-in"
        yield vassal.problem(
            "socket-drop-in",
            f"its socket is to listen on {listed(installed.addresses)}, and {paths} has it listen on {found} instead",
            "write the address into the rule or the config, and remove ListenStream= from the drop-in",
        )


def _lost(actual: ActualState, manager: Manager, guard: Guard) -> frozenset[str]:
    lost: set[str] = set()
    doubtful: dict[str, tuple[str, int]] = {}
    waiting: list[tuple[str, tuple[Address, ...]]] = []
    labels: dict[str, str] = {}
    shown = shown_listeners()
    bound = bound_files(shown or ())
    for label, installed in actual.installed.items():
        if actual.state(installed.socket).active != "active":
            continue
        labels[installed.socket] = label
        for spellings in _addresses(actual, label):
            with guard.of(installed):
                if isinstance(address := spellings[0], UnixAddress):
                    files = _files_at(spellings, bound)
                    found = _loss_of(address.path, files)
                    if not isinstance(found, bool):
                        doubtful[installed.socket] = (label, found)
                    elif found:
                        lost.add(label)
                    if files:
                        # The kernel has one there. To ask once more for each of thousands takes long.
                        continue
                waiting.append((installed.socket, spellings))
    # Two sockets were bound to this path. The file is systemd's if it is older than the unit's active state.
    since = manager.properties(list(doubtful), "Unit", "ActiveEnterTimestamp")
    lost |= {label for unit, (label, made) in doubtful.items() if 0 < since.get(unit, 0) * 1000 < made}
    # A daemon-reload can close a socket, which systemd does not see.
    return frozenset(lost | {labels[unit] for unit in silent_sockets(manager, waiting, shown)})


def _addresses(actual: ActualState, label: str) -> list[tuple[Address, ...]]:
    """Return where a vassal's socket should be, each address in all its spellings."""
    installed = actual.installed[label]
    if found := actual.listening.get(label):
        return [(address,) for address in found.addresses if not isinstance(address, str)]
    # systemd itself resolves /var/run, and takes other symlinked folders as they are written.
    return list(zip(installed.addresses, installed.canonical_addresses, strict=True))


def _files_at(spellings: tuple[Address, ...], bound: Mapping[str, set[int]]) -> Collection[int]:
    """Return the inodes of the sockets that were bound to a path, in any of its spellings. Most have only one."""
    if spellings[0] is spellings[-1]:
        return bound.get(str(spellings[0]), ())
    return set().union(*(bound.get(str(spelling), ()) for spelling in spellings))


def _loss_of(path: str, files: Collection[int]) -> bool | int:
    """Return whether an active socket has lost its file; where the kernel does not tell, when the file was made.

    ``files`` are the inodes bound to the path.
    """
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    if not files or not stat.S_ISSOCK(info.st_mode):
        return False
    if info.st_ino & INODE_MASK not in files and file_of(path) not in {None, *files}:
        return True
    return info.st_mtime_ns if len(files) > 1 else False
