"""The servers inside the machine, and what is put into them and sent."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pika
import psycopg
import zmq
from psycopg import sql

from tests.servers.mongo import Mongo
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ

from .amqp import LOGIN, OWN_VHOSTS, PASSWORD
from .model import AMQP_PORT, MONGO_PORT, MUTE_PORT, PG, PG_FOLDER, PG_PORT, TAKEN_PORT
from .pg import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EXCHANGE = "uwsgi.emperor"
VHOSTS = ("/", *OWN_VHOSTS)
LINGER_MS = 20_000
BROKER = Path("/var/lib/monitors-amqp")


class Databases:
    """PostgreSQL and MongoDB, and two ports that are no server's."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.pg = Postgres(Path(PG_FOLDER), PG_PORT)
        self.mongodb = Mongo(Path("/var/lib/monitors-mongo"), MONGO_PORT)

    def create(self) -> None:
        """Start all."""
        for port in (MUTE_PORT, TAKEN_PORT):
            # The kernel accepts, and nobody answers.
            self._stack.enter_context(socket.create_server(("127.0.0.1", port)))
        self._stack.callback(self.pg.stop, "immediate")
        self.pg.create()
        self.pg.sql("DROP TABLE vassals")
        # A database cannot be made in a transaction with others.
        for statement in SCHEMA.split(";"):
            self.pg.sql(statement)
        self.execute("CREATE TABLE vassals (name text, config text, ts timestamptz)", database="semicolon")
        self.mongodb.folder.mkdir()
        self._stack.callback(self.mongodb.stop)
        self.mongodb.start()

    def close(self) -> None:
        """Stop all, and remove what they know."""
        self._stack.close()
        for folder in (self.pg.folder, self.mongodb.folder):
            shutil.rmtree(folder, ignore_errors=True)

    def put(self, table: str, row: Mapping[str, object], *, adds: bool) -> None:
        """Put in a row or a document, in place of the one that has its name unless it ``adds``."""
        if table.startswith("uwsgi."):
            with self.mongodb.client() as client:
                documents = client["uwsgi"][table.removeprefix("uwsgi.")]
                if adds:
                    documents.insert_one(dict(row))
                else:
                    documents.replace_one({"name": row["name"]}, dict(row), upsert=True)
            return
        database, _, name = table.rpartition("/")
        with self._connect(database) as connection:
            if not adds:
                connection.execute(
                    sql.SQL("DELETE FROM {} WHERE name = %s").format(sql.Identifier(name)), [row["name"]]
                )
            insert = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                sql.Identifier(name),
                sql.SQL(", ").join(map(sql.Identifier, row)),
                sql.SQL(", ").join([sql.Placeholder()] * len(row)),
            )
            connection.execute(insert, list(row.values()))

    def delete(self, table: str, name: str) -> None:
        """Delete a row or a document."""
        if table.startswith("uwsgi."):
            with self.mongodb.client() as client:
                client["uwsgi"][table.removeprefix("uwsgi.")].delete_many({"name": name})
            return
        with self._connect() as connection:
            connection.execute(sql.SQL("DELETE FROM {} WHERE name = %s").format(sql.Identifier(table)), [name])

    def execute(self, text: str, *, database: str = "") -> None:
        """Execute statements in one transaction."""
        with self._connect(database) as connection:
            connection.execute(text.encode())

    def _connect(self, database: str = "") -> psycopg.Connection[Any]:
        return psycopg.connect(f"{PG} dbname={database or 'postgres'}")


class Broker:
    """RabbitMQ: as it is installed, or as the Emperor needs it."""

    def __init__(self) -> None:
        self._server: RabbitMQ | None = None

    def start(self, *, is_new: bool) -> None:
        """Start one that knows nothing. A new one has the limits of its default and a durable exchange."""
        self.close()
        shutil.rmtree(BROKER, ignore_errors=True)
        self._server = RabbitMQ(BROKER, AMQP_PORT)
        lines = [f"listeners.tcp.1 = 127.0.0.1:{AMQP_PORT}", f"load_definitions = {BROKER}/definitions.json"]
        lines += [] if is_new else ["channel_max = 0"]
        (BROKER / "rabbitmq.conf").write_text("\n".join([*lines, ""]))
        (BROKER / "definitions.json").write_text(json.dumps(definitions(is_durable=is_new)))
        self._server.start()

    def restart(self) -> None:
        """Stop it in order, and start it again."""
        assert self._server is not None
        self._server.stop()
        self._server.start()

    def lift_limit(self) -> None:
        """Have it take clients that want no limit of channels, as the Emperor."""
        assert self._server is not None
        self._server.control("eval", "application:set_env(rabbit, channel_max, 0).")

    def close(self) -> None:
        """Kill it."""
        if self._server is not None:
            self._server.close()
        self._server = None

    def publish(self, vhosts: Sequence[str], key: str, body: str, headers: Mapping[str, str]) -> None:
        """Send a message through the exchange of each vhost."""
        for vhost in vhosts:
            login = pika.PlainCredentials(LOGIN, PASSWORD)
            parameters = pika.ConnectionParameters("127.0.0.1", AMQP_PORT, vhost, login)
            with pika.BlockingConnection(parameters) as connection:
                properties = pika.BasicProperties(headers=dict(headers), delivery_mode=2)
                connection.channel().basic_publish(EXCHANGE, key, body.encode(), properties)


def definitions(*, is_durable: bool) -> dict[str, object]:
    """Return the users, vhosts and exchanges of a broker; only in "/" the exchange can be one that is not durable."""
    users = {LOGIN: PASSWORD, "guest": "guest"}
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    return {
        "users": [
            {
                "name": name,
                "password_hash": base64.b64encode(b"salt" + hashlib.sha256(b"salt" + word.encode()).digest()).decode(),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": "administrator",
            }
            for name, word in users.items()
        ],
        "vhosts": [{"name": name} for name in VHOSTS],
        "permissions": [{"user": user, "vhost": vhost, **rights} for user in users for vhost in VHOSTS],
        "exchanges": [
            {
                "name": EXCHANGE,
                "vhost": vhost,
                "type": "fanout",
                "durable": is_durable or vhost != "/",
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
            for vhost in VHOSTS
        ],
    }


def send(path: str, messages: Sequence[Sequence[str]]) -> None:
    """Send messages of ZeroMQ to the socket at a path, all at once: the receiver has none of them before the others."""
    # Nobody can connect through the link before everything is queued.
    link = Path(f"{path}-{os.urandom(4).hex()}")
    with zmq.Context() as context, context.socket(zmq.PUSH) as pushing:
        pushing.setsockopt(zmq.LINGER, LINGER_MS)
        pushing.connect(f"ipc://{link}")
        for message in messages:
            pushing.send_multipart([part.encode() for part in message])
        link.symlink_to(path)
    link.unlink()
