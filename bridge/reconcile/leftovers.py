"""After a run: what databases and brokers once said, and no vassal needs any more, is removed from the mirrors."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.monitors.base import Monitor
    from bridge.reconcile.run import PlannedRun


def settle(monitors: Iterable[Monitor], done: PlannedRun, mirrors: str) -> None:
    """Tell the monitors which vassals may have units after a run, and remove the mirrors that are no monitor's.

    Only a run of all vassals knows of each. ``mirrors`` is the folder of all mirrors. What cannot be removed stays
    until the next run.
    """
    removed, installed = done.removed, done.actual.installed
    if not (done.scope.is_all or removed):
        return
    gone = {installed[label].key for label in removed}
    used = {one.key: one.config for label, one in installed.items() if label not in removed}
    for monitor in monitors:
        monitor.settle(used.__contains__ if done.scope.is_all else lambda key: key not in gone)
    if done.scope.is_all and os.path.isdir(mirrors):
        _remove_strays(mirrors, {monitor.mirror for monitor in monitors}, list(used.values()))


def forget_mirrors(mirrors: str) -> None:
    """Remove all mirrors that no daemon keeps."""
    if os.path.isdir(mirrors):
        _remove_strays(mirrors, frozenset(), [])
        with suppress(OSError):
            os.rmdir(mirrors)


def _remove_strays(mirrors: str, known: Iterable[str], configs: Iterable[str]) -> None:
    import shutil

    from bridge.mirror.store import MirrorFolder

    kept = {*known, *(f"{mirrors}/{c.removeprefix(f'{mirrors}/').partition('/')[0]}" for c in configs)}
    for path in {f"{mirrors}/{name}" for name in os.listdir(mirrors)} - kept:
        if not MirrorFolder(path).has_writer():
            shutil.rmtree(path, ignore_errors=True)
