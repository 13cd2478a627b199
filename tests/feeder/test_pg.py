"""The feeder for PostgreSQL, beside Debian's PostgreSQL."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from bridge.feeder.pg_trigger import quoted, trigger_sql
from bridge.feeder.protocol import End, Entry, Orders, Row, Trouble, Well
from bridge.monitors.pg import DEFAULT_QUERY

from ..servers.fake import Fake, free_port
from ..servers.feeder import DEBIAN_PYTHON, Feeder
from ..servers.postgres import PASSWORD, Bouncer, Postgres
from .places import folder_for_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

QUERY = "SELECT name, config, ts, uid, gid, socket FROM vassals"
SOON = 0.5
"""Seconds within which a change that the server tells of must arrive."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Postgres]:
    with folder_for_postgres() as folder:
        server = Postgres(folder / "pg", free_port())
        server.create()
        yield server
        server.stop("immediate")


@pytest.fixture
def server(cluster: Postgres) -> Iterator[Postgres]:
    cluster.sql(f"TRUNCATE vassals; {trigger_sql('vassals')}")
    yield cluster
    cluster.wait_for_clients(0)


def orders(
    server: Postgres,
    query: str = QUERY,
    *,
    conninfo: str | None = None,
    freq: float = 3,
    once: bool = False,
    **more: float,
) -> Orders:
    options = {"conninfo": server.conninfo if conninfo is None else conninfo, "query": query, **more}
    return Orders(scheme="pg", options=options, freq=freq, once=once)


@pytest.mark.parametrize("python", [sys.executable, DEBIAN_PYTHON], ids=["PyPI", "Debian"])
def test_what_the_columns_say(server: Postgres, python: str) -> None:
    server.sql(
        "INSERT INTO vassals VALUES ('a.ini', E'[uwsgi]\\nx = \u00e9', 1764000000.25, 33, 34, '/run/a'),"
        " ('b.ini', '', NULL, NULL, NULL, NULL), ('c.ini', 'x', 5, NULL, NULL, '  ')"
    )
    with Feeder(orders(server), python=python) as feeder:
        rows = sorted(feeder.answer(), key=lambda row: row.name)
        assert rows == [
            Row(name="a.ini", config="[uwsgi]\nx = \u00e9", ts=1764000000.25, uid=33, gid=34, socket="/run/a"),
            Row(name="b.ini", config=""),
            Row(name="c.ini", config="x", ts=5),
        ]
        server.put("d.ini")
        assert feeder.names(SOON) == ["a.ini", "b.ini", "c.ini", "d.ini"]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ("INSERT INTO vassals (name, config) VALUES ('b.ini', '')", ["a.ini", "b.ini"]),
        ("UPDATE vassals SET name = 'c.ini'", ["c.ini"]),
        (
            "INSERT INTO vassals (name, config) VALUES ('b.ini', ''); DELETE FROM vassals WHERE name = 'a.ini'",
            ["b.ini"],
        ),
    ],
)
def test_a_change_is_told_within_half_a_second(server: Postgres, change: str, names: list[str]) -> None:
    server.put("a.ini")
    with Feeder(orders(server, freq=3600)) as feeder:
        assert feeder.names() == ["a.ini"]
        server.sql(f"BEGIN; {change}; COMMIT")
        assert feeder.names(SOON) == names


def test_the_tables_default_query_and_schema_of_the_emperor(server: Postgres) -> None:
    server.put("a.ini")
    server.sql("CREATE TABLE t (LIKE vassals); INSERT INTO t SELECT * FROM vassals; DROP TABLE vassals; ")
    server.sql(
        "CREATE TABLE vassals (name varchar(255), config text, ts timestamptz); GRANT SELECT ON vassals TO feeder"
    )
    try:
        server.sql("INSERT INTO vassals VALUES ('b.ini', 'x', '2025-11-24 17:20:00.5+01')")
        with Feeder(orders(server, DEFAULT_QUERY)) as feeder:
            assert feeder.answer() == [Row(name="b.ini", config="x", ts=1764001200.5)]
        with Feeder(orders(server, "SELECT name, config, ts FROM vassals")) as feeder:
            assert feeder.answer() == [Row(name="b.ini", config="x", ts=1764001200.5)]
        server.sql("ALTER ROLE postgres SET datestyle = 'SQL, DMY'")
        with Feeder(orders(server, "SELECT name, config, ts FROM vassals")) as feeder:
            assert feeder.answer() == [Row(name="b.ini", config="x", ts=1764001200.5)]
    finally:
        server.sql("ALTER ROLE postgres RESET datestyle; DROP TABLE vassals; ALTER TABLE t RENAME TO vassals")
        server.sql(
            "GRANT SELECT ON vassals TO feeder; ALTER TABLE vassals ALTER ts SET DEFAULT EXTRACT(epoch FROM now())"
        )


