"""A D-Bus connection to one service: single calls, many calls at once, and signals."""

from __future__ import annotations

import os
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from jeepney import DBusAddress, HeaderFields, MatchRule, Message, MessageType, new_method_call
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.systemd.dbus_parser import SKIPPED, Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    SignalFilter = Callable[[str, str, tuple[Any, ...]], tuple[Any, ...] | None]
    """Takes a signal's path, name and body; returns the part of the body to keep, or None to drop the signal."""

WINDOW = 64
"""Calls that may wait for an answer at once: dbus-daemon allows 128 on one connection."""
_DAEMON = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
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


class Bus:
    """A connection to one service on a bus. Calls block; signals that come meanwhile wait for :meth:`next_signal`."""

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
        self._asked: tuple[int, Message | None] = (0, None)
        self._waiting: Callable[[], None] = lambda: None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def call(self, path: str, interface: str, method: str, signature: str = "", *body: object) -> tuple[Any, ...]:
        """Call a method and return its answer.

        Raises:
            CallError: the answer is an error, or none came.
        """
        return self._answer(self._send(DBusAddress(path, self._service, interface), method, signature, body))

    def begin(self, path: str, interface: str, method: str, signature: str, *body: object) -> int:
        """Call a method and do not wait for the answer; :meth:`next_signal` raises if the answer is an error.

        Raises:
            CallError: the connection broke.
        """
        serial = self._send(DBusAddress(path, self._service, interface), method, signature, body)
        self._begun[serial] = None
        return serial

    def await_begun(self, serial: int) -> None:
        """Wait for the answer to a call of :meth:`begin`, and leave it to :meth:`next_signal`. Raises as that."""
        while self._begun[serial] is None:
            self._receive_answer()

    def ask(self, path: str, interface: str, method: str, signature: str, *body: object) -> Callable[[], Any]:
        """Call a method and do not wait; the function returned does, and returns the answer. Only the last is kept.

        Raises:
            CallError: the connection broke. The function raises as :meth:`call`.
        """
        asked = self._send(DBusAddress(path, self._service, interface), method, signature, body)
        self._asked = (asked, None)
        return partial(self._asked_answer, asked)

    def call_many(
        self, calls: Iterable[tuple[str, str, str, str, tuple[object, ...]]]
    ) -> list[tuple[Any, ...] | CallError]:
        """Make many calls, up to ``WINDOW`` at once; return the answers in the order of the calls."""
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
                    waiting[self._send(DBusAddress(path, self._service, interface), method, signature, body)] = number
            if waiting:
                message = self._receive_answer()
                if (at := waiting.pop(message.header.fields.get(HeaderFields.reply_serial, -1), None)) is not None:
                    try:
                        answers[at] = _body(message)
                    except CallError as error:
                        answers[at] = error
        return [answers[number] for number in range(len(answers))]

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

    def subscribe(self, interface: str, signal: str, *, below: str) -> None:
        """Subscribe to a signal of all objects below a path.

        Raises:
            CallError: the bus refuses.
        """
        rule = MatchRule(type="signal", sender=self._service, interface=interface, member=signal, path_namespace=below)
        self._match("AddMatch", rule)

    def match(self, interface: str, signal: str, *, unit: str = "") -> None:
        """Subscribe to a signal, or only to those with ``unit`` as third argument, until :meth:`unmatch`.

        Raises:
            CallError: the bus refuses.
        """
        self._match("AddMatch", _rule(self._service, interface, signal, unit))

    def unmatch(self, interface: str, signal: str, *, unit: str = "") -> None:
        """End the subscription of :meth:`match`. Raises as that."""
        self._match("RemoveMatch", _rule(self._service, interface, signal, unit))

    def next_signal(self, deadline: float, *, begun: int = 0) -> tuple[str, str, tuple[Any, ...]] | None:
        """Return the next signal's path, name and body, or None once ``time.monotonic()`` has reached ``deadline``.

        With a deadline in the past it does not wait. ``begun`` is the serial of the call whose signal is awaited: if
        that call failed, its error is raised.

        Raises:
            CallError: the connection broke, or the call ``begun`` failed.
        """
        while not self._signals:
            if (answer := self._begun.get(begun)) is not None:
                self._begun[begun] = None
                _body(answer)
            if self._receive(max(0.0, deadline - time.monotonic())) is None:
                return None
        return self._signals.popleft()

    def _match(self, method: str, rule: MatchRule) -> None:
        # jeepney's own proxy would lose signals that arrive while it waits.
        self._answer(self._send(_DAEMON, method, "s", (rule.serialise(),)))

    def _answer(self, serial: int) -> tuple[Any, ...]:
        while True:
            message = self._receive_answer()
            if message.header.fields.get(HeaderFields.reply_serial) == serial:
                return _body(message)

    def _asked_answer(self, serial: int) -> tuple[Any, ...]:
        while True:
            asked, message = self._asked
            if asked != serial:
                raise CallError("lost", "another call was made in its place")
            if message is not None:
                self._asked = (0, None)
                return _body(message)
            self._receive_answer()

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
        elif serial == self._asked[0]:
            self._asked = (serial, message)
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


def _rule(service: str, interface: str, signal: str, unit: str) -> MatchRule:
    rule = MatchRule(type="signal", sender=service, interface=interface, member=signal)
    if unit:
        rule.add_arg_condition(2, unit)
    return rule


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
