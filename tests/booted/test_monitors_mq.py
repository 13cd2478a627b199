"""Vassals by messages, from real senders: ZeroMQ and RabbitMQ. What they say is kept."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers import rabbitmq

from .bridge import WATCH, Bridge, config
from .suite import PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .machine import Machine

TOML = "/etc/fleet.toml"
IDLE = ("idle = 1", "die-on-idle = true", "cheap = true")
ZMQ_FOLDER = "/run/bus"
MIRROR = "/var/lib/emperor-bridge/monitors*/bus"
PORT = 25672
BROKER = "/var/lib/broker"
SEND_ZMQ = f"""
import json, sys, zmq
socket = zmq.Context().socket(zmq.PUSH)
socket.connect("ipc://{ZMQ_FOLDER}/zmq")
for message in json.load(sys.stdin):
    socket.send_multipart([part.encode() for part in message])
socket.close()
"""
SEND_AMQP = f"""
import json, pika, sys
login = pika.PlainCredentials("{rabbitmq.LOGIN}", "{rabbitmq.PASSWORD}")
connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", {PORT}, "{rabbitmq.VHOST}", login))
channel = connection.channel()
for name, body, headers in json.load(sys.stdin):
    channel.basic_publish("uwsgi.emperor", name, body, pika.BasicProperties(headers=headers, delivery_mode=2))
connection.close()
"""


def monitor(machine: Machine, bridge: Bridge, spec: str, *lines: str) -> None:
    """Have the bridge follow one monitor, whose mirror is gone after the test."""
    table = "\n".join(["[[monitor]]", 'name = "bus"', f'spec = "{spec}"', *lines, ""])
    machine.write_many({TOML: table}, mode=0o600)
    machine.cleanups.insert(0, lambda: machine.remove(TOML, "/var/lib/emperor-bridge"))
    bridge.options = ["--config", TOML]


@pytest.fixture
def bus(machine: Machine, bridge: Bridge) -> Bridge:
    """The daemon, which listens on a ZeroMQ socket as a user of its own."""
    machine.run("useradd", "--system", "bus")
    machine.cleanups.append(lambda: machine.run("userdel", "bus"))
    machine.run("install", "-d", "-o", "bus", ZMQ_FOLDER)
    machine.cleanups.append(lambda: machine.remove(ZMQ_FOLDER))
    monitor(machine, bridge, f"zmq://ipc://{ZMQ_FOLDER}/zmq", 'user = "bus"')
    bridge.watch()
    wait_until(machine, f"[ -S {ZMQ_FOLDER}/zmq ]")
    return bridge


def wait_until(machine: Machine, command: str) -> None:
    machine.run("timeout", "90", "sh", "-c", f"until {command}; do sleep 0.1; done", timeout=100)


def send(machine: Machine, script: str, *messages: Sequence[object]) -> None:
    machine.run(PYTHON, "-c", script, input=json.dumps(messages).encode())


def test_zmq_messages_add_reload_and_remove_and_outlive_the_daemon(machine: Machine, bus: Bridge) -> None:
    send(machine, SEND_ZMQ, ["touch", "a.ini", config(*IDLE), "0", "0", "/run/a.sock"])
    bus.told(r"^a\.ini: added")
    assert machine.run("stat", "-c", "%a %U", f"{ZMQ_FOLDER}/zmq").stdout == "600 bus\n"
    first = bus.app("uwsgi", "/run/a.sock")
    bus.wait("a", "dead")
    second = bus.app("uwsgi", "/run/a.sock")
    assert second["ppid"] != first["ppid"]

    texts = [config(f"env = N={number}", "socket = 127.0.0.1:9331") for number in range(3)]
    touches = [["touch", "b.ini", text] for text in texts]
    send(machine, SEND_ZMQ, *touches, ["touch", "c.ini", config(), "0", "0", "/run/c"])
    bus.told(r"^c\.ini: added")
    bus.wait("b", "running")
    assert "N=2" in machine.run("sh", "-c", f"cat {MIRROR}/configs/b.ini").stdout

    machine.run("systemctl", "kill", "--signal=SIGKILL", WATCH)
    machine.wait_unit(WATCH, "ActiveState", "failed")
    bus.app("uwsgi", "/run/c")
    cursor = machine.journal_cursor()
    machine.run("systemctl", "restart", WATCH)
    machine.wait_journal("Started emperor-bridge-monitor-bus", since_cursor=cursor)
    again = ["touch", "b.ini", config(), "0", "0", "/run/b"]
    send(machine, SEND_ZMQ, ["destroy", "a.ini"], ["destroy", "b.ini"], again)
    bus.told(r"^a\.ini: removed", cursor)
    machine.wait_unit("vassal-b.socket", "Listen", "[('Stream', '/run/b')]")
    bus.app("uwsgi", "/run/b")
    bus.app("uwsgi", "/run/c")


@contextmanager
def running_broker(machine: Machine, configuration: str, port: int) -> Iterator[str]:
    """Run a RabbitMQ as a unit of the machine as long as the block lasts; the unit's name is given."""
    folder, name = Path(BROKER), "broker.service"
    lines = [f'Environment="{key}={value}"' for key, value in rabbitmq.environment(folder, port).items()]
    ends = "SuccessExitStatus=143 137 SIGKILL"
    unit = "\n".join(["[Service]", f"User={rabbitmq.USER}", *lines, f"ExecStart={rabbitmq.SERVER}", ends, ""])
    machine.run("install", "-d", "-o", rabbitmq.USER, BROKER)
    machine.write_many({f"{BROKER}/rabbitmq.conf": configuration, f"/run/systemd/system/{name}": unit})
    try:
        machine.run("systemctl", "start", name)
        yield name
    finally:
        machine.run("systemctl", "stop", name)
        machine.remove(BROKER, f"/run/systemd/system/{name}")


@pytest.fixture
def broker(machine: Machine, bridge: Bridge) -> Iterator[str]:
    """A RabbitMQ, and the daemon that follows it; its unit's name is given."""
    with running_broker(machine, rabbitmq.configuration(PORT), PORT) as unit:
        monitor(machine, bridge, f"amqp://{rabbitmq.LOGIN}:{rabbitmq.PASSWORD}@127.0.0.1:{PORT}/{rabbitmq.VHOST}")
        bridge.watch()
        yield unit


def test_amqp_messages_are_sites_on_demand_and_wait_for_the_daemon(
    machine: Machine, bridge: Bridge, broker: str
) -> None:
    # The queue is there once the broker has answered.
    wait_until(machine, f"grep -qs '\"asked\": [0-9]' {MIRROR}/state.json")
    send(machine, SEND_AMQP, ["a.ini", config(*IDLE), {"socket": "/run/a.sock"}])
    bridge.told(r"^a\.ini: added")
    first = bridge.app("uwsgi", "/run/a.sock")
    bridge.wait("a", "dead")
    assert bridge.app("uwsgi", "/run/a.sock")["ppid"] != first["ppid"]

    bridge.unwatch()
    send(machine, SEND_AMQP, ["b.ini", config(), {"socket": "/run/b.sock"}], ["a.ini", "", {}])
    machine.run("systemctl", "restart", broker)
    bridge.watch()
    bridge.told(r"^b\.ini: added", timeout=90)
    bridge.told(r"^a\.ini: removed")
    bridge.app("uwsgi", "/run/b.sock")
    everything = machine.run("sh", "-c", "journalctl --no-pager; systemctl show '*'; ps axww", check=False).stdout
    assert rabbitmq.PASSWORD not in everything.replace("default_pass", "")
