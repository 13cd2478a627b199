"""The feeder for MongoDB, beside a server that speaks its protocol."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bridge.feeder.protocol import Orders, Row, Well

from ..servers.fake import Fake, free_port
from ..servers.feeder import DEBIAN_PYTHON, Feeder
from ..servers.mongo import COLLECTION, DATABASE, Mongo

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "s3cret%of/the@documents"  # noqa: S105 - searched for in all that is printed
SOON = 2.5
"""Seconds within which a change is told of. A real server waits for changes; this one is asked once a second."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongo]:
    server = Mongo(tmp_path_factory.mktemp("mongo"), free_port())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(running: Mongo) -> Mongo:
    running.delete()
    return running


def orders(server: Mongo, *, freq: float = 3, once: bool = False, **more: Any) -> Orders:
    options = {"uri": server.uri, "database": DATABASE, "collection": COLLECTION, **more}
    return Orders(scheme="mongodb", options=options, freq=freq, once=once)


def test_what_the_fields_say(server: Mongo) -> None:
    server.replace(
        {
            "name": "a.ini",
            "config": "[uwsgi]\nx = \u00e9",
            "ts": datetime(2025, 11, 24, 16, 0, 0, 250000, UTC),
            "uid": 33,
            "gid": 34.0,
            "socket": "/run/a",
        },
        {"name": "b.ini"},
        {"name": "c.ini", "config": "", "ts": 5, "socket": ""},
        {"name": "d.ini", "config": "x", "ts": "2025-11-24T16:00:00Z", "socket": None, "more": {"x": 1}},
    )
    with Feeder(orders(server)) as feeder:
        rows, notes = feeder.answer_and_notes()
    assert notes == []
    assert sorted(rows, key=lambda row: row.name) == [
        Row(name="a.ini", config="[uwsgi]\nx = \u00e9", ts=1764000000.25, uid=33, gid=34, socket="/run/a"),
        Row(name="b.ini"),
        Row(name="c.ini", ts=5),
        Row(name="d.ini", config="x", ts=1764000000),
    ]


def test_a_change_is_told_through_the_change_stream(server: Mongo) -> None:
    server.replace({"name": "a.ini", "config": "x"})
    with Feeder(orders(server, freq=3600)) as feeder:
        assert feeder.names() == ["a.ini"]
        # The stream is opened after the first answer; what changes until then is seen as it opens.
        server.replace({"name": "b.ini", "config": "x"})
        assert feeder.names(SOON) == ["a.ini", "b.ini"]
        server.replace({"name": "b.ini", "config": "y"})
        assert sorted(row.config or "" for row in feeder.answer(SOON)) == ["x", "y"]
        server.delete("a.ini")
        assert feeder.names(SOON) == ["b.ini"]


def test_a_burst_is_few_questions(server: Mongo) -> None:
    with Feeder(orders(server, freq=3600)) as feeder:
        assert feeder.names() == []
        began = time.monotonic()
        server.replace(*({"name": f"{number}.ini", "config": "x"} for number in range(100)))
        took = time.monotonic() - began
        answers = 0
        while True:
            answers += 1
            if len(feeder.names(SOON)) == 100:
                break
        assert answers <= took / 0.3 + 2
        assert feeder.is_silent(1.5)


@pytest.mark.parametrize("text", ['{"config": "x"}', "{config:'x'}", '{ config : { $in : ["x", "z"] } }'])
def test_a_filter_as_the_emperor_takes_it(server: Mongo, text: str) -> None:
    server.replace({"name": "a.ini", "config": "x"}, {"name": "b.ini", "config": "y"})
    with Feeder(orders(server, filter=text)) as feeder:
        assert feeder.names() == ["a.ini"]


@pytest.mark.parametrize("text", ["{config:", "[1]", "nonsense"])
def test_a_filter_that_is_none_is_trouble(server: Mongo, text: str) -> None:
    with Feeder(orders(server, filter=text)) as feeder:
        assert "the filter" in feeder.trouble().message
        assert feeder.is_silent(1.5)


def test_documents_that_are_of_no_use_are_named_and_the_others_count(server: Mongo) -> None:
    server.replace(
        {"name": ""},
        {"name": "config.ini", "config": 5},
        {"name": "socket.ini", "socket": 5},
        {"name": "a.ini", "config": "x", "ts": True, "uid": -1, "gid": "www-data"},
    )
    with Feeder(orders(server)) as feeder:
        rows, notes = feeder.answer_and_notes()
    assert rows == [Row(name="a.ini", config="x")]
    assert sorted((note.name, note.code, note.is_warning) for note in notes) == [
        ("", "row-name", False),
        ("a.ini", "row-owner", True),
        ("a.ini", "row-owner", True),
        ("a.ini", "row-ts", True),
        ("config.ini", "row-text", False),
        ("socket.ini", "row-socket", False),
    ]


