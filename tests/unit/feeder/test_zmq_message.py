"""What each form of the Emperor's zmq messages means, and which are refused."""

from __future__ import annotations

import pytest

from bridge.feeder import zmq_message
from bridge.feeder.protocol import LINE_MAX, Note, Put, Remove, Row

NOW = 1764000000.25


def change(*parts: bytes) -> Put | Remove | Note:
    return zmq_message.change(parts, number=7, now=NOW)


def row(*parts: bytes) -> Row:
    found = change(*parts)
    assert isinstance(found, Put)
    assert found.id == 7
    assert found.row.ts == NOW
    return found.row


def refusal(*parts: bytes) -> str:
    found = change(*parts)
    assert isinstance(found, Note)
    assert found.code == "zmq-message"
    assert found.hint
    assert not found.is_warning
    return found.message


def test_a_touch_of_a_name_alone_keeps_what_is_known() -> None:
    assert row(b"touch", b"a.ini") == Row(name="a.ini", ts=NOW, keep_known=True)


def test_a_touch_with_a_config_runs_always() -> None:
    assert row(b"touch", b"a.ini", b"[uwsgi]") == Row(name="a.ini", config="[uwsgi]", ts=NOW)


def test_four_parts_have_a_uid() -> None:
    assert row(b"touch", b"a.ini", b"[uwsgi]", b"33") == Row(name="a.ini", config="[uwsgi]", ts=NOW, uid=33)


def test_five_parts_mean_no_socket() -> None:
    assert row(b"touch", b"a.ini", b"x", b"33", b"34") == Row(name="a.ini", config="x", ts=NOW, uid=33, gid=34)


def test_the_sixth_part_is_the_socket() -> None:
    found = row(b"touch", b"a.ini", b"x", b"33", b"34", b"/run/a.sock")
    assert found == Row(name="a.ini", config="x", ts=NOW, uid=33, gid=34, socket="/run/a.sock")


def test_an_empty_sixth_part_is_no_socket() -> None:
    assert row(b"touch", b"a.ini", b"x", b"33", b"34", b"").socket == ""


def test_empty_users_are_none() -> None:
    found = row(b"touch", b"a.ini", b"x", b"", b"", b"@a")
    assert (found.uid, found.gid, found.socket) == (None, None, "@a")


def test_bytes_of_a_config_survive() -> None:
    text = row(b"touch", b"a.ini", b"# caf\xe9\r\n\0").config
    assert text is not None
    assert text.encode("utf-8", "surrogateescape") == b"# caf\xe9\r\n\0"


@pytest.mark.parametrize("rest", [(), (b"anything",), (b"", b"x", b"", b"")])
def test_destroy_needs_only_the_name(rest: tuple[bytes, ...]) -> None:
    assert change(b"destroy", b"a.ini", *rest) == Remove(name="a.ini", id=7)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ((b"touch",), "it has 1 part, and must have 2 to 6"),
        ((b"touch", b"a.ini", b"x", b"1", b"1", b"/s", b"more"), "it has 7 parts"),
        ((b"start", b"a.ini"), "its command is 'start'"),
        ((b"\xff\xfe", b"a.ini"), "its command is"),
        ((b"touch", b""), "its name is empty"),
        ((b"destroy", b""), "its name is empty"),
        ((b"touch", b"n" * 256), "its name has 256 bytes"),
        ((b"touch", b"caf\xe9.ini"), "its name is not UTF-8"),
        ((b"touch", b"a\n.ini"), "its name has a control character"),
        ((b"touch", b"a.ini", b""), "its config is empty"),
        ((b"touch", b"a.ini", b"x", b"www-data"), "its uid is 'www-data'"),
        ((b"touch", b"a.ini", b"x", b"-1"), "its uid is '-1'"),
        ((b"touch", b"a.ini", b"x", b"1", b"4294967295"), "its gid is '4294967295'"),
        ((b"touch", b"a.ini", b"x", b"1", "²".encode()), "its gid is"),
        ((b"touch", b"a.ini", b"x", b"1", b"1", b"/run/\0"), "its socket has a control character"),
    ],
)
def test_what_is_not_understood_is_refused_as_a_whole(parts: tuple[bytes, ...], reason: str) -> None:
    assert reason in refusal(*parts)


def test_a_refusal_has_the_name_and_not_the_config() -> None:
    found = change(b"touch", b"a.ini", b"password=sesame", b"x")
    assert isinstance(found, Note)
    assert found.name == "a.ini"
    assert "sesame" not in found.message + found.hint


def test_a_config_that_is_longer_than_a_line_is_refused() -> None:
    assert "16 MiB" in refusal(b"touch", b"a.ini", b"x" * LINE_MAX)
