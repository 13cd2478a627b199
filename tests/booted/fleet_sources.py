"""What a fleet follows, on the hub: a PostgreSQL or a RabbitMQ, set up as the manual says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tests.servers import manual, rabbitmq

from .database import Database
from .fleet_hosts import HOSTS
from .sources import Amqp
from .suite import COMMAND, PYTHON

if TYPE_CHECKING:
    from .machine import Machine

PAGE = "emperor-bridge-fleet.7"
PORT = 5672
SETTINGS = "listen_addresses = '*'\nshared_preload_libraries = 'pg_stat_statements'\n"
PUT = """
INSERT INTO vassals (host, name, config, socket)
SELECT host, '{name}', $x${config}$x$, {socket} FROM unnest({hosts}) host
ON CONFLICT (host, name) DO UPDATE SET config = excluded.config, socket = excluded.socket;
"""
PUBLISH = """
import json, pika, sys, time
url = "amqp://deploy:secret@broker/fleet?connection_attempts=100&retry_delay=0.3"
connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
channel.exchange_declare("uwsgi.emperor", "fanout", durable=True)
message = json.load(sys.stdin)
print(time.time())
if message:
    exchange, name, body, headers = message
    channel.basic_publish(exchange, name, body, pika.BasicProperties(headers=headers, delivery_mode=2))
connection.close()
"""


class Source(Protocol):
    """Where all hosts learn what runs on them."""

    server: str
    """What it is called."""
    monitors: tuple[str, ...]
    """How its tables begin in the manual's bridge.toml."""

    def place(self, name: str, config: str, socket: str | None) -> float:
        """Have a site on all hosts; return when that was, or just before."""

    def withdraw(self, name: str) -> float:
        """Have it no longer; return when that was, or just before."""

    def die(self) -> None:
        """Crash."""

    def rise(self) -> None:
        """Start again."""


class Table(Database):
    """The manual's table, in a PostgreSQL that the hosts reach."""

    server = "PostgreSQL"
    monitors: tuple[str, ...] = ('[[monitor]]\nname = "fleet"\nspec = "pg:',)

    def make(self) -> None:
        """Make the cluster, the table and the roles."""
        super().make()
        folder = f"/etc/postgresql/{self._version}/main"
        self._machine.write(f"{folder}/conf.d/fleet.conf", SETTINGS)
        rule = manual.block(PAGE, "hostssl").replace("hostssl", "host")
        rules = self._machine.read(f"{folder}/pg_hba.conf") + rule
        self._machine.write(f"{folder}/pg_hba.conf", rules, mode=0o640, owner="postgres")
        self.control("restart")
        self.sql("CREATE DATABASE sites;")
        begins = ("CREATE TABLE vassals", "CREATE ROLE", "REVOKE")
        self.ask("".join(text for text in manual.sql(PAGE) if text.startswith(begins)))
        self.ask(self._machine.run(COMMAND, "pg-trigger", "vassals").stdout + "CREATE EXTENSION pg_stat_statements;")

    def ask(self, text: str, *, role: str = "") -> str:
        """Run SQL as the administrator or over the network as a role; return what it prints."""
        as_role = ("-h", "db", "-U", role) if role else ()
        command = ("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", "sites", *as_role)
        user = None if role else "postgres"
        return self._machine.run(*command, input=text.encode(), user=user, env={"PGPASSWORD": "secret"}).stdout.strip()

    def place(self, name: str, config: str, socket: str | None) -> float:
        address = "NULL" if socket is None else f"'{socket}'"
        return self._timed(PUT.format(name=name, config=config, socket=address, hosts=f"ARRAY{list(HOSTS)}"))

    def withdraw(self, name: str) -> float:
        return self._timed(f"DELETE FROM vassals WHERE name = '{name}';")  # noqa: S608 - the test's own words

    def die(self) -> None:
        self.control("stop", "-m", "immediate")

    def rise(self) -> None:
        self.control("start")

    def _timed(self, text: str) -> float:
        return float(self.ask(f"SELECT extract(epoch FROM clock_timestamp());{text}", role="deploy"))  # noqa: S608


class Broker(Amqp):
    """A broker without users, that other hosts reach."""

    port = PORT

    def configuration(self) -> str:
        return f"listeners.tcp.1 = 0.0.0.0:{PORT}\n"


class Exchange:
    """The manual's exchange, in a RabbitMQ that the hosts reach."""

    server = "RabbitMQ"
    monitors: tuple[str, ...] = ('[[monitor]]\nname = "fleet"\nspec = "amqp:', '[[monitor]]\nname = "own"\n')

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._broker = Broker(machine)

    def make(self) -> None:
        """Start the broker, and make its users and the exchange."""
        self._broker.make()
        lines = manual.block(PAGE, "rabbitmqctl").splitlines()
        more = [line.replace("web1", name) for name in HOSTS for line in lines if "web1" in line and name != "web1"]
        script = "\n".join([f"PATH={rabbitmq.PROGRAMS}:$PATH", *lines, *more])
        environment = rabbitmq.environment(Path(self._broker.folder), PORT)
        self._machine.run("sh", "-ec", script, user=rabbitmq.USER, env=environment, timeout=120)
        self._publish()

    def remove(self) -> None:
        """Take the broker away."""
        self._broker.remove()

    def place(self, name: str, config: str, socket: str | None, *, exchange: str = "uwsgi.emperor") -> float:
        return self._publish(exchange, name, config, {} if socket is None else {"socket": socket})

    def withdraw(self, name: str) -> float:
        return self._publish("uwsgi.emperor", name, "", {})

    def die(self) -> None:
        self._broker.kill()

    def rise(self) -> None:
        self._broker.start()

    def _publish(self, *message: object) -> float:
        text = json.dumps(message).encode()
        return float(self._machine.run(PYTHON, "-c", PUBLISH, input=text, timeout=120).stdout)
