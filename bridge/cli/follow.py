"""`status --follow`: show every change until interrupted."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from bridge.cli import output
from bridge.status.live import LiveStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.status.report import StatusReport
    from bridge.systemd.manager import SystemdManager


def follow(manager: SystemdManager, read: Callable[[], StatusReport]) -> None:
    """Print all vassals and then every change, until interrupted. Between changes the process sleeps.

    Raises:
        BridgeError: systemd cannot be asked any more.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        manager.listen()
        status = LiveStatus(read)
        if sys.stdout.isatty():
            with output.live_table() as draw:
                while True:
                    draw(status.rows)
                    status.wait_for_events(manager)
        else:
            output.print_table(status.rows)
            while True:
                for event in status.wait_for_events(manager):
                    output.print_event(status.name(event), event.event, event.text)
    except KeyboardInterrupt:
        pass
