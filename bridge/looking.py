"""What a plan must know beyond files and units: what is foreign, taken, outdated or lost."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from bridge.address import UnixAddress
from bridge.diagnostics import BridgeError, Diagnostic
from bridge.observed import Ownership
from bridge.probe import occupied
from bridge.trails import Trails
from bridge.units import COMMON, pause_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.address import Address
    from bridge.admission import Desired
    from bridge.observed import Observed
    from bridge.systemd import Manager


def refuse_foreign_common(observed: Observed) -> None:
    """Refuse to work where the units that all vassals share are somebody else's.

    Raises:
        BridgeError: one of them is, or is masked.
    """
    for unit in COMMON:
        file = observed.files.get(unit)
        if file and file.ownership is Ownership.MASKED:
            code, path, message, hint = "unit-masked", file.path, f"{unit} is masked", f"systemctl unmask {unit}"
        elif file and file.ownership is Ownership.FOREIGN:
            code, path, message = "unit-foreign", file.path, f"{unit} was not made by this bridge"
            hint = "it is needed for the vassals: move that unit away"
        elif elsewhere := observed.elsewhere.get(unit):
            code, path, message = "unit-foreign", elsewhere, f"{unit} is there already, and not where this bridge works"
            hint = "move it away; if it is the bridge's: emperor-bridge remove, with --runtime if it is in /run"
        else:
            continue
        raise BridgeError(Diagnostic(code=code, path=path, message=message, hint=hint))


def occupied_addresses(desired: Desired, observed: Observed, *, asked: bool) -> dict[Address, str]:
    """Return the wanted addresses that cannot be listened on, each with the reason.

    ``asked`` tells whether the manager was; if not, whatever is installed is taken to listen.
    """
    own = {
        installed.identity
        for installed in observed.installed.values()
        if installed.identity and not (asked and observed.state(installed.socket).is_down)
    }
    return occupied((s.identity for s in desired.settled if s.identity), own)


def lost_sockets(observed: Observed, remembered: Mapping[str, tuple[int, int]]) -> frozenset[str]:
    """Return the labels of vassals whose socket systemd holds while its file is gone or another's.

    A file that was replaced can be told only where its inode is remembered.
    """
    lost = set()
    for label, installed in observed.installed.items():
        if isinstance(installed.address, UnixAddress) and observed.state(installed.socket).active == "active":
            path = installed.address.path
            try:
                info = os.lstat(path)
            except FileNotFoundError:
                lost.add(label)
                continue
            except OSError:
                continue
            known = remembered.get(path)
            if known and stat.S_ISSOCK(info.st_mode) and known != (info.st_dev, info.st_ino):
                lost.add(label)
    return frozenset(lost)


def outdated(desired: Desired, observed: Observed, manager: Manager, stamp: int) -> frozenset[str]:
    """Return the labels of vassals that run, or gave up, on an older config than the one on disk.

    A change that an earlier run has already seen was dealt with then, so only newer files are asked about.
    """
    changed: dict[str, tuple[str, int]] = {}
    for vassal in (s.vassal for s in desired.settled):
        pausing = not observed.state(pause_of(vassal.service)).is_down
        if pausing or observed.state(vassal.service).active in {"active", "failed"}:
            try:
                when = _changed_at(vassal.config)
            except OSError:
                continue
            if when > stamp:
                changed[vassal.service] = (vassal.label, when)
    since = manager.properties(list(changed), "Unit", "StateChangeTimestamp")
    return frozenset(label for unit, (label, when) in changed.items() if when > since.get(unit, 0) * 1000)


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

    Trails(readlink).file(path)
    return max(os.stat(path).st_ctime_ns, *(os.lstat(link).st_ctime_ns for link in links), 0)
