"""D-Bus, as much of it as the bridge needs: calls, many calls at once, and signals."""

from __future__ import annotations

import os
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from jeepney import DBusAddress, HeaderFields, MatchRule, Message, MessageType, message_bus, new_method_call
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from bridge.diagnostics import BridgeError, Diagnostic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Sift = Callable[[str, str, tuple[Any, ...]], tuple[Any, ...] | None]

WINDOW = 64
"""Calls that may wait for an answer at once: dbus-daemon allows 128 for a connection."""
CALL_TIMEOUT = 300.0
"""Seconds a call may take; a daemon-reload of many units takes long."""


class CallError(Exception):
    """The other side answered with an error, or not in time."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Bus:
    """A connection to the system's bus or the user's, speaking to one service on it.

    Calls block. Signals that arrive meanwhile are kept for :meth:`next_signal`.
    """

    def __init__(self, *, user: bool, service: str, sift: Sift = lambda _path, _name, body: body) -> None:
        """Connect; ``sift`` cuts a signal's body down to what matters before it is kept, or drops the signal.

        Raises:
            BridgeError: there is no bus, or it refuses.
        """
        address = "SYSTEM" if not user else _user_bus()
        try:
            self._connection: DBusConnection = open_dbus_connection(address)
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
        self._service = service
        self._sift = sift
        self._signals: deque[tuple[str, str, tuple[Any, ...]]] = deque()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def call(self, path: str, interface: str, method: str, signature: str = "", *body: object) -> tuple[Any, ...]:
        """Call a method and return its answer.

        Raises:
            CallError: the answer is an error, or none came.
        """
        serial = self._send(path, interface, method, signature, body)
        while True:
            message = self._receive(CALL_TIMEOUT)
            if message.header.fields.get(HeaderFields.reply_serial) == serial:
                return _body(message)

    def call_many(
        self, calls: Iterable[tuple[str, str, str, str, tuple[object, ...]]]
    ) -> list[tuple[Any, ...] | CallError]:
        """Make many calls, a window of them at a time; the answers are in the order of the calls."""
        waiting: dict[int, int] = {}
        answers: dict[int, tuple[Any, ...] | CallError] = {}
        source = enumerate(calls)
        exhausted = False
        while waiting or not exhausted:
            while not exhausted and len(waiting) < WINDOW:
                if (item := next(source, None)) is None:
                    exhausted = True
                else:
                    number, (path, interface, method, signature, body) = item
                    waiting[self._send(path, interface, method, signature, body)] = number
            if waiting:
                message = self._receive(CALL_TIMEOUT)
                if (at := waiting.pop(message.header.fields.get(HeaderFields.reply_serial, -1), None)) is not None:
                    try:
                        answers[at] = _body(message)
                    except CallError as error:
                        answers[at] = error
        return [answers[number] for number in range(len(answers))]

    def fileno(self) -> int:
        """Return the descriptor to wait on for signals."""
        descriptor: int = self._connection.sock.fileno()
        return descriptor

    def subscribe(self, interface: str, signal: str, *, path: str = "", below: str = "") -> Callable[[], None]:
        """Ask for a signal of one object, or of all below a path; return what ends the subscription.

        Raises:
            CallError: the bus refuses.
        """
        rule = MatchRule(
            type="signal",
            sender=self._service,
            interface=interface,
            member=signal,
            path=path or None,
            path_namespace=below or None,
        )
        _body(self._connection.send_and_get_reply(message_bus.AddMatch(rule)))

        def unsubscribe() -> None:
            _body(self._connection.send_and_get_reply(message_bus.RemoveMatch(rule)))

        return unsubscribe

    def next_signal(self, deadline: float) -> tuple[str, str, tuple[Any, ...]] | None:
        """Return the next signal's path, name and body, or None once ``time.monotonic()`` has reached ``deadline``.

        A deadline that is past yields what has arrived, without waiting.

        Raises:
            CallError: the connection broke.
        """
        while not self._signals:
            try:
                self._receive(max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                return None
        return self._signals.popleft()

    def _send(self, path: str, interface: str, method: str, signature: str, body: tuple[object, ...]) -> int:
        address = DBusAddress(path, self._service, interface)
        serial: int = next(self._connection.outgoing_serial)
        try:
            self._connection.send(new_method_call(address, method, signature or None, body), serial=serial)
        except OSError as error:
            raise CallError("broken", f"the connection to D-Bus broke: {error}") from error
        return serial

    def _receive(self, timeout: float) -> Message:
        try:
            message: Message = self._connection.receive(timeout=timeout)
        except TimeoutError:
            if timeout == CALL_TIMEOUT:
                raise CallError("timeout", f"no answer came within {timeout:g} s") from None
            raise
        except OSError as error:
            raise CallError("broken", f"the connection to D-Bus broke: {error}") from error
        if message.header.message_type is MessageType.signal:
            fields = message.header.fields
            path, name = fields[HeaderFields.path], fields[HeaderFields.member]
            if (body := self._sift(path, name, message.body)) is not None:
                self._signals.append((path, name, body))
        return message


def _body(message: Message) -> tuple[Any, ...]:
    body: tuple[Any, ...] = message.body
    if message.header.message_type is MessageType.error:
        text = str(body[0]) if body else ""
        raise CallError(str(message.header.fields.get(HeaderFields.error_name, "")), text or "no reason was given")
    return body


def _user_bus() -> str:
    if address := os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return address
    return f"unix:path={os.environ['XDG_RUNTIME_DIR']}/bus"
