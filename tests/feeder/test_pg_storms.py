"""The feeder for PostgreSQL, while its server is killed, frozen and cut off at moments of chance."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from bridge.feeder.pg_trigger import trigger_sql
from bridge.feeder.protocol import Begin, End, Entry, Orders, Trouble

from ..booted import soak
from ..servers.fake import Proxy, free_port
from ..servers.feeder import Feeder
from ..servers.postgres import Postgres
from .places import folder_for_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

QUERY = "SELECT name, config, ts FROM vassals"
CONVERGED = 10.0
"""Seconds after the server's return within which the feeder has told of everything."""

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with folder_for_postgres() as folder:
        one = Postgres(folder / "pg", free_port())
        one.create()
        one.sql(trigger_sql("vassals"))
        yield one
        one.stop("immediate")


class Writer:
    """Commits changes as fast as it can, also while the server comes and goes, until it is stopped."""

    def __init__(self, server: Postgres, chance: random.Random) -> None:
        self._server = server
        self._chance = chance
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._is_stopped.set()
        self._thread.join(20)

    def _run(self) -> None:
        while not self._is_stopped.is_set():
            try:
                with psycopg.connect(self._server.conninfo, autocommit=True, connect_timeout=2) as connection:
                    while not self._is_stopped.wait(self._chance.uniform(0, 0.05)):
                        self._change(connection)
            except psycopg.Error:
                self._is_stopped.wait(0.05)

    def _change(self, connection: psycopg.Connection) -> None:
        name = f"{self._chance.randrange(30)}.ini"
        connection.execute("DELETE FROM vassals WHERE name = %s", (name,))
        if self._chance.random() < 0.7:
            text = str(self._chance.random()) * self._chance.randrange(1, 2000)
            connection.execute("INSERT INTO vassals (name, config) VALUES (%s, %s)", (name, text))


def stored(server: Postgres) -> dict[str, str]:
    with psycopg.connect(server.conninfo) as connection:
        return dict(connection.execute("SELECT name, config FROM vassals").fetchall())


@pytest.mark.parametrize("kind", ["killed", "stopped", "frozen", "disconnected"])
def test_it_converges(server: Postgres, kind: str) -> None:
    chance = random.Random(soak.seed(1))  # noqa: S311
    options = {"conninfo": server.conninfo, "query": QUERY, "check_every": 2, "check_within": 1, "answer_within": 2}
    with Feeder(Orders(scheme="pg", options=options)) as feeder:
        for _ in range(soak.times(3)):
            writer = Writer(server, chance)
            try:
                time.sleep(chance.uniform(0, 1))
                disturb(server, kind, chance.uniform(0, 3))
                returned = time.monotonic()
                time.sleep(chance.uniform(0, 1))
            finally:
                writer.stop()
            wanted = stored(server)
            known = None
            while known != wanted:
                rows = feeder.answer(returned + CONVERGED - time.monotonic())
                known = {row.name: row.config or "" for row in rows}


def disturb(server: Postgres, kind: str, seconds: float) -> None:
    if kind == "disconnected":
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'emperor-bridge'")
    elif kind == "frozen":
        server.freeze()
        time.sleep(seconds)
        server.thaw()
    else:
        server.stop("immediate" if kind == "killed" else "fast")
        time.sleep(seconds)
        server.start()


def test_a_connection_cut_anywhere_gives_a_whole_answer_or_none(server: Postgres) -> None:
    chance = random.Random(soak.seed(1))  # noqa: S311
    server.sql("TRUNCATE vassals")
    server.sql(
        "INSERT INTO vassals (name, config) SELECT n || '.ini', repeat('x', 1000 * n) FROM generate_series(1, 30) n"
    )
    proxy = Proxy(server.port)
    ends = set()
    try:
        for _ in range(soak.times(12)):
            proxy.cut_after = chance.choice([chance.randrange(1, 3000), chance.randrange(1, 480_000), 1 << 60])
            uri = server.uri.replace(f":{server.port}/", f":{proxy.port}/")
            with Feeder(Orders(scheme="pg", options={"conninfo": uri, "query": QUERY}, once=True)) as feeder:
                message = feeder.until_is(lambda message: not isinstance(message, Begin | Entry))
                assert feeder.wait() == 0
            assert feeder.seen.count(b'"kind":"entry"') == 30 or isinstance(message, Trouble)
            ends.add(type(message))
    finally:
        proxy.close()
    assert ends == {Trouble, End}
