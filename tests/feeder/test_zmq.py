"""The zmq feeder with real senders of pyzmq."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import zmq

from bridge.feeder.protocol import Note, Orders, Put, Remove, Trouble, Well
from bridge.feeder.unanswered import MOST

from ..servers.feeder import WAIT, MessageFeeder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = b"[uwsgi]\nmodule = app\n"


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/emperor.sock"


@contextmanager
def listening(endpoint: str, **options: object) -> Iterator[MessageFeeder]:
    with MessageFeeder(Orders(scheme="zmq", options={"endpoint": endpoint, **options})) as process:
        process.expect(Well)
        yield process


@contextmanager
def sender(endpoint: str) -> Iterator[zmq.Socket[bytes]]:
    context = zmq.Context()
    end = context.socket(zmq.PUSH)
    try:
        end.connect(endpoint)
        yield end
    finally:
        # Closing waits until all is sent, as it does in people's scripts.
        context.destroy(linger=5000)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_each_form_of_a_message(endpoint: str) -> None:
    with listening(endpoint) as process, sender(endpoint) as end:
        for rest in ([], [CONFIG], [CONFIG, b"33"], [CONFIG, b"33", b"33"], [CONFIG, b"33", b"33", b"/run/a.sock"]):
            end.send_multipart([b"touch", b"a.ini", *rest])
        end.send_multipart([b"touch", b"a.ini", CONFIG, b"33", b"33", b""])
        end.send_multipart([b"destroy", b"a.ini"])
        changes = [process.change() for _ in range(7)]
    rows = [change.row for change in changes if isinstance(change, Put)]
    assert [row.keep_known for row in rows] == [True, False, False, False, False, False]
    assert [row.config for row in rows] == [None, *[CONFIG.decode()] * 5]
    assert [(row.uid, row.gid) for row in rows] == [(None, None)] * 2 + [(33, None)] + [(33, 33)] * 3
    assert [row.socket for row in rows] == ["", "", "", "", "/run/a.sock", ""]
    assert isinstance(changes[-1], Remove)
    assert len({change.id for change in changes}) == 7


def test_five_parts_do_not_eat_the_next_message(endpoint: str) -> None:
    with listening(endpoint) as process, sender(endpoint) as end:
        end.send_multipart([b"touch", b"a.ini", CONFIG, b"33", b"33"])
        end.send_multipart([b"touch", b"b.ini", CONFIG])
        first, second = process.change(), process.change()
    assert isinstance(first, Put)
    assert (first.row.name, first.row.socket) == ("a.ini", "")
    assert isinstance(second, Put)
    assert second.row.name == "b.ini"


def test_seven_parts_are_refused_as_a_whole(endpoint: str) -> None:
    with listening(endpoint) as process, sender(endpoint) as end:
        end.send_multipart([b"touch", b"a.ini", CONFIG, b"33", b"33", b"/run/a.sock", b"destroy"])
        end.send_multipart([b"touch", b"b.ini", CONFIG])
        note = process.expect(Note)
        change = process.change()
    assert (note.code, note.name) == ("zmq-message", "a.ini")
    assert isinstance(change, Put)
    assert change.row.name == "b.ini"


def test_a_hundred_touches_within_a_second_all_come_in_order(endpoint: str) -> None:
    with listening(endpoint) as process, sender(endpoint) as end:
        begun = time.monotonic()
        for number in range(100):
            end.send_multipart([b"touch", b"a.ini", b"text %d" % number])
        changes = [process.change() for _ in range(100)]
        assert time.monotonic() - begun < 1
    assert [change.row.config for change in changes if isinstance(change, Put)] == [f"text {n}" for n in range(100)]


def test_destroy_and_touch_in_a_row_both_count(endpoint: str) -> None:
    with listening(endpoint) as process, sender(endpoint) as end:
        for _ in range(20):
            end.send_multipart([b"destroy", b"a.ini"])
            end.send_multipart([b"touch", b"a.ini", CONFIG])
        kinds = [type(process.change()) for _ in range(40)]
    assert kinds == [Remove, Put] * 20


def test_no_more_are_unanswered_than_may_be_and_the_rest_follows(endpoint: str) -> None:
    with listening(endpoint) as process, sender(endpoint) as end:
        for number in range(100):
            end.send_multipart([b"touch", b"%d.ini" % number, CONFIG])
        held = [process.unanswered() for _ in range(MOST)]
        assert process.is_silent(0.5)
        before = process.ticks()
        assert process.is_silent(1)
        assert process.ticks() - before <= 1, "it is busy while it waits for an answer"
        process.done(held[0].id)
        held.append(process.unanswered())
        assert process.is_silent(0.2)
        for change in held[1:]:
            process.done(change.id)
        held += [process.change() for _ in range(100 - len(held))]
    assert [change.row.name for change in held if isinstance(change, Put)] == [f"{n}.ini" for n in range(100)]


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_what_a_sender_left_before_it_ended_is_not_lost(transport: str, endpoint: str) -> None:
    if transport == "tcp":
        endpoint = f"tcp://127.0.0.1:{free_port()}"
    script = (
        "import sys, zmq; end = zmq.Context().socket(zmq.PUSH); end.connect(sys.argv[1])\n"
        "for n in range(5000): end.send_multipart([b'touch', b'%d.ini' % n, b'x' * 500])"
    )
    with listening(endpoint) as process:
        end = subprocess.Popen([sys.executable, "-c", script, endpoint])
        try:
            held = [process.unanswered() for _ in range(MOST)]
            if transport == "ipc":
                assert end.wait(WAIT) == 0
            for change in held:
                process.done(change.id)
            held += [process.change() for _ in range(5000 - MOST)]
            assert end.wait(WAIT) == 0
        finally:
            end.kill()
            end.wait()
    assert [change.row.name for change in held if isinstance(change, Put)] == [f"{n}.ini" for n in range(5000)]


def test_messages_wait_with_the_sender_while_nobody_listens(endpoint: str) -> None:
    with sender(endpoint) as end:
        end.send_multipart([b"touch", b"a.ini", CONFIG])
        with listening(endpoint) as process:
            process.change()
            assert process.end() == 0
        end.send_multipart([b"destroy", b"a.ini"])
        with listening(endpoint) as process:
            assert isinstance(process.change(), Remove)


def test_an_ipc_socket_is_its_user_s_only(endpoint: str) -> None:
    path = endpoint.removeprefix("ipc://")
    with listening(endpoint) as process:
        status = os.stat(path)
        assert stat.S_IMODE(status.st_mode) == 0o600
        assert process.end() == 0


@pytest.mark.parametrize("is_killed", [True, False])
def test_the_file_that_a_feeder_leaves_is_taken_over(is_killed: bool, endpoint: str) -> None:
    with listening(endpoint) as process:
        if is_killed:
            process.kill()
        else:
            assert process.end() == 0
    assert os.path.exists(endpoint.removeprefix("ipc://"))
    with listening(endpoint) as process, sender(endpoint) as end:
        end.send_multipart([b"touch", b"a.ini"])
        process.change()


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_an_address_in_use_is_told_and_taken_once_it_is_free(transport: str, endpoint: str) -> None:
    if transport == "tcp":
        endpoint = f"tcp://127.0.0.1:{free_port()}"
    orders = Orders(scheme="zmq", options={"endpoint": endpoint})
    with listening(endpoint) as first, MessageFeeder(orders) as second, sender(endpoint) as end:
        trouble = second.expect(Trouble)
        assert trouble.message == f"cannot listen on {endpoint}: another process listens there"
        assert trouble.hint
        end.send_multipart([b"touch", b"a.ini"])
        first.change()
        assert first.end() == 0
        second.until(Well)
        end.send_multipart([b"touch", b"b.ini"])
        assert isinstance(second.change(), Put)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with MessageFeeder(Orders(scheme="zmq", options={"endpoint": f"ipc://{path}"})) as process:
        assert "no socket" in process.expect(Trouble).message
    assert path.read_text() == "data"


@pytest.mark.parametrize("endpoint", ["nonsense", "tcp://127.0.0.1:65536", "tcp://127.0.0.1:*", "ipc://*", "pgm://a:1"])
def test_an_endpoint_that_is_wrong_is_told_once(endpoint: str) -> None:
    with MessageFeeder(Orders(scheme="zmq", options={"endpoint": endpoint})) as process:
        trouble = process.expect(Trouble)
        assert trouble.message.startswith(f"cannot listen on {endpoint}: ")
        assert trouble.hint
        assert process.wait() == 0


def test_an_address_that_this_machine_does_not_have_is_told() -> None:
    with MessageFeeder(Orders(scheme="zmq", options={"endpoint": "tcp://192.0.2.1:5252"})) as process:
        trouble = process.expect(Trouble)
        assert trouble.message.startswith("cannot listen on tcp://192.0.2.1:5252: ")
        assert trouble.hint


def test_a_folder_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    with MessageFeeder(Orders(scheme="zmq", options={"endpoint": f"ipc://{folder}/s"})) as process:
        assert "No such file or directory" in process.expect(Trouble).message
        folder.mkdir()
        process.until(Well)


def test_only_clients_with_a_known_key_may_send() -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    (public, secret), friend, stranger = zmq.curve_keypair(), zmq.curve_keypair(), zmq.curve_keypair()
    options = {"curve_secret_key": secret.decode(), "curve_client_keys": [friend[0].decode()]}
    context = zmq.Context()
    with listening(endpoint, **options) as process:
        try:
            for keys, name in ((stranger, b"stranger.ini"), (None, b"plain.ini"), (friend, b"friend.ini")):
                end = context.socket(zmq.PUSH)
                if keys:
                    end.curve_serverkey, end.curve_publickey, end.curve_secretkey = public, *keys
                end.connect(endpoint)
                end.send_multipart([b"touch", name, CONFIG])
            change = process.change()
            assert isinstance(change, Put)
            assert change.row.name == "friend.ini"
            assert process.is_silent(1)
            assert secret.decode() not in process.shown()
        finally:
            context.destroy(linger=0)


def test_a_wrong_key_is_told_without_it() -> None:
    for key in ("sesame", "~" * 40):
        options = {"endpoint": f"tcp://127.0.0.1:{free_port()}", "curve_secret_key": key}
        with MessageFeeder(Orders(scheme="zmq", options=options)) as process:
            assert process.expect(Trouble).hint
            assert key not in process.shown()


def test_garbage_on_the_port_hinders_nobody() -> None:
    port = free_port()
    endpoint = f"tcp://127.0.0.1:{port}"
    with (
        listening(endpoint) as process,
        sender(endpoint) as end,
        socket.create_connection(("127.0.0.1", port)) as garbage,
        socket.create_connection(("127.0.0.1", port)),
    ):
        # libzmq takes some of it for messages of its first protocol, which had no greeting.
        garbage.sendall(os.urandom(10_000))
        end.send_multipart([b"touch", b"a.ini", CONFIG])
        assert process.until(Put).row.name == "a.ini"


def test_once_says_that_it_needs_the_daemon(endpoint: str) -> None:
    with MessageFeeder(Orders(scheme="zmq", options={"endpoint": endpoint}, once=True)) as process:
        assert "daemon" in process.expect(Trouble).message
        assert process.wait() == 0
    assert not os.path.exists(endpoint.removeprefix("ipc://"))


def test_it_is_asleep_when_nothing_happens(endpoint: str) -> None:
    with listening(endpoint) as process, sender(endpoint) as end:
        end.send_multipart([b"touch", b"a.ini"])
        process.change()
        assert process.is_silent(0.5)
        before = process.ticks(), process.wake_ups()
        assert process.is_silent(5)
        assert (process.ticks(), process.wake_ups()) == before


def test_the_end_of_the_root_side_is_its_own(endpoint: str) -> None:
    with listening(endpoint) as process:
        assert process.end() == 0
