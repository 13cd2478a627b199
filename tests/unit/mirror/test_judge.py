"""What counts of a row that a server has, and what is said of one that does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.feeder.protocol import Row
from bridge.mirror.judge import RowRules, judge, merge_duplicate, without_times

ROW = Row(name="app.ini", config="[uwsgi]", ts=1.0, uid=1000, gid=1000, socket="/run/app.sock")
TYRANT = RowRules(is_tyrant=True)


def refusal(row: Row, rules: RowRules = TYRANT) -> tuple[str, str]:
    """Return the code and the message of a row that does not count."""
    judged = judge(row, rules)
    assert judged.row is None
    (note,) = judged.notes
    assert note.name == row.name
    assert note.hint
    assert not note.is_warning
    return note.code, note.message


def test_a_good_row_counts_as_it_is() -> None:
    assert judge(ROW, TYRANT) == (ROW, ())


def test_numbers_of_users_count_in_tyrant_mode_only() -> None:
    assert judge(ROW, RowRules()).row == replace(ROW, uid=None, gid=None)


@pytest.mark.parametrize("socket", [" /run/app.sock \n", "/run/app.sock"])
def test_blanks_around_an_address_do_not_count(socket: str) -> None:
    assert judge(replace(ROW, socket=socket), TYRANT).row == ROW


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("app", "does not end like a config"),
        ("", "does not end like a config"),
        ("app.conf", "does not end like a config"),
        ("a/b.ini", "has a slash"),
        ("spa ce/../x.ini", "has a slash"),
        ("col:on.ini", "section"),
        (".hidden.ini", "begins with a dot"),
        (".ini", "begins with a dot"),
        ("new\nline.ini", "control character"),
        ("nul\0.ini", "control character"),
        ("é" * 126 + ".ini", "256 bytes"),
        ("\ud800.ini", "UTF-8"),
    ],
)
def test_a_name_that_is_no_vassals(name: str, why: str) -> None:
    code, message = refusal(replace(ROW, name=name))
    assert code == "row-name"
    assert why in message


def test_the_longest_name() -> None:
    assert judge(replace(ROW, name="x" * 250 + ".ini"), TYRANT).row is not None
    assert judge(replace(ROW, name="x" * 251 + ".ini"), TYRANT).row is None


def test_extra_extensions_count() -> None:
    row = replace(ROW, name="app.conf")
    assert judge(row, RowRules(is_tyrant=True, extra_extensions=(".conf",))).row == row


def test_a_row_without_a_text_is_named_by_a_path() -> None:
    row = replace(ROW, name="/etc/sites/a.ini", config=None)
    assert judge(row, TYRANT).row == row
    assert refusal(replace(row, name="http://host/a.ini"))[0] == "row-name"


@pytest.mark.parametrize(
    ("uid", "gid", "what"),
    [
        (None, 5, "uid is"),
        (5, None, "gid is"),
        (0, 5, "uid is"),
        (0, 0, "uid and gid are"),
        (None, None, "uid and gid"),
    ],
)
def test_tyrant_needs_an_owner_who_is_not_root(uid: int | None, gid: int | None, what: str) -> None:
    row = replace(ROW, uid=uid, gid=gid)
    code, message = refusal(row)
    assert code == "row-owner"
    assert what in message
    assert judge(row, RowRules()).row is not None


@pytest.mark.parametrize("number", [-1, 2**32 - 1, 10**30])
def test_numbers_that_are_no_users(number: int) -> None:
    assert refusal(replace(ROW, uid=number))[0] == "row-owner"
    assert refusal(replace(ROW, gid=number))[0] == "row-owner"


@pytest.mark.parametrize("ts", [float("nan"), float("inf"), 1e300])
def test_a_time_that_is_none(ts: float) -> None:
    assert refusal(replace(ROW, ts=ts))[0] == "row-ts"


def test_long_texts() -> None:
    assert judge(replace(ROW, config="x" * 65_535), TYRANT).notes == ()
    judged = judge(replace(ROW, config="x" * 65_536), TYRANT)
    assert judged.row is not None
    assert [(note.code, note.is_warning) for note in judged.notes] == [("row-long", True)]
    assert refusal(replace(ROW, config="é" * 524_289))[0] == "row-text"
    assert refusal(replace(ROW, config="\udfff"))[0] == "row-text"


@pytest.mark.parametrize("socket", ["/run/a\nb", "x" * 257, "a\0b"])
def test_addresses_that_no_file_may_hold(socket: str) -> None:
    assert refusal(replace(ROW, socket=socket))[0] == "row-socket"


def test_of_two_rows_the_first_address_counts() -> None:
    row, note = merge_duplicate("/run/first.sock", replace(ROW, socket="/run/second.sock"))
    assert row == replace(ROW, socket="/run/first.sock")
    assert note.code == "row-duplicate"
    assert note.is_warning


def test_rows_without_times_are_one_warning() -> None:
    assert without_times(1, "a.ini").message == "a row has no time of the last change (ts), such as a.ini"
    assert without_times(1200, "a.ini").message.startswith("1,200 rows have no time")