def test_a_burst_is_few_questions(server: Postgres) -> None:
    with Feeder(orders(server, freq=3600)) as feeder:
        assert feeder.names() == []
        began = time.monotonic()
        server.put_each(*(f"{number}.ini" for number in range(200)))
        took = time.monotonic() - began
        answers = 0
        while True:
            answers += 1
            if len(feeder.names(1)) == 200:
                break
        assert answers <= took / 0.3 + 2
        assert feeder.is_silent(1)


def test_rows_that_are_of_no_use_are_named_and_the_others_count(server: Postgres) -> None:
    server.sql("INSERT INTO vassals (name, config) VALUES (NULL, 'x'), ('', 'x'), ('no.ini', NULL), ('a.ini', 'x')")
    query = "SELECT name, config, 'soon' AS ts, 'www-data', -1 FROM vassals"
    with Feeder(orders(server, query)) as feeder:
        rows, notes = feeder.answer_and_notes()
    assert rows == [Row(name="a.ini", config="x")]
    assert sorted((note.name, note.code, note.is_warning) for note in notes) == [
        ("", "row-name", False),
        ("", "row-name", False),
        ("a.ini", "row-owner", True),
        ("a.ini", "row-owner", True),
        ("a.ini", "row-ts", True),
        ("no.ini", "row-text", False),
    ]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT name, config FROM vassals", "the query returns 2 of the columns"),
        ("SELECT name, config FROM vassals WHERE false", "the query returns 2 of the columns"),
        ("SELECT name, config::bytea, ts FROM vassals", "column 2 (config) is bytea"),
        ("SELECT name, config, ts FROM vassal", 'the query fails: relation "vassal" does not exist'),
        (" ", "the query is empty"),
        ("SET search_path = public", "the query returns no rows, not even none"),
        ("COPY vassals TO STDOUT", "the query is empty, or copies"),
        ("SELECT name, config, 1 / (uid - 33) FROM vassals", "the query fails: division by zero"),
    ],
)
def test_a_wrong_answer_is_trouble_and_no_answer(server: Postgres, query: str, said: str) -> None:
    server.sql("INSERT INTO vassals VALUES ('a.ini', 'x', 1, 1), ('b.ini', 'x', 1, 33)")
    with Feeder(orders(server, query)) as feeder:
        trouble = feeder.trouble()
        assert said in trouble.message
        assert trouble.hint
        # It is tried again after a second, and the same trouble is told once.
        with pytest.raises(AssertionError, match="no message"):
            feeder.until_is(lambda message: isinstance(message, Trouble | End), 1.5)


def test_a_query_of_several_statements_answers_with_the_last(server: Postgres) -> None:
    server.put("a.ini")
    query = "SET search_path = public; SELECT 'old.ini', '', 0; SELECT name, config, ts FROM vassals;"
    with Feeder(orders(server, query)) as feeder:
        assert feeder.names() == ["a.ini"]


def test_nothing_where_there_was_something_is_asked_again(server: Postgres) -> None:
    server.put("a.ini", "b.ini")
    with Feeder(orders(server, freq=3600)) as feeder:
        assert feeder.names() == ["a.ini", "b.ini"]
        server.sql("TRUNCATE vassals")
        server.put("c.ini")
        assert feeder.names(SOON) == ["c.ini"]
        began = time.monotonic()
        server.sql("DELETE FROM vassals")
        assert feeder.names(3) == []
        assert time.monotonic() - began > 0.9


def test_an_empty_first_answer_is_asked_again_if_the_root_side_has_rows(server: Postgres) -> None:
    began = time.monotonic()
    with Feeder(orders(server, once=True, known=2)) as feeder:
        assert feeder.names() == []
        assert feeder.wait() == 0
    assert time.monotonic() - began > 1


def test_an_answer_is_told_again_if_the_root_side_asks(server: Postgres) -> None:
    server.put("a.ini")
    with Feeder(orders(server, freq=3600)) as feeder:
        assert feeder.names() == ["a.ini"]
        feeder.ask()
        assert feeder.names() == ["a.ini"]
        server.sql("DELETE FROM vassals")
        assert feeder.names(3) == []
        feeder.ask()
        assert feeder.names(3) == []


