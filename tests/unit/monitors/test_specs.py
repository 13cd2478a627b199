"""The Emperor's specs of databases and brokers, and what becomes of them. No id has a secret in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.config import spec_magic
from bridge.monitors import MIRRORED
from bridge.monitors.amqp import parse_amqp
from bridge.monitors.mongodb import parse_mongodb, parse_mongodb2
from bridge.monitors.pg import DEFAULT_QUERY, parse_pg
from bridge.monitors.spec import MonitorSpec, SpecError
from bridge.monitors.zmq import parse_zmq

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "s3cret"  # noqa: S105


def parse(spec: str) -> MonitorSpec:
    """Parse a spec, as the monitor of its scheme does."""
    scheme, _, text = spec.partition("://")
    if scheme in {"amqp", "amqps"}:
        return parse_amqp(text, hostname="web1", tls=scheme == "amqps")
    parsers: dict[str, Callable[[str], MonitorSpec]] = {
        "pg": parse_pg, "mongodb": parse_mongodb, "mongodb2": parse_mongodb2, "zmq": parse_zmq,
    }  # fmt: skip
    return parsers[scheme](text)


@pytest.mark.parametrize(
    ("spec", "conninfo", "query"),
    [
        ("pg://", "", DEFAULT_QUERY),
        ("pg://;", "", DEFAULT_QUERY),
        ("pg://host=db dbname=x", "host=db dbname=x", DEFAULT_QUERY),
        ("pg://dbname=x;SELECT a;SELECT b", "dbname=x", "SELECT a;SELECT b"),
        ("pg://postgresql://u:p@h/db;SELECT 1", "postgresql://u:p@h/db", "SELECT 1"),
        (r"pg://password='a b\'c' host = db ;S", r"password='a b\'c' host = db", "S"),
        ("pg://service=fleet passfile=/etc/x", "service=fleet passfile=/etc/x", DEFAULT_QUERY),
    ],
)
def test_pg(spec: str, conninfo: str, query: str) -> None:
    assert parse(spec).options == {"conninfo": conninfo, "query": query}


def test_pg_with_an_empty_query_is_warned_of() -> None:
    assert [one.code for one in parse("pg://host=x;").warnings] == ["spec-query"]
    assert parse("pg://host=x").warnings == ()


@pytest.mark.parametrize(
    ("spec", "uri", "collection", "query"),
    [
        ("mongodb://", "mongodb://127.0.0.1:27017/", "uwsgi.emperor.vassals", "{}"),
        ("mongodb://db:27018", "mongodb://db:27018/", "uwsgi.emperor.vassals", "{}"),
        ("mongodb://db:1,a.b.c,{enabled:1,host:'x'}", "mongodb://db:1/", "a.b.c", "{enabled:1,host:'x'}"),
        ("mongodb://,a.b", "mongodb://127.0.0.1:27017/", "a.b", "{}"),
        ("mongodb://u:p@h1:1,h2:2/sites?replicaSet=r&collection=v&filter=%7B%22a%22%3A1%7D",
         "mongodb://u:p@h1:1,h2:2/sites?replicaSet=r", "sites.v", '{"a":1}'),
        ("mongodb://h/", "mongodb://h/", "uwsgi.emperor.vassals", "{}"),
        ("mongodb2://", "mongodb://127.0.0.1:27017/", "uwsgi.emperor.vassals", "{}"),
        ("mongodb2://addr=h:1,coll=a.b,json={\"x\":1,\"y\":2}", "mongodb://h:1/", "a.b", '{"x":1,"y":2}'),
        ("mongodb2://db=admin,addr=h:1", "mongodb://h:1/?authSource=admin", "uwsgi.emperor.vassals", "{}"),
    ],
)  # fmt: skip
def test_mongodb(spec: str, uri: str, collection: str, query: str) -> None:
    options = parse(spec).options
    assert (options["uri"], f"{options['database']}.{options['collection']}", options["filter"]) == (
        uri, collection, query,
    )  # fmt: skip
    assert parse(spec).scheme == "mongodb"


def test_mongodb2_login() -> None:
    spec = parse("mongodb2://username=u,password=p,predigest=1,json={a:1}")
    assert (spec.options["user"], spec.options["password"], spec.options["filter"]) == ("u", "p", "{a:1}")
    assert [one.code for one in spec.warnings] == ["spec-predigest"]


@pytest.mark.parametrize(
    ("endpoint", "warnings"),
    [
        ("tcp://127.0.0.1:5252", []),
        ("tcp://127.8.0.1:5252", []),
        ("tcp://[::1]:5252", []),
        ("tcp://*:5252", ["zmq-open"]),
        ("tcp://10.0.0.1:5252", ["zmq-open"]),
        ("tcp://127.evil.example:5252", ["zmq-open"]),
        ("ipc:///run/x", []),
        ("ipc://@x", ["zmq-open"]),
    ],
)
def test_zmq(endpoint: str, warnings: list[str]) -> None:
    spec = parse(f"zmq://{endpoint}")
    assert spec.options == {"endpoint": endpoint}
    assert spec.needs_daemon
    assert [one.code for one in spec.warnings] == warnings


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("amqp://", {"host": "localhost", "port": 5672, "is_tls": False, "user": "guest", "password": "guest"}),
        ("amqp://mq:1234", {"host": "mq", "port": 1234, "vhost": "/", "exchange": "uwsgi.emperor"}),
        ("amqp://u:p%40@mq/v%2Fh", {"user": "u", "password": "p@", "host": "mq", "vhost": "v/h"}),
        ("amqps://mq", {"port": 5671, "is_tls": True, "queue": "emperor-bridge.web1", "heartbeat": 15}),
        ("amqps://mq?cacertfile=/etc/ca.pem", {"ca_file": "/etc/ca.pem", "is_tls": True}),
        ("amqp://[::1]:9/x", {"host": "::1", "port": 9, "vhost": "x"}),
        ("amqp://mq?exchange=e&queue=q&durable=false&heartbeat=12",
         {"exchange": "e", "queue": "q", "is_durable": False, "heartbeat": 12}),
    ],
)  # fmt: skip
def test_amqp(spec: str, expected: dict[str, object]) -> None:
    options = parse(spec).options
    assert {key: options[key] for key in expected} == expected


def test_amqp_durability() -> None:
    assert parse("amqp://mq").options["is_durable"] is True
    assert [one.code for one in parse("amqp://mq?durable=0").warnings] == ["amqp-transient"]
    assert parse("amqp://mq?durable=1").warnings == ()


@pytest.mark.parametrize(
    "spec",
    [
        f"pg://password='{SECRET};x';SELECT",
        f"pg://host=x {SECRET}",
        f"pg://host='x'{SECRET}",
        f"pg://postgresql://u:{SECRET}@[h/db",
        f"pg://postgresql://u:{SECRET}/x@h/db",
        f"pg://postgresql://u:{SECRET}#x@h/db",
        f"pg://postgresql://u:12/{SECRET}@h/db",
        f"pg://postgresql://u:12#{SECRET}@h/db",
        f"pg://postgresql://u:12?{SECRET}@h/db",
        f"pg://postgresql://u:12?a={SECRET}@h/db",
        f"pg://postgresql://u@h/db?{SECRET}",
        f"mongodb://u:12/{SECRET}@h/db?collection=v",
        f"amqp://u:12/{SECRET}@h",
        f"mongodb2://{SECRET}",
        f"mongodb2://addr=h,pasword={SECRET}",
        f"mongodb://u:{SECRET}/x@h/db",
        f"mongodb://u:{SECRET}?x@h/db",
        f"mongodb://u:{SECRET}@h/.?collection=",
        "mongodb://h,nodot",
        "zmq://",
        "zmq://tcp://",
        "zmq://inproc://x",
        "zmq://ipc://relative",
        f"amqp://u:{SECRET}@mq:port",
        f"amqp://u:{SECRET}@mq:0",
        f"amqp://u:{SECRET}@mq:65536",
        f"amqp://u:{SECRET}@mq?durable=maybe",
        f"amqp://u:{SECRET}@mq?heartbeat=0",
        f"amqp://u:{SECRET}@mq?what=1",
    ],
)
def test_specs_that_cannot_be_used(spec: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(spec)
    assert SECRET not in f"{caught.value}{caught.value.hint}"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("spec", "monitor"),
    [
        (f"pg://host=db password={SECRET} user=u", "pg://host=db user=u"),
        (f"pg://host=db password='{SECRET} x'", "pg://host=db"),
        (f"pg://host=db PASSWORD={SECRET} passwd={SECRET}", "pg://host=db"),
        (f"pg://postgresql://u:{SECRET}@h1:1,[::1]:2,/db", "pg://postgresql://u@h1:1,[::1]:2,/db"),
        (f"pg://postgresql://u:{SECRET}@h/db?sslpassword={SECRET}&sslmode=require;S",
         "pg://postgresql://u@h/db?sslmode=require;S"),
        (f"pg://postgresql://h/db?password={SECRET}", "pg://postgresql://h/db"),
        (f"mongodb://u:{SECRET}@h/db?collection=v&x={SECRET}", "mongodb://u@h,db.v"),
        (f"mongodb://u:12{{{SECRET}@h", "mongodb://u@h,uwsgi.emperor.vassals"),
        (f"mongodb2://addr=u:{SECRET}@h", "mongodb2://u@h,uwsgi.emperor.vassals"),
        (f"mongodb2://addr=h,username=u,password={SECRET}", "mongodb2://h,uwsgi.emperor.vassals"),
        (f"amqp://u:{SECRET}@h:1/v?queue=q", "amqp://u@h:1/v?queue=q"),
    ],
)  # fmt: skip
def test_an_id_has_no_secret(spec: str, monitor: str) -> None:
    found = parse(spec)
    assert found.id == monitor
    assert found.has_password


@pytest.mark.parametrize("spec", ["pg://host=x", "mongodb://", "zmq://ipc:///x", "amqp://u@h", "pg://passfile=/x"])
def test_specs_without_a_password(spec: str) -> None:
    assert not parse(spec).has_password


def test_a_long_query_is_cut_and_still_tells_monitors_apart() -> None:
    one, other = (parse(f"pg://host=x;SELECT {'a' * 200}\n{end}").id for end in "bc")
    assert one != other
    assert "\n" not in one
    assert len(one) < 150


def test_magic_variables_are_replaced_in_all_specs_of_databases_and_brokers() -> None:
    assert set(spec_magic.MIRRORED) == set(MIRRORED)
