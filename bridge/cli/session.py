"""Open what a command works with: a reconciler, a connection to the service manager, a progress bar."""

from __future__ import annotations

import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from bridge.progress import no_progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.config.load import Invocation
    from bridge.progress import Progress
    from bridge.reconcile.reconciler import Reconciler
    from bridge.systemd.manager import SystemdManager


def open_reconciler(invocation: Invocation, progress: Progress = no_progress) -> Reconciler:
    """Return a reconciler for this configuration. The caller closes it.

    Raises:
        BridgeError: the settings cannot be used.
    """
    from bridge.reconcile.reconciler import Reconciler

    return Reconciler(invocation.paths, invocation.settings, progress)


@contextmanager
def connected_reconciler(
    invocation: Invocation, *, shows_progress: bool = True
) -> Iterator[tuple[SystemdManager, Reconciler]]:
    """Yield a connection to the service manager and a reconciler, with a progress bar on a terminal.

    Raises:
        BridgeError: the manager cannot be reached, or the settings cannot be used.
    """
    from bridge.cli.output import ProgressBar
    from bridge.systemd.manager import connected

    with (
        closing(ProgressBar()) as bar,
        connected(invocation.paths) as manager,
        closing(open_reconciler(invocation, bar if shows_progress else no_progress)) as reconciler,
    ):
        yield manager, reconciler


def print_waiting() -> None:
    """Print that this run waits for the lock."""
    sys.stderr.write("another emperor-bridge is at work; waiting for it\n")
    sys.stderr.flush()
