"""`status --follow`: show every change until interrupted."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from bridge.cli import output
from bridge.status.live import LiveStatus, StatusReport

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.systemd.manager import SystemdManager


def follow(manager: SystemdManager, look: Callable[[], StatusReport]) -> None:
    """Show all vassals and then every change, asleep in between, until interrupted.

    Raises:
        BridgeError: systemd cannot be asked any more.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        manager.listen()
        board = LiveStatus(look)
        if sys.stdout.isatty():
            with output.live_table() as draw:
                while True:
                    draw(board.rows)
                    board.take(manager)
        else:
            output.print_table(board.rows)
            while True:
                for event in board.take(manager):
                    output.print_event(board.name(event), event.event, event.text)
    except KeyboardInterrupt:
        pass