def test_once_is_one_answer_and_the_end(server: Postgres) -> None:
    server.put("a.ini")
    with Feeder(orders(server, once=True)) as feeder:
        assert feeder.names() == ["a.ini"]
        assert feeder.wait() == 0
    with Feeder(orders(server, conninfo="host=/nowhere", once=True)) as feeder:
        assert "/nowhere" in feeder.trouble().message
        assert feeder.wait() == 0


def test_without_a_trigger_it_is_asked_at_its_pace_and_says_so(server: Postgres) -> None:
    server.sql("DROP TRIGGER emperor_vassals_changed ON vassals")
    server.put("a.ini")
    with Feeder(orders(server, freq=0.3)) as feeder:
        rows, notes = feeder.answer_and_notes()
        assert len(rows) == 1
        (note,) = notes
        assert (note.code, note.is_warning) == ("monitor-polled", True)
        assert "no trigger" in note.message
        assert "pg-trigger" in note.hint
        assert feeder.is_silent(1.5), "an answer without a change is not told"
        server.put("b.ini")
        assert feeder.names(1) == ["a.ini", "b.ini"]


@pytest.mark.parametrize("python", [sys.executable, DEBIAN_PYTHON], ids=["PyPI", "Debian"])
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_stops_is_told_and_its_return_is_noticed(server: Postgres, mode: str, python: str) -> None:
    server.put("a.ini")
    with Feeder(orders(server), python=python) as feeder:
        assert feeder.names() == ["a.ini"]
        server.stop(mode)
        assert feeder.trouble(2).message
        server.start()
        server.sql(
            "INSERT INTO vassals (name, config) SELECT 'b.ini', '' WHERE NOT EXISTS"
            " (SELECT FROM vassals WHERE name = 'b.ini')"
        )
        while "b.ini" not in feeder.names(5):
            pass
        server.put("c.ini")
        while "c.ini" not in feeder.names(SOON):
            pass


def test_a_server_that_is_down_at_first_is_found_later(server: Postgres) -> None:
    server.put("a.ini")
    server.stop()
    try:
        with Feeder(orders(server)) as feeder:
            assert "No such file or directory" in feeder.trouble().message
            server.start()
            assert feeder.names(10) == ["a.ini"]
    finally:
        if not (server.data / "postmaster.pid").exists():
            server.start()


FROZEN: dict[str, Any] = {"check_every": 2, "check_within": 1, "answer_within": 2}


def test_a_server_that_freezes_while_idle_is_noticed(server: Postgres) -> None:
    server.put("a.ini")
    with Feeder(orders(server, **FROZEN)) as feeder:
        assert feeder.names() == ["a.ini"]
        server.freeze()
        try:
            assert "has not answered for 1 s" in feeder.trouble(4).message
        finally:
            server.thaw()
        assert feeder.next(10) == Well(), "it has the answer already"
        server.put("b.ini")
        assert feeder.names(SOON) == ["a.ini", "b.ini"]


def test_a_server_that_freezes_before_its_answer_is_noticed(server: Postgres) -> None:
    server.put("a.ini")
    with Feeder(orders(server, f"{QUERY}, pg_sleep(1)", **FROZEN)) as feeder:
        server.wait_for_clients(1)
        server.freeze()
        try:
            assert "has not answered for " in feeder.trouble(4).message
        finally:
            server.thaw()
        assert feeder.names(10) == ["a.ini"]


def test_a_server_that_is_frozen_at_first_is_noticed(server: Postgres) -> None:
    server.put("a.ini")
    server.freeze()
    with Feeder(orders(server, conninfo=f"{server.conninfo} connect_timeout=2")) as feeder:
        try:
            assert "timeout expired" in feeder.trouble(5).message
        finally:
            server.thaw()
        assert feeder.names(10) == ["a.ini"]


def test_a_query_that_waits_for_a_lock_is_given_up_and_asked_again(server: Postgres) -> None:
    server.put("a.ini")
    with Feeder(orders(server, **FROZEN)) as feeder, psycopg.connect(server.conninfo) as other:
        assert feeder.names() == ["a.ini"]
        other.execute("LOCK TABLE vassals")
        other.execute("INSERT INTO vassals (name, config) VALUES ('b.ini', '')")
        server.sql("NOTIFY emperor_vassals")
        trouble = feeder.trouble(5)
        assert "has not answered for 2 s" in trouble.message
        assert "lock" in trouble.hint
        other.commit()
        assert feeder.names(5) == ["a.ini", "b.ini"]


