"""The servers that vassals come from, in the machine: PostgreSQL, MongoDB's protocol, RabbitMQ, and ZeroMQ's senders.

All of them have the same interface, so that a test can be made with each.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bridge.feeder.protocol import Row
from tests.servers import rabbitmq

from .bridge import Bridge, config
from .container import HERE
from .process import Lines, kill
from .suite import COMMAND, PYTHON

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping

    from .machine import Machine

TOML = "/etc/fleet.toml"
SECRET = "hushOfTheFleet"  # noqa: S105 - searched for in all that is printed
SECRET_FILE = "/etc/fleet.secret"  # noqa: S105
STATE = "/var/lib/emperor-bridge"
MIRROR = f"{STATE}/monitors*/fleet"
IDLE = ("idle = 1", "die-on-idle = true", "cheap = true")
PATIENCE = 100.0
"""Seconds for a server to start, or to take a change."""
TABLE = f"""\
CREATE TABLE vassals (
    name text PRIMARY KEY, config text, ts timestamptz, uid integer, gid integer, socket text
);
CREATE ROLE web LOGIN PASSWORD '{SECRET}';
GRANT SELECT ON vassals TO web;
"""


def vassal(name: str, *lines: str, socket: str = "", ts: float = 0.0, uid: int = 0, gid: int = 0) -> Row:
    """Return a row; without a time, it has changed now."""
    return Row(name=name, config=config(*lines), ts=ts or time.time(), socket=socket, uid=uid, gid=gid)


class Source:
    """One server as a unit of the machine, and whoever changes what it has. Nothing starts before :meth:`make`."""

    scheme: ClassVar[str]
    port = 0
    spec = ""
    """What the bridge is told."""
    place = ""
    """Where `source_client.py` makes its changes."""
    lines: tuple[str, ...] = ()
    """More for the monitor's table in bridge.toml."""
    service: tuple[str, ...] = ()
    """The unit of the server."""
    secret = ""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.folder = f"/var/lib/fleet-{self.scheme}"
        self.unit = f"fleet-{self.scheme}.service"
        self.rows: dict[str, Row] = {}
        """What it has, or is going to have once all changes are made."""
        self._unmade = 0
        self._client: subprocess.Popen[bytes] | None = None
        self._answers: Lines | None = None

    def make(self) -> None:
        """Install the server, and start it."""
        lines = ["[Unit]", "StartLimitIntervalSec=0", "[Service]", "KillMode=mixed", *self.service, ""]
        self.machine.write(f"/etc/systemd/system/{self.unit}", "\n".join(lines))
        self.machine.run("systemctl", "daemon-reload")
        self.start()

    def remove(self) -> None:
        """Take away all of it."""
        self.forget_client()
        self.machine.run("systemctl", "kill", "--signal=KILL", self.unit, check=False)
        self.machine.run("systemctl", "stop", self.unit, check=False)
        self.machine.remove(self.folder, f"/etc/systemd/system/{self.unit}", SECRET_FILE)
        self.machine.run("systemctl", "reset-failed", self.unit, check=False)
        self.machine.run("systemctl", "daemon-reload")

    def table(self, name: str = "fleet") -> str:
        """Return the monitor's table in bridge.toml."""
        return "\n".join(["[[monitor]]", f'name = "{name}"', f'spec = "{self.spec}"', *self.lines, ""])

    # The server

    def start(self) -> None:
        """Start it; it answers on return."""
        self.machine.run("systemctl", "start", self.unit, timeout=PATIENCE)

    def stop(self) -> None:
        """Stop it in order."""
        self.machine.run("systemctl", "stop", self.unit, timeout=PATIENCE)

    def kill(self) -> None:
        """Kill all its processes at once."""
        self._signal("KILL")
        self.machine.run("systemctl", "stop", self.unit, timeout=PATIENCE)

    def freeze(self) -> None:
        """Stop all its processes where they are: the kernel goes on to accept connections."""
        self._signal("STOP")

    def thaw(self) -> None:
        """Let them go on."""
        self._signal("CONT")

    def cut(self) -> None:
        """Have the kernel reset all connections to it."""
        cut = self.machine.run("ss", "-KHtn", "state", "connected", f"( dport = :{self.port} or sport = :{self.port} )")
        assert cut.stdout.strip(), "no connection was cut"

    @contextmanager
    def impersonated(self, *says: str) -> Iterator[None]:
        """Have somebody else at the port of the server, which is stopped, who says nothing, or so many bytes."""
        impostor = self.machine.popen(PYTHON, str(HERE / "impostor.py"), str(self.port), *says)
        try:
            assert Lines(impostor.stdout).next(time.monotonic() + PATIENCE) == "listens"
            yield
        finally:
            kill(impostor)

    # What it has

    def put(self, *rows: Row) -> None:
        """Insert or replace rows; the server has them on return."""
        self.begin(*map(asdict, rows))
        self.finish()
        self.rows |= {row.name: row for row in rows}

    def touch(self, name: str) -> None:
        """Have a row be newer than it was, and nothing else."""
        self.put(replace(self.rows[name], ts=time.time()))

    def delete(self, *names: str) -> None:
        """Delete rows."""
        self.begin(*({"gone": name} for name in names))
        self.finish()
        for name in names:
            del self.rows[name]

    def clear(self) -> None:
        """Have nothing."""
        self.begin({"clear": True})
        self.finish()
        self.rows.clear()

    def begin(self, *changes: Mapping[str, object]) -> None:
        """Have changes made, as `source_client.py` takes them, without waiting."""
        if self._client is None or self._client.poll() is not None:
            script = str(HERE / "source_client.py")
            self._client = self.machine.popen(PYTHON, script, self.scheme)
            self._answers = Lines(self._client.stdout)
            self._unmade = 0
            self._tell(self.place)
        self._tell(*map(json.dumps, changes))
        self._unmade += len(changes)

    def finish(self) -> None:
        """Wait until all changes that were begun are made."""
        while self._unmade:
            assert self._answers is not None
            line = self._answers.next(time.monotonic() + PATIENCE)
            assert line == "done", self._error()
            self._unmade -= 1

    def forget_client(self) -> None:
        """End who makes the changes."""
        if self._client is not None:
            kill(self._client)
        self._client = None

    def _tell(self, *lines: str) -> None:
        assert self._client is not None
        assert self._client.stdin is not None
        self._client.stdin.write(b"".join(line.encode() + b"\n" for line in lines))
        self._client.stdin.flush()

    def _error(self) -> str:
        if self._client is None or self._client.stderr is None:
            return ""
        return self._client.stderr.read().decode(errors="replace")

    def _signal(self, name: str) -> None:
        self.machine.run("systemctl", "kill", f"--signal={name}", self.unit)