def test_nothing_where_there_was_something_is_asked_again(server: Mongo) -> None:
    server.replace({"name": "a.ini", "config": "x"})
    with Feeder(orders(server, freq=0.2)) as feeder:
        assert feeder.names() == ["a.ini"]
        began = time.monotonic()
        server.delete()
        assert feeder.names(5) == []
        assert time.monotonic() - began > 0.9


def test_an_answer_is_told_again_if_the_root_side_asks(server: Mongo) -> None:
    server.replace({"name": "a.ini", "config": "x"})
    with Feeder(orders(server, freq=3600)) as feeder:
        assert feeder.names() == ["a.ini"]
        feeder.ask()
        assert feeder.names() == ["a.ini"]


def test_once_is_one_answer_and_the_end(server: Mongo) -> None:
    server.replace({"name": "a.ini", "config": "x"})
    with Feeder(orders(server, once=True)) as feeder:
        assert feeder.names() == ["a.ini"]
        assert feeder.wait() == 0


def test_a_server_that_goes_is_told_and_its_return_is_noticed(server: Mongo) -> None:
    server.replace({"name": "a.ini", "config": "x"})
    with Feeder(orders(server, uri=f"{server.uri}/?serverSelectionTimeoutMS=500")) as feeder:
        assert feeder.names() == ["a.ini"]
        server.stop()
        trouble = feeder.trouble(5)
        assert f"127.0.0.1:{server.port}" in trouble.message
        assert "Topology" not in trouble.message
        server.start()
        server.replace({"name": "b.ini", "config": "x"})
        while feeder.names(10) != ["a.ini", "b.ini"]:
            pass
        server.replace({"name": "c.ini", "config": "x"})
        while feeder.names(5) != ["a.ini", "b.ini", "c.ini"]:
            pass


def test_a_server_that_freezes_is_noticed_and_its_thaw_too(server: Mongo) -> None:
    server.replace({"name": "a.ini", "config": "x"})
    with Feeder(orders(server, check_every=2, answer_within=1)) as feeder:
        assert feeder.names() == ["a.ini"]
        server.freeze()
        try:
            assert "timed out" in feeder.trouble(10).message
        finally:
            server.thaw()
        feeder.until_is(lambda message: message == Well(), 10)
        server.replace({"name": "b.ini", "config": "x"})
        assert feeder.names(5) == ["a.ini", "b.ini"]


@pytest.mark.parametrize(
    "says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 10000, b"\0" * 10000], ids=["mute", "http", "ff", "00"]
)
def test_a_fake_server_is_trouble(says: bytes) -> None:
    fake = Fake(says)
    uri = f"mongodb://127.0.0.1:{fake.port}/?connectTimeoutMS=1000"
    given = Orders(scheme="mongodb", options={"uri": uri, "database": DATABASE, "collection": COLLECTION})
    try:
        with Feeder(given) as feeder:
            assert feeder.trouble(10).message
            assert b'"begin"' not in feeder.seen
            assert feeder.ticks() < 150
    finally:
        fake.close()


@pytest.mark.parametrize(
    ("uri", "more"),
    [
        ("mongodb://feeder:s3cret%25of%2Fthe%40documents@127.0.0.1:PORT/?serverSelectionTimeoutMS=500", {}),
        ("mongodb://127.0.0.1:PORT/?serverSelectionTimeoutMS=500", {"user": "feeder", "password": PASSWORD}),
        (f"mongodb://feeder:{PASSWORD}@127.0.0.1:PORT/", {}),
        (f"mongodb://feeder:{PASSWORD}@127.0.0.1:PORT:x/", {}),
        (f"mongodb+srv://feeder:{PASSWORD}@a.invalid/", {}),
        (f"http://feeder:{PASSWORD}@a/", {}),
    ],
)
def test_a_password_is_in_no_message(server: Mongo, uri: str, more: dict[str, Any]) -> None:
    with Feeder(orders(server, uri=uri.replace("PORT", str(server.port)), **more)) as feeder:
        trouble = feeder.trouble()
        assert trouble.message
        assert PASSWORD not in Path(f"/proc/{feeder.process.pid}/cmdline").read_text()
    for secret in (PASSWORD, "s3cret"):
        assert secret not in feeder.seen.decode() + feeder.output


def test_the_driver_of_debian_says_what_it_cannot_reach(server: Mongo) -> None:
    """Debian 12 has pymongo 3.11, which is older than this server takes; see monitors.md."""
    with Feeder(orders(server), python=DEBIAN_PYTHON) as feeder:
        trouble = feeder.trouble(20)
        assert "wire version" in trouble.message


def test_it_sleeps_while_nothing_happens(server: Mongo) -> None:
    server.replace({"name": "a.ini", "config": "x"})
    with Feeder(orders(server, freq=0.1)) as feeder:
        assert feeder.names() == ["a.ini"]
        assert feeder.is_silent(1)
        before = feeder.ticks()
        assert feeder.is_silent(20)
        # Its driver has threads of its own, and this server does not wait for changes.
        assert feeder.ticks() - before <= 5
