"""A D-Bus connection to one service: what is sent and received, and which of it is kept."""

from __future__ import annotations

import os
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from jeepney import DBusAddress, HeaderFields, Message, MessageType, new_method_call
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.systemd.dbus_parser import SKIPPED, Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    SignalFilter = Callable[[str, str, tuple[Any, ...]], tuple[Any, ...] | None]
    """Takes a signal's path, name and body; returns the part of the body to keep, or None to drop the signal."""

CALL_TIMEOUT = 300.0
"""Seconds that a call may take; a daemon-reload of many units takes long."""
TICK = 1.0
"""Seconds after which somebody who waits is asked whether he has something else to do."""
SKIP_TIME = 0.05
"""Seconds for which signals are dropped at one go, though the time to wait is over."""


class CallError(Exception):
    """The service answered with an error or not in time, or the connection broke."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class BusConnection:
    """Sends to one service, and receives. Signals are kept, and the answers that somebody will ask for."""

    def __init__(
        self,
        *,
        user: bool,
        service: str,
        properties: Collection[str] = (),
        keep: SignalFilter = lambda _path, _name, body: body,
        passes_descriptors: bool = False,
    ) -> None:
        """Connect. With ``passes_descriptors``, calls may have file descriptors in them.

        The parser decodes only ``properties`` of those that changed. ``keep`` decides what to keep of each signal.

        Raises:
            BridgeError: there is no bus, or it refuses the connection.
        """
        address = "SYSTEM" if not user else _user_bus()
        try:
            self._connection: DBusConnection = open_dbus_connection(address, enable_fds=passes_descriptors)
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            whose = "your own service manager" if user else "systemd"
            problem = Diagnostic(
                code="no-manager",
                message=f"{whose} cannot be reached over D-Bus: {error}",
                hint="it must be running: see `systemctl --user status`"
                if user
                else "the host must run systemd and dbus",
            )
            raise BridgeError(problem) from error
        self._reader = self._connection.parser = Reader(properties)
        self._service = service
        self._keep = keep
        self._signals: deque[tuple[str, str, tuple[Any, ...]]] = deque()
        self._begun: dict[int, Message | None] = {}
        """Calls for whose answers nobody waits yet, by their serials, with the answers that have come."""
        self._asked = 0
        """The serial of the last call of :meth:`Bus.ask`."""
        self._waiting: Callable[[], None] = lambda: None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def fileno(self) -> int:
        """Return the file descriptor that becomes readable when a message arrives."""
        return int(self._connection.sock.fileno())

    def while_waiting(self, call: Callable[[], None]) -> None:
        """Have ``call`` called at least once in ``TICK`` seconds while a call or a signal is awaited."""
        self._waiting = call

    def mute(self, paths: Collection[str]) -> None:
        """Drop the signals of these objects undecoded, and of no others."""
        self._reader.muted = {path.encode() for path in paths}

    def take_signals(self) -> list[tuple[str, str, tuple[Any, ...]]]:
        """Return the signals that have been read already."""
        taken, self._signals = self._signals, deque()
        return list(taken)

    def _send(self, address: DBusAddress, method: str, signature: str, body: tuple[object, ...]) -> int:
        serial: int = next(self._connection.outgoing_serial)
        try:
            self._connection.send(new_method_call(address, method, signature or None, body), serial=serial)
        except OSError as error:
            raise CallError("broken", f"the connection to D-Bus broke: {error}") from error
        return serial

    def _receive_answer(self) -> Message:
        """Return the next message; while a call waits, one must come within ``CALL_TIMEOUT``."""
        message = self._receive(CALL_TIMEOUT)
        if message is None:
            raise CallError("timeout", f"no answer came within {CALL_TIMEOUT:g} s")
        return message

    def _receive(self, timeout: float) -> Message | None:
        """Return the next message, or None after ``timeout`` seconds; keep it if it is a signal."""
        if (message := self._next_message(time.monotonic() + timeout)) is None:
            return None
        if message.header.message_type is MessageType.signal:
            fields = message.header.fields
            path, name = fields[HeaderFields.path], fields[HeaderFields.member]
            if (body := self._keep(path, name, message.body)) is not None:
                self._signals.append((path, name, body))
        elif (serial := message.header.fields.get(HeaderFields.reply_serial)) in self._begun:
            self._begun[serial] = message
        return message

    def _next_message(self, deadline: float) -> Message | None:
        while True:
            self._waiting()
            left = max(0.0, deadline - time.monotonic())
            try:
                message = self._connection.receive(timeout=min(left, TICK))
            except TimeoutError:
                if left <= TICK:
                    return None
            except OSError as error:
                raise CallError("broken", f"the connection to D-Bus broke: {error}") from error
            else:
                if message is not SKIPPED:
                    return message
                if time.monotonic() > deadline + SKIP_TIME:
                    return None


def _user_bus() -> str:
    if address := os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return address
    return f"unix:path={os.environ['XDG_RUNTIME_DIR']}/bus"
