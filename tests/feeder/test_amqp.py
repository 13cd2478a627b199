"""The amqp feeder with a real RabbitMQ, which these tests share: each has an exchange and a queue of its own."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pika
import pytest

from bridge.feeder.amqp_options import AmqpOptions, from_values, parse_url
from bridge.feeder.protocol import Note, Orders, Put, Remove, Trouble, Well
from bridge.feeder.unanswered import MOST

from ..servers.feeder import WAIT, MessageFeeder
from ..servers.rabbitmq import PASSWORD, VHOST, RabbitMQ

if TYPE_CHECKING:
    from collections.abc import Iterator

PORT = 25672
"""With the three ports after it below those that the kernel gives to clients."""
CONFIG = "[uwsgi]\nmodule = app\n"
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that the broker's user can reach."""
    path = Path(tempfile.mkdtemp(prefix="emperor-bridge-amqp-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def certificates(folder: Path) -> Path:
    """A certificate for localhost, signed by an authority of its own; another authority is other-ca.pem."""
    path = folder / "tls"
    path.mkdir()
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj"]
    for name in ("ca", "other-ca"):
        command = [*new, f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
        subprocess.run(command, cwd=path, check=True, capture_output=True, timeout=WAIT)
    extra = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=DNS:localhost"]
    command = [*new, "/CN=localhost", *extra, "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=path, check=True, capture_output=True, timeout=WAIT)
    (path / "key.pem").chmod(0o644)
    return path


@pytest.fixture(scope="module")
def broker(folder: Path, certificates: Path) -> Iterator[RabbitMQ]:
    server = RabbitMQ(folder / "node", PORT, tls=certificates)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def options(broker: RabbitMQ) -> AmqpOptions:
    number = next(NUMBERS)
    return parse_url(f"{broker.url}?exchange=exchange{number}&queue=queue{number}&heartbeat=10")


@contextmanager
def fed(options: AmqpOptions, *, once: bool = False) -> Iterator[MessageFeeder]:
    with MessageFeeder(Orders(scheme="amqp", options=asdict(options), once=once)) as process:
        yield process
        assert PASSWORD not in process.shown()


@contextmanager
def ready(options: AmqpOptions) -> Iterator[MessageFeeder]:
    with fed(options) as process:
        process.until(Well)
        yield process


@contextmanager
def channel(options: AmqpOptions) -> Iterator[Any]:
    """A publisher's channel, whose messages the broker has confirmed when publishing returns."""
    parameters = pika.ConnectionParameters(
        host=options.host,
        port=options.port,
        virtual_host=options.vhost,
        credentials=pika.PlainCredentials(options.user, options.password),
    )
    connection = pika.BlockingConnection(parameters)
    try:
        opened = connection.channel()
        opened.confirm_delivery()
        yield opened
    finally:
        with suppress(pika.exceptions.AMQPError):
            connection.close()


def publish(options: AmqpOptions, *messages: tuple[str, str], **headers: object) -> None:
    with channel(options) as opened:
        for key, body in messages:
            properties = pika.BasicProperties(delivery_mode=2, headers=headers)
            opened.basic_publish(options.exchange, key, body, properties)


def name(change: Put | Remove) -> str:
    return change.row.name if isinstance(change, Put) else change.name


def test_each_form_of_a_message(options: AmqpOptions) -> None:
    with ready(options) as process:
        publish(options, ("", "/srv/a.ini"), ("b.ini", CONFIG))
        publish(options, ("", "/srv/c.ini"), ("d.ini", CONFIG), socket="/run/s", uid=33, gid=34)
        publish(options, ("b.ini", ""))
        changes = [process.change() for _ in range(5)]
        publish(options, ("", "http://host/a.ini"), ("e.ini", CONFIG))
        assert process.expect(Note).code == "amqp-url"
        assert name(process.change()) == "e.ini"
    rows = [change.row for change in changes if isinstance(change, Put)]
    assert [(row.name, row.config, row.has_rule) for row in rows] == [
        ("/srv/a.ini", None, False),
        ("b.ini", CONFIG, True),
        ("/srv/c.ini", None, True),
        ("d.ini", CONFIG, True),
    ]
    assert [(row.socket, row.uid, row.gid) for row in rows] == [("", None, None)] * 2 + [("/run/s", 33, 34)] * 2
    assert isinstance(changes[-1], Remove)


def test_a_hundred_messages_come_in_order(options: AmqpOptions) -> None:
    with ready(options) as process:
        publish(options, *(("a.ini", f"text {number}") for number in range(100)))
        changes = [process.change() for _ in range(100)]
    assert [change.row.config for change in changes if isinstance(change, Put)] == [f"text {n}" for n in range(100)]


def test_no_more_are_unanswered_than_may_be(options: AmqpOptions) -> None:
    with ready(options) as process:
        publish(options, *((f"{number}.ini", CONFIG) for number in range(100)))
        held = [process.unanswered() for _ in range(MOST)]
        assert process.is_silent(0.5)
        process.done(held[0].id)
        held.append(process.unanswered())
        assert process.is_silent(0.5)


def test_a_message_without_answer_comes_again_after_a_kill(options: AmqpOptions) -> None:
    with ready(options) as process:
        publish(options, *((f"{number}.ini", CONFIG) for number in range(3)))
        process.change()
        # The acknowledgement is on its way: the next message's answer would be after it.
        held = process.unanswered()
        wait_for_unacknowledged(options, 2)
        process.kill()
    with ready(options) as process:
        assert [name(process.change()) for _ in range(2)] == [name(held), "2.ini"]
        assert process.is_silent(0.5)


def wait_for_unacknowledged(options: AmqpOptions, number: int) -> None:
    """Wait until the broker waits for so many acknowledgements."""
    until = time.monotonic() + WAIT
    while (found := queue(options)["messages_unacknowledged"]) != str(number):
        assert time.monotonic() < until, found
        time.sleep(0.1)


def queue(options: AmqpOptions) -> dict[str, str]:
    """Return what rabbitmqctl says of the queue."""
    columns = ["name", "messages_unacknowledged", "messages", "durable"]
    text = BROKERS[0].control("list_queues", "-p", VHOST, "--no-table-headers", *columns)
    rows = [dict(zip(columns, line.split("\t"), strict=True)) for line in text.splitlines()]
    return next(row for row in rows if row["name"] == options.queue)


BROKERS: list[RabbitMQ] = []


@pytest.fixture(autouse=True)
def _known(broker: RabbitMQ) -> None:
    BROKERS[:] = [broker]


def test_messages_sent_while_it_is_away_survive_the_restart_of_the_broker(
    broker: RabbitMQ, options: AmqpOptions
) -> None:
    with ready(options) as process:
        assert process.end() == 0
    publish(options, ("a.ini", CONFIG), ("b.ini", CONFIG))
    broker.stop()
    broker.start()
    with ready(options) as process:
        assert [name(process.change()) for _ in range(2)] == ["a.ini", "b.ini"]


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_it_comes_back_when_the_broker_does(how: str, broker: RabbitMQ, options: AmqpOptions) -> None:
    with ready(options) as process:
        publish(options, ("a.ini", CONFIG))
        held = process.unanswered()
        getattr(broker, how)()
        trouble = process.expect(Trouble)
        assert trouble.message.startswith(f"the broker at 127.0.0.1:{PORT} cannot be asked: ")
        # The answer comes late: its connection is gone, and the message comes again.
        process.done(held.id)
        process.expect(Trouble)
        broker.start()
        process.until(Well, 40)
        assert name(process.change()) == "a.ini"
        publish(options, ("b.ini", CONFIG))
        assert name(process.change()) == "b.ini"


def test_a_frozen_broker_is_noticed_by_its_silence(broker: RabbitMQ, options: AmqpOptions) -> None:
    with ready(options) as process:
        broker.freeze()
        try:
            begun = time.monotonic()
            assert "no sign of life" in process.expect(Trouble, 40).message
            assert time.monotonic() - begun < 35
            # The kernel still accepts connections for it.
            assert "does not answer" in process.expect(Trouble, 40).message
        finally:
            broker.thaw()
        process.until(Well, 60)
        publish(options, ("a.ini", CONFIG))
        assert name(process.change()) == "a.ini"


@pytest.mark.parametrize(("key", "value"), [("password", "wrong-sesame"), ("user", "nobody"), ("vhost", "nowhere")])
def test_a_refused_login_is_told_without_the_password(key: str, value: str, options: AmqpOptions) -> None:
    wrong = from_values(asdict(options) | {key: value})
    with fed(wrong) as process:
        trouble = process.expect(Trouble)
        assert "user, password and vhost" in trouble.hint
        assert wrong.password not in process.shown()


def test_rights_to_read_one_queue_are_enough(broker: RabbitMQ, options: AmqpOptions) -> None:
    with ready(options) as process:
        assert process.end() == 0
    broker.control("add_user", "reader", "reader-sesame")
    broker.control("set_permissions", "-p", VHOST, "reader", "^$", "^$", f"^{options.queue}$")
    least = replace(options, user="reader", password="reader-sesame")
    with fed(least) as process:
        note = process.expect(Note)
        assert note.is_warning
        assert "may not bind" in note.message
        process.expect(Well)
        publish(options, ("a.ini", CONFIG))
        assert name(process.change()) == "a.ini"
        assert "reader-sesame" not in process.shown()


def test_what_is_made_is_durable_and_gives_no_warning(options: AmqpOptions) -> None:
    for _ in range(2):
        with fed(options) as process:
            process.expect(Well)
    assert queue(options)["durable"] == "true"


def test_a_transient_exchange_and_queue_are_taken_with_a_warning(options: AmqpOptions) -> None:
    with channel(options) as opened:
        opened.exchange_declare(options.exchange, "fanout", durable=False)
        opened.queue_declare(options.queue, durable=False)
    with fed(options) as process:
        notes = [process.expect(Note), process.expect(Note)]
        assert all(note.is_warning for note in notes)
        assert "the exchange is not durable" in notes[0].message
        assert "the queue is not durable" in notes[1].message
        process.expect(Well)
        publish(options, ("a.ini", CONFIG))
        assert name(process.change()) == "a.ini"


def test_an_exchange_of_another_type_is_taken_with_a_warning(options: AmqpOptions) -> None:
    with channel(options) as opened:
        opened.exchange_declare(options.exchange, "topic", durable=True)
    with fed(options) as process:
        assert "of the type topic" in process.expect(Note).message
        process.expect(Well)
        publish(options, ("a.ini", CONFIG), ("", "/srv/b.ini"))
        assert [name(process.change()) for _ in range(2)] == ["a.ini", "/srv/b.ini"]


def test_a_durable_exchange_is_taken_where_a_transient_one_is_asked_for(options: AmqpOptions) -> None:
    with channel(options) as opened:
        opened.exchange_declare(options.exchange, "fanout", durable=True)
    with fed(replace(options, is_durable=False)) as process:
        assert "the queue is not durable" in process.expect(Note).message
        process.expect(Well)


def test_a_second_host_on_the_queue_is_refused(options: AmqpOptions) -> None:
    with ready(options) as first, fed(options) as second:
        assert "another process takes messages from the queue" in second.expect(Trouble).message
        assert first.end() == 0
        second.until(Well)


def test_a_queue_that_is_deleted_is_made_again(options: AmqpOptions) -> None:
    with ready(options) as process:
        with channel(options) as opened:
            opened.queue_delete(options.queue)
        assert "the queue was deleted" in process.expect(Trouble).message
        process.until(Well)
        publish(options, ("a.ini", CONFIG))
        assert name(process.change()) == "a.ini"


def test_once_drains_the_queue_and_ends(options: AmqpOptions) -> None:
    with ready(options) as process:
        assert process.end() == 0
    publish(options, *((f"{number}.ini", CONFIG) for number in range(50)), ("", "http://host/"))
    with fed(options, once=True) as process:
        process.expect(Well)
        assert [name(process.change()) for _ in range(50)] == [f"{number}.ini" for number in range(50)]
        process.expect(Note)
        assert process.wait() == 0
    assert queue(options)["messages"] == "0"
    with fed(options, once=True) as process:
        process.expect(Well)
        assert process.wait() == 0


def test_once_without_a_broker_says_so_and_ends(options: AmqpOptions) -> None:
    with fed(replace(options, port=free_port()), once=True) as process:
        assert "Connection refused" in process.expect(Trouble).message
        assert process.wait() == 0


def test_a_message_longer_than_a_line_is_refused_for_good(options: AmqpOptions) -> None:
    with ready(options) as process:
        publish(options, ("a.ini", "x" * (17 << 20)), ("b.ini", CONFIG))
        assert "16 MiB" in process.expect(Note).message
        assert name(process.change()) == "b.ini"
        wait_for_unacknowledged(options, 0)


def test_wrong_options_are_told_once(options: AmqpOptions) -> None:
    with fed(replace(options, heartbeat=0)) as process:
        assert "heartbeat" in process.expect(Trouble).message
        assert process.wait() == 0


def test_tls_is_verified(options: AmqpOptions, certificates: Path, broker: RabbitMQ) -> None:
    secure = replace(options, is_tls=True, host="localhost", port=broker.tls_port, ca_file=str(certificates / "ca.pem"))
    with ready(secure) as process:
        publish(options, ("a.ini", CONFIG))
        assert name(process.change()) == "a.ini"
    for wrong, reason in (
        (replace(secure, ca_file=str(certificates / "other-ca.pem")), "certificate is not accepted"),
        (replace(secure, ca_file=""), "certificate is not accepted"),
        (replace(secure, host="127.0.0.1"), "certificate is not accepted"),
        (replace(secure, ca_file="/no/such.pem"), "No such file"),
        (replace(secure, port=broker.port), "TLS fails"),
        (replace(options, port=broker.tls_port), "connection broke|not AMQP"),
    ):
        with fed(wrong) as process:
            message = process.expect(Trouble).message
            assert any(one in message for one in reason.split("|")), message


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def proxy(to: int) -> Iterator[tuple[int, list[socket.socket]]]:
    """Pass connections on to a port; yield the own port, and the ends of the clients."""
    clients: list[socket.socket] = []

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def accept(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                there = socket.create_connection(("127.0.0.1", to))
                clients.append(client)
                for pair in ((client, there), (there, client)):
                    threading.Thread(target=copy, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, args=(server,), daemon=True).start()
        try:
            yield server.getsockname()[1], clients
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for client in clients:
                client.close()


GARBAGE = [b"HTTP/1.0 400 Bad Request\r\n\r\n", b"\xff" * 5000, b"\1\0\0\0\0\0\x05wrong\xce", b"AMQP\0\0\0\1"]


@pytest.mark.parametrize("garbage", [*GARBAGE[:3], b""], ids=["http", "ones", "frame", "hang-up"])
def test_garbage_in_the_middle_of_a_connection_is_survived(
    garbage: bytes, options: AmqpOptions, broker: RabbitMQ
) -> None:
    with proxy(broker.port) as (port, clients), ready(replace(options, port=port)) as process:
        if garbage:
            clients[0].sendall(garbage)
        else:
            clients[0].shutdown(socket.SHUT_RDWR)
        assert process.expect(Trouble).hint
        process.until(Well)
        publish(options, ("a.ini", CONFIG))
        assert name(process.change()) == "a.ini"


def test_a_connection_that_has_become_deaf_is_noticed_by_heartbeats(options: AmqpOptions, broker: RabbitMQ) -> None:
    with proxy(broker.port) as (port, clients), ready(replace(options, port=port)) as process:
        # A frame whose end does not come soon: heartbeats become a part of it.
        clients[0].sendall(b"\1\0\0\0\1\0\0")
        assert "no sign of life" in process.expect(Trouble, 40).message
        process.until(Well)


@pytest.mark.parametrize("garbage", GARBAGE, ids=["http", "ones", "frame", "version"])
def test_a_port_that_speaks_something_else_is_told(garbage: bytes, options: AmqpOptions) -> None:
    calls = threading.Semaphore(0)

    def serve(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                calls.release()
                client.sendall(garbage)
                client.recv(100)
                client.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        with fed(replace(options, port=server.getsockname()[1])) as process:
            assert process.expect(Trouble).hint
            before = len(os.listdir(f"/proc/{process.process.pid}/fd"))
            for _ in range(4):
                assert calls.acquire(timeout=WAIT)
            assert len(os.listdir(f"/proc/{process.process.pid}/fd")) <= before + 2


def test_a_mute_port_is_given_up(options: AmqpOptions) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    with server, fed(replace(options, port=server.getsockname()[1])) as process:
        assert "does not answer" in process.expect(Trouble, 20).message


def test_a_host_that_is_unknown_is_told(options: AmqpOptions) -> None:
    with fed(replace(options, host="no-such-host.invalid")) as process:
        assert "cannot be looked up" in process.expect(Trouble).message


def test_it_ends_while_a_host_name_is_looked_up(options: AmqpOptions, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import pathlib, socket, time\n"
        "def wait(*_arguments, **_options):\n"
        f"    pathlib.Path({str(tmp_path)!r}, 'asked').touch()\n"
        "    time.sleep(600)\n"
        "socket.getaddrinfo = wait\n"
    )
    orders = Orders(scheme="amqp", options=asdict(options))
    with MessageFeeder(orders, environment={"PYTHONPATH": str(tmp_path)}) as process:
        until = time.monotonic() + WAIT
        while not (tmp_path / "asked").exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        assert process.end() == 0


def test_it_is_asleep_when_nothing_happens(options: AmqpOptions) -> None:
    with ready(options) as process:
        publish(options, ("a.ini", CONFIG))
        process.change()
        assert process.is_silent(1)
        before = process.ticks(), process.wake_ups()
        assert process.is_silent(15)
        # Heartbeats: the broker's and its own each 5 s, and a look at them.
        assert process.wake_ups() - before[1] <= 12
        assert process.ticks() - before[0] <= 1