READY = b"R\0\0\0\x08\0\0\0\0" + b"K\0\0\0\x0c\0\0\0\1\0\0\0\1" + b"Z\0\0\0\5I"


@pytest.mark.parametrize(
    "says",
    [
        pytest.param(b"", id="mute"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="http"),
        pytest.param(b"\xff" * 10000, id="garbage"),
        pytest.param(b"R\0\0\0\x08\0\0\0\0", id="half a greeting"),
        pytest.param(READY, id="a greeting"),
        pytest.param(READY + b"T\xff\xff\xff\xff", id="a greeting and garbage"),
        pytest.param(READY + b"\0" * 5000, id="a greeting and zeroes"),
    ],
)
def test_a_fake_server_is_trouble(says: bytes) -> None:
    fake = Fake(says)
    given = Orders(
        scheme="pg",
        options={
            "conninfo": f"host=127.0.0.1 port={fake.port} user=u password={PASSWORD} sslmode=disable gssencmode=disable"
            " connect_timeout=2",
            "query": DEFAULT_QUERY,
            "check_within": 1,
        },
    )
    try:
        with Feeder(given) as feeder:
            trouble = feeder.trouble(8)
            assert trouble.message
            assert b'"begin"' not in feeder.seen
            assert feeder.ticks() < 100
        assert PASSWORD.encode() not in feeder.seen
    finally:
        fake.close()


@pytest.mark.parametrize("python", [sys.executable, DEBIAN_PYTHON], ids=["PyPI", "Debian"])
@pytest.mark.parametrize("form", ["uri", "words", "password apart", "service", "passfile"])
def test_every_form_of_connection_string(server: Postgres, tmp_path: Path, form: str, python: str) -> None:
    server.put("a.ini")
    words = f"host=127.0.0.1 port={server.port} user=feeder dbname=postgres"
    options = {"conninfo": words}
    environment = {}
    if form == "uri":
        options["conninfo"] = server.uri
    elif form == "words":
        options["conninfo"] += f" password='{PASSWORD}'"
    elif form == "password apart":
        options["password"] = PASSWORD
    elif form == "service":
        file = tmp_path / "service"
        file.write_text("[sites]\n" + "\n".join([*words.split(), f"password={PASSWORD}"]) + "\n")
        environment["PGSERVICEFILE"] = str(file)
        options["conninfo"] = "service=sites"
    else:
        file = tmp_path / "passfile"
        file.write_text(f"127.0.0.1:*:*:feeder:{PASSWORD}\n")
        file.chmod(0o600)
        options["conninfo"] += f" passfile={file}"
    given = Orders(scheme="pg", options=options | {"query": QUERY})
    with Feeder(given, python=python, environment=environment) as feeder:
        assert feeder.names() == ["a.ini"]
        server.put("b.ini")
        assert feeder.names(SOON) == ["a.ini", "b.ini"]
        assert PASSWORD not in Path(f"/proc/{feeder.process.pid}/cmdline").read_text()
        assert PASSWORD not in Path(f"/proc/{feeder.process.pid}/environ").read_text()
    assert PASSWORD.encode() not in feeder.seen


def test_an_empty_connection_string_takes_the_environment(server: Postgres) -> None:
    server.put("a.ini")
    environment = {"PGHOST": str(server.folder), "PGPORT": str(server.port), "PGUSER": "postgres"}
    with Feeder(orders(server, conninfo=""), environment=environment) as feeder:
        assert feeder.names() == ["a.ini"]


@pytest.mark.parametrize(
    "conninfo",
    [
        f"host=127.0.0.1 port=PORT user=feeder password={PASSWORD}-not",
        f"password=x {PASSWORD}",
        f"password=x {PASSWORD}=1",
        f"postgresql://feeder:{PASSWORD}@[::1",
        f"postgresql://feeder:{PASSWORD}@host:port:9/x?{PASSWORD}",
    ],
)
def test_a_password_is_in_no_message(server: Postgres, conninfo: str) -> None:
    with Feeder(orders(server, conninfo=conninfo.replace("PORT", str(server.port)))) as feeder:
        trouble = feeder.trouble()
        assert trouble.message
    assert PASSWORD not in feeder.seen.decode() + feeder.output


def test_it_sleeps_while_nothing_happens(server: Postgres) -> None:
    server.put("a.ini")
    with Feeder(orders(server, freq=0.1)) as feeder:
        assert feeder.names() == ["a.ini"]
        before = feeder.ticks()
        assert feeder.is_silent(20)
        assert feeder.ticks() == before


