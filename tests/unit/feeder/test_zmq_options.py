"""Where the zmq monitor may listen, and who is let in."""

from __future__ import annotations

import pytest
from zmq.utils import z85

from bridge.feeder.zmq_curve import KeyTextError, key_text, verdict
from bridge.feeder.zmq_options import ZmqOptions, ZmqOptionsError, client_keys, from_values

FRIEND = bytes(range(32))
STRANGER = bytes(32)


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("ipc:///run/a.sock", "/run/a.sock"),
        ("ipc://@abstract", ""),
        ("tcp://*:5252", ""),
        ("tcp://[::1]:5252", ""),
        ("tcp://eth0:65535", ""),
    ],
)
def test_an_endpoint_as_the_emperor_takes_it(endpoint: str, path: str) -> None:
    assert from_values({"endpoint": endpoint}).path == path


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "5252",
        "ipc://",
        "ipc://*",
        "ipc://" + "p" * 108,
        "tcp://",
        "tcp://:5252",
        "tcp://a",
        "tcp://a:0",
        "tcp://a:*",
    ],
)
def test_an_endpoint_that_leads_nowhere_is_refused(endpoint: str) -> None:
    with pytest.raises(ZmqOptionsError):
        from_values({"endpoint": endpoint})


def test_unknown_options_are_refused_without_their_values() -> None:
    with pytest.raises(ZmqOptionsError, match="curve_secret, endpoint") as caught:
        from_values({"endpoint": "tcp://a:1", "curve_secret": "sesame"})
    assert "sesame" not in str(caught.value)


def test_the_secret_key_is_not_in_its_repr() -> None:
    assert "sesame" not in repr(ZmqOptions(endpoint="tcp://a:1", curve_secret_key="sesame"))


@pytest.mark.parametrize("key", ["", "k" * 39, "é" * 40, None, 5])
def test_a_key_has_40_characters(key: object) -> None:
    with pytest.raises(KeyTextError):
        key_text(key, "the key")


@pytest.mark.parametrize(
    ("mechanism", "key", "allowed", "status"),
    [
        (b"CURVE", FRIEND, [FRIEND], b"200"),
        (b"CURVE", STRANGER, [FRIEND], b"400"),
        (b"CURVE", STRANGER, [], b"200"),
        (b"CURVE", b"short", [FRIEND], b"400"),
        (b"NULL", b"", [], b"400"),
        (b"PLAIN", b"user", [FRIEND], b"400"),
    ],
)
def test_who_is_let_in(mechanism: bytes, key: bytes, allowed: list[bytes], status: bytes) -> None:
    request = [b"1.0", b"7", b"", b"127.0.0.1", b"", mechanism, key]
    answer = verdict(request, [z85.encode(one) for one in allowed])
    assert answer[:3] == [b"1.0", b"7", status]
    assert len(answer) == 6


@pytest.mark.parametrize("request_", [[], [b"1.0"], [b"2.0", b"7", b"", b"", b"", b"CURVE", FRIEND]])
def test_a_question_that_is_not_understood_lets_nobody_in(request_: list[bytes]) -> None:
    assert verdict(request_, [])[2] == b"400"


def test_a_file_of_keys_has_one_on_each_line() -> None:
    keys = [z85.encode(bytes([number] * 32)).decode() for number in range(0, 256, 15)]
    text = "\n".join(f"  {key}  host{number}, of Dora's" for number, key in enumerate(keys))
    assert client_keys(f"\n{text}\r\n\n") == keys


@pytest.mark.parametrize(
    "text", ["", "\n \n", "short", "x" * 41, f"{'k' * 40}\n{'~' * 40}", f"# a comment\n{'k' * 40}"]
)
def test_a_file_of_keys_with_anything_else_or_nothing_is_refused(text: str) -> None:
    with pytest.raises(ZmqOptionsError):
        client_keys(text)
