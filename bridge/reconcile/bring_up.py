"""Start thousands of new sockets in shares: each share is read and written while systemd starts the one before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.model.unit_names import link_path, service_of
from bridge.progress import no_progress, stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bridge.progress import Progress
    from bridge.reconcile.steps import Plan
    from bridge.reconcile.unread import UnreadVassals
    from bridge.systemd.protocol import Manager
    from bridge.units.directory import UnitDirectory

SOCKET_PATIENCE, SOCKET_PATIENCE_EACH = 10.0, 0.02
"""Seconds that a run waits for sockets to start, and more for each of them; one that hangs goes on starting."""
SHARE = 2000
"""Sockets that are started as one job."""
FIRST_SHARE = 250
"""The same of the first share."""
GROWTH = 1.5
"""How much larger each share is than the one before. To start one takes systemd half as long again as to write it."""
REST = 500
"""A smaller rest is added to the last share: for each share systemd lists the unit files once more."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BringUp:
    """Starts sockets that systemd does not know."""

    directory: UnitDirectory
    manager: Manager
    progress: Progress
    unread: UnreadVassals | None

    def start(self, sockets: Sequence[str], plan: Plan, *, is_written: bool) -> None:
        """Start these sockets, and write their units unless that is done.

        Units are put in place once systemd has read those of the share before. In one go, the transaction of thousands
        of jobs would leave PID 1 with twice the memory that it needs.

        Raises:
            OSError: the disk or the file system refuses.
            BridgeError: systemd refuses.
        """
        at = 0
        for share in shares(sockets):
            self.progress("starting sockets", at, len(sockets))
            at += len(share)
            self._start(share if is_written else self._written(share, plan, is_last=at == len(sockets)), len(sockets))
        self.manager.join(timeout=patience(SHARE), progress=no_progress)

    def _written(self, share: list[str], plan: Plan, *, is_last: bool) -> list[str]:
        """Write the units of a share; return the sockets that have any: of some, the config may say otherwise."""
        texts = {unit: plan.write[unit] for socket in share for unit in _units(socket) if unit in plan.write}
        if self.unread is not None and (unread := [plan.unread[socket] for socket in share if socket in plan.unread]):
            texts |= self.unread.texts(unread)
        ready = [socket for socket in share if socket in texts]
        with self.directory.staged(texts) as publish:
            self.manager.await_loaded()
            publish()
        self.directory.link({path: plan.link[path] for path in map(link_path, ready) if path in plan.link})
        if is_last:
            self.directory.end_staging()
        return ready

    def _start(self, share: list[str], number: int) -> None:
        self.manager.join(timeout=patience(SHARE), progress=no_progress)
        if number > 1 and share:
            self.manager.launch(share)
        else:
            start_sockets(share, self.manager, self.progress)


def start_sockets(sockets: list[str], manager: Manager, progress: Progress) -> None:
    """Start sockets as one job, and wait for it.

    Raises:
        BridgeError: systemd refuses.
    """
    manager.start(sockets, timeout=patience(len(sockets)), progress=stage(progress, "starting sockets"))


def patience(sockets: int) -> float:
    """Return for how many seconds a run waits for so many sockets."""
    return SOCKET_PATIENCE + SOCKET_PATIENCE_EACH * sockets


def shares(sockets: Sequence[str]) -> Iterator[list[str]]:
    """Split sockets into shares to start. The first are small, so that systemd has something to do early."""
    at, size = 0, float(FIRST_SHARE)
    while at < len(sockets):
        end = at + min(int(size), SHARE)
        end = len(sockets) if len(sockets) - end < min(size, REST) else end
        yield list(sockets[at:end])
        at, size = end, size * GROWTH


def _units(socket: str) -> tuple[str, str]:
    return service_of(socket), socket
