from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from bridge.feeder.protocol import ID_MAX
from bridge.feeder.values import id_of, seconds_of, seconds_of_time, socket_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("  ", 0),
        ("1764000000", 1764000000),
        ("1764000000.25", 1764000000.25),
        ("1.764e9", 1764000000),
        ("-1", -1),
        (".5", 0.5),
        ("2025-11-24 16:00:00", 1764000000),
        ("2025-11-24T16:00:00Z", 1764000000),
        ("2025-11-24 17:00:00.25+01", 1764000000.25),
        ("2025-11-24 21:30:00+05:30", 1764000000),
        ("2025-11-24", 1763942400),
        ("infinity", None),
        ("-infinity", None),
        ("NaN", None),
        ("1e999", None),
        ("yesterday", None),
        ("0044-03-15 00:00:00 BC", None),
        ("12345-01-01 00:00:00", None),
        ("t", None),
        ("1_000", None),
    ],
)
def test_seconds(text: str | None, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


def test_seconds_of_a_time() -> None:
    assert seconds_of_time(datetime(2025, 11, 24, 16, tzinfo=UTC)) == 1764000000
    assert seconds_of_time(datetime(2025, 11, 24, 17, tzinfo=timezone(timedelta(hours=1)))) == 1764000000
    assert seconds_of_time(datetime(2025, 11, 24, 16)) == 1764000000
    assert seconds_of_time(date(2025, 11, 24)) == 1763942400


@pytest.mark.parametrize(
    ("text", "number"),
    [(None, None), ("", None), ("33", 33), (" 33 ", 33), ("33.000", 33), ("0", 0), (str(ID_MAX), ID_MAX)],
)
def test_ids(text: str | None, number: int | None) -> None:
    assert id_of(text) == number


@pytest.mark.parametrize("text", ["-1", "www-data", "33.5", str(ID_MAX + 1), "9" * 300, "3_3", "0x21"])
def test_what_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match="it is"):
        id_of(text)


@pytest.mark.parametrize(
    ("text", "socket"), [(None, ""), ("", ""), ("  ", ""), ("/run/a", "/run/a"), (" :80\n", ":80")]
)
def test_sockets(text: str | None, socket: str) -> None:
    assert socket_of(text) == socket
