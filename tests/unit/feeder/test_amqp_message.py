"""What each form of the Emperor's amqp messages means, with the headers that the bridge adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.feeder import amqp_message
from bridge.feeder.amqp_message import Delivery
from bridge.feeder.protocol import LINE_MAX, Note, Put, Remove, Row

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = 1764000000.25
CONFIG = b"[uwsgi]\nmodule = app\n"


def change(key: str, body: bytes, headers: Mapping[str, object] | None = None) -> Put | Remove | Note:
    return amqp_message.change(Delivery(routing_key=key, body=body, headers=headers or {}), number=7, now=NOW)


def row(key: str, body: bytes, headers: Mapping[str, object] | None = None) -> Row:
    found = change(key, body, headers)
    assert isinstance(found, Put)
    assert found.id == 7
    return found.row


def test_a_body_without_a_routing_key_is_a_path_with_the_rule_in_force() -> None:
    assert row("", b"/srv/a.ini") == Row(name="/srv/a.ini", ts=NOW, has_rule=False)


def test_headers_of_a_path_decide_instead_of_the_rule() -> None:
    found = row("", b"/srv/a.ini", {"socket": "/run/a.sock", "uid": 33, "gid": 34})
    assert found == Row(name="/srv/a.ini", ts=NOW, uid=33, gid=34, socket="/run/a.sock", has_rule=True)


def test_an_empty_socket_of_a_path_means_always() -> None:
    found = row("", b"/srv/a.ini", {"socket": ""})
    assert (found.socket, found.has_rule) == ("", True)


def test_a_routing_key_is_the_name_of_a_config_that_runs_always() -> None:
    assert row("a.ini", CONFIG) == Row(name="a.ini", config=CONFIG.decode(), ts=NOW)


@pytest.mark.parametrize(
    "headers",
    [
        {"socket": "@a", "uid": 33, "gid": 34},
        {"socket": b"@a", "uid": "33", "gid": b"34"},
        {"socket": "@a", "uid": 33, "gid": 34, "x-death": [{"count": 1}]},
    ],
)
def test_headers_give_socket_and_owner(headers: Mapping[str, object]) -> None:
    found = row("a.ini", CONFIG, headers)
    assert found == Row(name="a.ini", config=CONFIG.decode(), ts=NOW, uid=33, gid=34, socket="@a")


def test_an_empty_body_removes() -> None:
    assert change("a.ini", b"") == Remove(name="a.ini", id=7)


def test_a_text_that_is_a_url_is_a_config_where_there_is_a_name() -> None:
    assert row("a.ini", b"http://host/a.ini").config == "http://host/a.ini"


@pytest.mark.parametrize("url", [b"http://host/a.ini", b"https://host/a.ini"])
def test_a_url_is_refused_clearly(url: bytes) -> None:
    found = change("", url)
    assert isinstance(found, Note)
    assert found.code == "amqp-url"
    assert "fetches none" in found.message
    assert "routing key" in found.hint


@pytest.mark.parametrize(
    ("key", "body", "headers", "reason"),
    [
        ("", b"", {}, "its path is empty"),
        ("", b"/srv/\n", {}, "its path has a control character"),
        ("", b"\xff", {}, "its path is not UTF-8"),
        ("", b"/" * 4096, {}, "its path has 4,096 bytes"),
        ("a\0.ini", CONFIG, {}, "its name has a control character"),
        ("a\udce9.ini", CONFIG, {}, "its name is not UTF-8"),
        ("a.ini", CONFIG, {"uid": "root"}, "its uid is 'root'"),
        ("a.ini", CONFIG, {"uid": -1}, "its uid is '-1'"),
        ("a.ini", CONFIG, {"uid": True}, "its header uid is neither a number nor text"),
        ("a.ini", CONFIG, {"gid": [1]}, "its header gid is neither a number nor text"),
        ("a.ini", CONFIG, {"socket": 5}, "its header socket is not text"),
        ("a.ini", CONFIG, {"socket": "/run/\n"}, "its socket has a control character"),
        ("a.ini", b"x" * LINE_MAX, {}, "16 MiB"),
    ],
)
def test_what_is_not_understood_is_refused(key: str, body: bytes, headers: Mapping[str, object], reason: str) -> None:
    found = change(key, body, headers)
    assert isinstance(found, Note)
    assert reason in found.message
    assert found.code == "amqp-message"
