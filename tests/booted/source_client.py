"""Change what is in the machine's databases and at its brokers, as the program of an admin would.

`source_client.py KIND`: the first line of the input is the place of the server, which may have a password. Each other
line is a change, as JSON: a row, `{"gone": NAME}`, `{"touch": NAME}` or `{"clear": true}`. Each is answered with a line
once the server has it for good. If the server is down, it is tried again.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Thread
from typing import Any

PATIENCE = 90.0
"""Seconds in which the server must take a change."""
EXCHANGE = "uwsgi.emperor"
UPSERT = """
INSERT INTO vassals VALUES (%(name)s, %(config)s, to_timestamp(%(ts)s), %(uid)s, %(gid)s, %(socket)s)
ON CONFLICT (name) DO UPDATE SET
    config = EXCLUDED.config, ts = EXCLUDED.ts, uid = EXCLUDED.uid, gid = EXCLUDED.gid, socket = EXCLUDED.socket
"""

Row = dict[str, Any]


class Pg:
    """The table `vassals`; its place is libpq's connection string."""

    def __init__(self, place: str) -> None:
        import psycopg

        self._connection = psycopg.connect(place, autocommit=True)

    def put(self, row: Row) -> None:
        """Insert or update a row. No socket is NULL."""
        self._connection.execute(UPSERT, {**row, "socket": row["socket"] or None})

    def gone(self, name: str) -> None:
        """Delete a row."""
        self._connection.execute("DELETE FROM vassals WHERE name = %s", (name,))

    def clear(self) -> None:
        """Delete all rows."""
        self._connection.execute("DELETE FROM vassals")

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()


class Mongodb:
    """The collection `vassals` of the database `uwsgi`; its place is a URI."""

    def __init__(self, place: str) -> None:
        import pymongo

        self._client: Any = pymongo.MongoClient(place, serverSelectionTimeoutMS=1000, socketTimeoutMS=5000)
        self._collection = self._client["uwsgi"]["vassals"]

    def put(self, row: Row) -> None:
        """Insert or replace a document. No socket is no field."""
        document = {key: value for key, value in row.items() if value or key != "socket"}
        document["ts"] = datetime.fromtimestamp(row["ts"], UTC)
        self._collection.replace_one({"name": row["name"]}, document, upsert=True)

    def gone(self, name: str) -> None:
        """Delete a document."""
        self._collection.delete_many({"name": name})

    def clear(self) -> None:
        """Delete all documents."""
        self._collection.delete_many({})

    def close(self) -> None:
        """Disconnect."""
        self._client.close()


class Amqp:
    """The Emperor's exchange; its place is a URL. The broker confirms each message, which must have reached a queue."""

    def __init__(self, place: str) -> None:
        import pika

        self._properties = pika.BasicProperties
        self._connection: Any = pika.BlockingConnection(pika.URLParameters(place))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()

    def put(self, row: Row) -> None:
        """Publish a config."""
        headers = {key: row[key] for key in ("uid", "gid", "socket") if row[key]}
        self._publish(row["name"], row["config"], headers)

    def gone(self, name: str) -> None:
        """Publish that it is gone."""
        self._publish(name, "", {})

    def clear(self) -> None:
        """Remove the queues: what is in them is nobody's business any more."""
        import socket

        self._channel.queue_delete(f"emperor-bridge.{socket.gethostname()}")

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def _publish(self, name: str, body: str, headers: Row) -> None:
        properties = self._properties(headers=headers, delivery_mode=2)
        self._channel.basic_publish(EXCHANGE, name, body, properties, mandatory=True)


class Zmq:
    """The place is the endpoint on which the bridge listens."""

    def __init__(self, place: str) -> None:
        import zmq

        self._socket: Any = zmq.Context().socket(zmq.PUSH)
        self._socket.connect(place)

    def put(self, row: Row) -> None:
        """Send a config; five parts if it has no socket."""
        parts = ["touch", row["name"], row["config"], str(row["uid"]), str(row["gid"]), row["socket"]]
        self._send(*(parts if row["socket"] else parts[:5]))

    def touch(self, name: str) -> None:
        """Send that it is to be reloaded."""
        self._send("touch", name)

    def gone(self, name: str) -> None:
        """Send that it is gone."""
        self._send("destroy", name)

    def clear(self) -> None:
        """Do nothing: nobody keeps what was sent."""

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _send(self, *parts: str) -> None:
        self._socket.send_multipart([part.encode() for part in parts])


KINDS: dict[str, Any] = {"pg": Pg, "mongodb": Mongodb, "amqp": Amqp, "zmq": Zmq}


class Server:
    """A connection, made anew whenever it fails."""

    def __init__(self, kind: str, place: str) -> None:
        self._kind, self._place = kind, place
        self._connection: Any = None

    def change(self, change: Row) -> None:
        """Make a change; the server has it on return."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self._try(change)
            except Exception:
                if self._connection is not None:
                    with suppress(Exception):
                        self._connection.close()
                self._connection = None
                if time.monotonic() >= until:
                    raise
                time.sleep(0.05)
            else:
                return

    def _try(self, change: Row) -> None:
        if self._connection is None:
            self._connection = KINDS[self._kind](self._place)
        method = next((key for key in ("gone", "touch", "clear") if key in change), "")
        if method == "clear":
            self._connection.clear()
        else:
            getattr(self._connection, method or "put")(change[method] if method else change)


def main() -> None:
    """Make the changes that the input has."""
    lines: SimpleQueue[str] = SimpleQueue()

    def read() -> None:
        # Whoever has changes made need not wait until they are.
        for line in sys.stdin:
            lines.put(line)
        lines.put("")

    Thread(target=read, daemon=True).start()
    server = Server(sys.argv[1], lines.get().rstrip("\n"))
    while line := lines.get():
        change = json.loads(line)
        # The moment of the next one is up to who sends it.
        time.sleep(change.pop("after", 0.0))
        server.change(change)
        print("done", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