def test_a_standby_is_asked_at_its_pace(server: Postgres) -> None:
    server.put("a.ini")
    with folder_for_postgres() as folder:
        standby = Postgres(folder / "pg", free_port())
        server.copy_to(standby)
        try:
            with Feeder(orders(standby, freq=0.2)) as feeder:
                rows, notes = feeder.answer_and_notes()
                assert [row.name for row in rows] == ["a.ini"]
                assert "cannot execute LISTEN during recovery" in notes[0].message
                server.put("b.ini")
                assert feeder.names(3) == ["a.ini", "b.ini"]
        finally:
            standby.stop("immediate")


def test_what_comes_by_logical_replication_is_told(server: Postgres) -> None:
    with folder_for_postgres() as folder:
        copy = Postgres(folder / "pg", free_port())
        copy.create()
        try:
            copy.sql(f"ALTER TABLE vassals REPLICA IDENTITY FULL; {trigger_sql('vassals')}")
            server.sql("ALTER TABLE vassals REPLICA IDENTITY FULL; CREATE PUBLICATION fleet FOR TABLE vassals")
            with Feeder(orders(copy, freq=3600)) as feeder:
                assert feeder.names() == []
                server.put("a.ini")
                copy.sql(f"CREATE SUBSCRIPTION fleet CONNECTION '{server.conninfo}' PUBLICATION fleet")
                assert feeder.names() == ["a.ini"]
                server.put("b.ini")
                assert feeder.names() == ["a.ini", "b.ini"]
                server.sql("UPDATE vassals SET name = 'c.ini' WHERE name = 'a.ini'")
                assert feeder.names() == ["b.ini", "c.ini"]
                server.sql("DELETE FROM vassals WHERE name = 'b.ini'")
                assert feeder.names() == ["c.ini"]
                server.sql("TRUNCATE vassals")
                assert feeder.names() == []
            copy.sql("DROP SUBSCRIPTION fleet")
        finally:
            copy.stop("immediate")
            server.sql("DROP PUBLICATION IF EXISTS fleet; ALTER TABLE vassals REPLICA IDENTITY DEFAULT")


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_pgbouncer_is_asked_at_its_pace(server: Postgres, mode: str) -> None:
    server.put("a.ini")
    with folder_for_postgres() as folder:
        bouncer = Bouncer(folder, server, free_port(), mode)
        bouncer.start()
        try:
            with Feeder(orders(server, conninfo=bouncer.conninfo, freq=0.2)) as feeder:
                rows, notes = feeder.answer_and_notes()
                assert [row.name for row in rows] == ["a.ini"]
                assert "a pooler is in between" in notes[0].message
                server.put("b.ini")
                assert feeder.names(3) == ["a.ini", "b.ini"]
        finally:
            bouncer.stop()


def test_a_connection_cut_in_the_middle_of_an_answer_is_no_answer(server: Postgres) -> None:
    server.sql(
        "INSERT INTO vassals (name, config) SELECT n || '.ini', repeat('x', 10000) FROM generate_series(1, 2000) n"
    )
    query = "SELECT name, config || CASE WHEN name = '1999.ini' THEN pg_sleep(20)::text ELSE '' END, ts FROM vassals"
    with Feeder(orders(server, query)) as feeder:
        feeder.until_is(lambda message: isinstance(message, Entry))
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'emperor-bridge'")
        message = feeder.until_is(lambda message: not isinstance(message, Entry))
        assert isinstance(message, Trouble)
        assert "connection" in message.message


@pytest.mark.parametrize("table", ["vassals", "public.vassals", 'Odd "table"\nof two lines', "user"])
def test_the_trigger_can_be_made_twice_and_tells(server: Postgres, table: str) -> None:
    name = quoted(table)
    if "vassals" not in table:
        server.sql(f"CREATE TABLE {name} (LIKE vassals)")
    try:
        server.sql(trigger_sql(table))
        server.sql(trigger_sql(table))
        with Feeder(orders(server, f"SELECT name, config, 0 FROM {name}", freq=3600)) as feeder:
            assert feeder.answer_and_notes() == ([], [])
            server.sql(f"INSERT INTO {name} (name, config) VALUES ('a.ini', '')")
            assert feeder.names(SOON) == ["a.ini"]
            server.sql(f"TRUNCATE {name}")
            assert feeder.names(SOON + 1) == []
    finally:
        if "vassals" not in table:
            server.sql(f"DROP TABLE {name}")
