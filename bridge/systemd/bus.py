"""Calls on a D-Bus connection to one service, single and many at once, and its signals."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from jeepney import DBusAddress, HeaderFields, MatchRule, Message, MessageType

from bridge.systemd.connection import BusConnection, CallError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Bus", "CallError"]

WINDOW = 64
"""Calls that may wait for an answer at once: dbus-daemon allows 128 on one connection."""
_DAEMON = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")


class Bus(BusConnection):
    """A connection to one service on a bus. Calls block; signals that come meanwhile wait for :meth:`next_signal`."""

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

    def forget_begun(self, serial: int) -> None:
        """Keep nothing of a call of :meth:`begin` any more, whether the answer has come or comes yet."""
        self._begun.pop(serial, None)

    def ask(self, path: str, interface: str, method: str, signature: str, *body: object) -> Callable[[], Any]:
        """Call a method and do not wait; the function returned does, and returns the answer. Only the last is kept.

        Raises:
            CallError: the connection broke. The function raises as :meth:`call`.
        """
        self.forget_begun(self._asked)
        self._asked = self.begin(path, interface, method, signature, *body)
        return partial(self._asked_answer, self._asked)

    def call_many(
        self, calls: Iterable[tuple[str, str, str, str, tuple[object, ...]]]
    ) -> list[tuple[Any, ...] | CallError]:
        """Make many calls, up to ``WINDOW`` at once; return the answers in the order of the calls.

        Raises:
            CallError: the connection broke.
        """
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
        if serial not in self._begun:
            raise CallError("lost", "another call was made in its place")
        try:
            while (answer := self._begun[serial]) is None:
                self._receive_answer()
            return _body(answer)
        finally:
            self.forget_begun(serial)


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