class Pg(Source):
    """A PostgreSQL of Debian's, whose table tells of its changes."""

    scheme = "pg"
    port = 25432
    query = "SELECT name, config, EXTRACT(epoch FROM ts), uid, gid, socket FROM vassals"
    spec = f"pg://host=127.0.0.1 port={port} dbname=postgres user=web;{query}"
    lines = (f'password-file = "{SECRET_FILE}"',)
    secret = SECRET

    def make(self) -> None:
        """Make a cluster, and in it the table with its trigger."""
        run = self.machine.run
        folder, programs = self.folder, run("sh", "-c", "ls -d /usr/lib/postgresql/*/bin | tail -n1").stdout.strip()
        self.place = f"host={folder} port={self.port} user=postgres dbname=postgres"
        self.machine.write(SECRET_FILE, f"{SECRET}\n", mode=0o600)
        run("install", "-d", "-o", "postgres", folder)
        options = ("-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C.UTF-8")
        run(f"{programs}/initdb", "-D", f"{folder}/data", *options, user="postgres", timeout=PATIENCE)
        rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        self.machine.write(f"{folder}/data/pg_hba.conf", rules, owner="postgres")
        settings = f"-c port={self.port} -c unix_socket_directories={folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        start = f"ExecStart={programs}/postgres -D {folder}/data {settings}"
        self.service = ("Type=notify", "User=postgres", "KillSignal=SIGINT", start)
        super().make()
        trigger = run(COMMAND, "pg-trigger").stdout
        run("psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.place, input=f"{TABLE}{trigger}".encode())


class Mongodb(Source):
    """MongoDB's protocol, spoken by nx-27017 of PyPI; see `tests/servers/mongo.py`."""

    scheme = "mongodb"
    port = 25017
    place = f"mongodb://127.0.0.1:{port}"
    spec = f"mongodb://127.0.0.1:{port},uwsgi.vassals,{{}}"

    def make(self) -> None:
        """Make a server whose data outlive it."""
        program = str(Path(PYTHON).with_name("nx-27017"))
        files = f"--data-dir {self.folder}/data --log-file {self.folder}/log --pid-file {self.folder}/pid"
        ask = f"import pymongo; pymongo.MongoClient('{self.place}').admin.command('ping')"
        self.service = (
            f"ExecStart={program} -p {self.port} {files}",
            # It says nothing when it is ready.
            f'ExecStartPost={PYTHON} -c "{ask}"',
            # It knows no end in order.
            "SuccessExitStatus=1 143",
        )
        self.machine.run("mkdir", "-p", self.folder)
        super().make()


class Amqp(Source):
    """A RabbitMQ of Debian's, with a user and a virtual host of its own."""

    scheme = "amqp"
    port = 25672
    place = f"amqp://{rabbitmq.LOGIN}:{rabbitmq.PASSWORD}@127.0.0.1:{port}/{rabbitmq.VHOST}"
    spec = place
    secret = rabbitmq.PASSWORD

    def make(self) -> None:
        """Make a broker whose queues outlive it."""
        environment = rabbitmq.environment(Path(self.folder), self.port)
        self.service = (
            "Type=notify",
            "NotifyAccess=all",
            f"User={rabbitmq.USER}",
            *(f'Environment="{key}={value}"' for key, value in environment.items()),
            f"ExecStart={rabbitmq.SERVER}",
            "SuccessExitStatus=143 137",
        )
        self.machine.run("install", "-d", "-o", rabbitmq.USER, self.folder)
        self.machine.write(f"{self.folder}/rabbitmq.conf", self.configuration())
        super().make()

    def configuration(self) -> str:
        """Return its rabbitmq.conf."""
        return rabbitmq.configuration(self.port)


class Zmq(Source):
    """A ZeroMQ socket. There is no server: the bridge listens, as a user of its own."""

    scheme = "zmq"
    folder_of_socket = "/run/bus"
    path = f"{folder_of_socket}/zmq"
    place = f"ipc://{path}"
    spec = f"zmq://ipc://{path}"
    lines = ('user = "bus"',)

    def make(self) -> None:
        """Make the user, and the folder in which the socket will be."""
        self.machine.run("useradd", "--system", "bus")
        self.machine.run("install", "-d", "-o", "bus", self.folder_of_socket)

    def remove(self) -> None:
        """Take both away."""
        self.forget_client()
        self.machine.run("userdel", "bus")
        self.machine.remove(self.folder_of_socket)

    def touch(self, name: str) -> None:
        """Send that it is to be reloaded."""
        self.begin({"touch": name})
        self.finish()


SOURCES: dict[str, type[Source]] = {"pg": Pg, "mongodb": Mongodb, "amqp": Amqp, "zmq": Zmq}
SERVERS = [scheme for scheme in SOURCES if scheme != "zmq"]
"""Those that have a server."""


def follow(bridge: Bridge, *tables: str) -> None:
    """Have the bridge follow the monitors of these tables, under its daemon; the mirrors are gone after the test."""
    machine = bridge.machine
    machine.write(TOML, "\n".join(tables), mode=0o600)
    machine.cleanups.insert(0, lambda: machine.remove(TOML, STATE))
    bridge.options += ["--config", TOML]
    bridge.watch()
