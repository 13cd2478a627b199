"""Tell systemd the state of the daemon's own service (sd_notify(3)), and answer its watchdog in time."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_MICRO = 1_000_000


class ServiceState:
    """The daemon's own service, as systemd knows it; without ``$NOTIFY_SOCKET`` nothing is sent."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._is_ready = False
        # systemd.service(5), WatchdogSec=: half of that time is what sd_watchdog_enabled(3) recommends.
        self._interval = int(os.environ.get("WATCHDOG_USEC", "0")) / _MICRO / 2
        self._due = self._clock() + self._interval if self._interval else None

    def status(self, text: str) -> None:
        """Set the line that ``systemctl status`` shows."""
        _send("STATUS", text)

    def ready(self) -> None:
        """Send READY=1 once: after the first run, and after each reload of the configuration."""
        if not self._is_ready:
            _send("READY")
        self._is_ready = True

    def reloading(self) -> None:
        """Send RELOADING=1; :meth:`ready` ends the reload."""
        _send("RELOADING")
        self._is_ready = False

    def stopping(self) -> None:
        """Send STOPPING=1."""
        _send("STOPPING")

    def alive(self) -> None:
        """Send WATCHDOG=1 if its time has come."""
        if self._due is not None and (now := self._clock()) >= self._due:
            _send("WATCHDOG")
            self._due = now + self._interval

    def due(self) -> float | None:
        """Return when the next WATCHDOG=1 must be sent, on the clock; None: systemd watches no time limit."""
        return self._due


def _send(kind: str, value: str | None = None) -> None:
    if "NOTIFY_SOCKET" in os.environ:
        from cysystemd.daemon import Notification, notify

        notify(Notification[kind], *(() if value is None else (value,)))
