"""Calls on a connection whose other side answers in any order."""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import Any

import pytest
from jeepney import HeaderFields, Message, MessageType
from jeepney.low_level import Endianness, Header

from bridge.systemd import connection as connection_module
from bridge.systemd.bus import Bus, CallError

WHAT = ("/p", "i.f", "M", "")


class Connection:
    """The other side: it answers once it is told to."""

    def __init__(self) -> None:
        self.outgoing_serial = count(1)
        self.sent: list[int] = []
        self.parser: object = None
        self._answers: deque[Message] = deque()

    def send(self, _message: Message, *, serial: int) -> None:
        self.sent.append(serial)

    def answer(self, serial: int, *body: str, error: str = "") -> None:
        kind = MessageType.error if error else MessageType.method_return
        fields: dict[HeaderFields, Any] = {HeaderFields.reply_serial: serial}
        if error:
            fields[HeaderFields.error_name] = error
        header = Header(Endianness.little, kind, 0, 1, 0, 0, fields)
        self._answers.append(Message(header, body))

    def receive(self, *, timeout: float) -> Message:
        del timeout
        if not self._answers:
            raise TimeoutError
        return self._answers.popleft()


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Connection:
    made = Connection()
    monkeypatch.setattr(connection_module, "open_dbus_connection", lambda *_, **__: made)
    monkeypatch.setattr(connection_module, "CALL_TIMEOUT", 0.0)
    return made


def test_an_answer_that_comes_while_another_is_awaited_is_kept(connection: Connection) -> None:
    manager = Bus(user=False, service="a.b")
    answer = manager.ask(*WHAT)
    first, second = connection.sent[-1], connection.sent[-1] + 1
    connection.answer(first, "asked")
    connection.answer(second, "called")
    assert manager.call(*WHAT) == ("called",)
    assert answer() == ("asked",)


def test_an_answer_is_awaited_once_it_is_wanted(connection: Connection) -> None:
    manager = Bus(user=False, service="a.b")
    answer = manager.ask(*WHAT)
    connection.answer(connection.sent[-1], "asked")
    assert answer() == ("asked",)
    with pytest.raises(CallError, match="another call"):
        answer()


def test_an_error_is_raised_where_the_answer_is_wanted(connection: Connection) -> None:
    manager = Bus(user=False, service="a.b")
    answer = manager.ask(*WHAT)
    connection.answer(connection.sent[-1], "no", error="e.r")
    with pytest.raises(CallError, match="no") as raised:
        answer()
    assert raised.value.name == "e.r"


def test_without_an_answer_it_is_told(connection: Connection) -> None:
    answer = Bus(user=False, service="a.b").ask(*WHAT)
    assert connection.sent
    with pytest.raises(CallError, match="no answer came"):
        answer()


def test_only_the_last_question_is_kept(connection: Connection) -> None:
    manager = Bus(user=False, service="a.b")
    first, second = manager.ask(*WHAT), manager.ask(*WHAT)
    for serial in connection.sent:
        connection.answer(serial, str(serial))
    assert second() == (str(connection.sent[1]),)
    with pytest.raises(CallError, match="another call"):
        first()


def test_of_a_call_that_is_over_nothing_is_kept(connection: Connection) -> None:
    manager = Bus(user=False, service="a.b")
    early, late = manager.begin(*WHAT), manager.begin(*WHAT)
    connection.answer(early, "early")
    manager.await_begun(early)
    manager.forget_begun(early)
    manager.forget_begun(late)
    connection.answer(late, "late")
    manager.ask(*WHAT)
    answer = manager.ask(*WHAT)
    connection.answer(connection.sent[-1], "asked")
    answer()
    assert manager._begun == {}
