from __future__ import annotations

import socket
import threading

import pytest

from bridge.feeder.loop import Loop
from bridge.feeder.protocol import (
    Begin,
    Done,
    Entry,
    Message,
    Note,
    Orders,
    ProtocolError,
    Put,
    Row,
    Trouble,
    Well,
    decode,
    encode,
)
from bridge.feeder.root_side import RootSide, RootSideGoneError


def test_messages_come_one_by_one_however_they_were_cut() -> None:
    loop, seen = Loop(), list[Message]()
    here, there = socket.socketpair()
    with here, there:
        RootSide(here, loop, seen.append)
        data = encode(Orders(scheme="pg")) + encode(Done(id=1)) + encode(Done(id=2))
        for piece in (data[:10], data[10:-5], data[-5:]):
            there.send(piece)
            loop.call_later(0, loop.stop)
            loop.run()
    assert seen == [Orders(scheme="pg"), Done(id=1), Done(id=2)]


def test_the_end_of_the_other_side_is_an_exception() -> None:
    loop = Loop()
    here, there = socket.socketpair()
    with here:
        root = RootSide(here, loop, lambda _: None)
        there.close()
        with pytest.raises(RootSideGoneError):
            loop.run()
        with pytest.raises(RootSideGoneError):
            root.send(Begin())


def test_what_is_no_message_is_an_error() -> None:
    loop = Loop()
    here, there = socket.socketpair()
    with here, there:
        RootSide(here, loop, lambda _: None)
        there.send(b"nonsense\n")
        with pytest.raises(ProtocolError):
            loop.run()


def test_a_full_socket_blocks_nobody_who_waits_for_his_answers_to_be_read() -> None:
    loop, seen = Loop(), list[Message]()
    here, there = socket.socketpair()
    count, answers = 200, 4000
    got: list[Message] = []

    def root_side() -> None:
        # It reads nothing before all its answers were taken: more than a socket's buffer holds.
        there.sendall(b"".join(encode(Done(id=number)) for number in range(answers)) + b"")
        with there.makefile("rb") as lines:
            got.extend(decode(next(lines)) for _ in range(count))
        there.sendall(encode(Done(id=-1)))

    def received(message: Message) -> None:
        seen.append(message)
        if message == Done(id=-1):
            loop.stop()

    with here, there:
        for end in (here, there):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        root = RootSide(here, loop, received)
        thread = threading.Thread(target=root_side)
        thread.start()
        rows = [Put(row=Row(name=f"{number}.ini", config="x" * 1000), id=number) for number in range(count)]
        for row in rows:
            root.send(row)
        loop.run()
        thread.join(10)
    assert got == rows
    assert [message.id for message in seen if isinstance(message, Done)] == [*range(answers), -1]


def test_secrets_are_hidden_in_what_people_read_and_nowhere_else() -> None:
    here, there = socket.socketpair()
    with here, there:
        root = RootSide(here, Loop(), lambda _: None)
        root.hide({"pa", "password", ""})
        root.trouble("with password and pa", "pa?")
        root.note("code", "the password", "it is password", name="pa.ini")
        root.send(Entry(Row(name="pa.ini", config="password")))
        with there.makefile("rb") as lines:
            messages = [decode(next(lines)) for _ in range(3)]
    assert messages == [
        Trouble(message="with *** and ***", hint="***?"),
        Note(code="code", message="the ***", hint="it is ***", name="pa.ini"),
        Entry(Row(name="pa.ini", config="password")),
    ]


def test_well_is_said_only_after_trouble() -> None:
    here, there = socket.socketpair()
    with here, there:
        root = RootSide(here, Loop(), lambda _: None)
        root.well()
        root.trouble("gone")
        root.well()
        root.well()
        root.send(Begin())
        with there.makefile("rb") as lines:
            assert [decode(next(lines)) for _ in range(3)] == [Trouble(message="gone"), Well(), Begin()]
