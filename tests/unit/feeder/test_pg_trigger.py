from __future__ import annotations

import pytest

from bridge.feeder.pg_questions import LISTEN
from bridge.feeder.pg_trigger import CHANNEL, quoted, trigger_sql


@pytest.mark.parametrize(
    ("table", "sql"),
    [("vassals", '"vassals"'), ("user", '"user"'), ("A b.c", '"A b"."c"'), ('x"; DROP', '"x""; DROP"')],
)
def test_a_table_stands_for_itself(table: str, sql: str) -> None:
    assert quoted(table) == sql


def test_a_name_of_two_lines_does_not_leave_the_comment() -> None:
    first, *_ = trigger_sql("a\nDROP TABLE b; --").splitlines()
    assert first.startswith("--")
    assert "DROP" in first


def test_the_feeder_listens_where_the_trigger_notifies() -> None:
    assert f"LISTEN {CHANNEL};" in LISTEN
    assert f"'{CHANNEL}'" in LISTEN
    assert f"pg_notify('{CHANNEL}'" in trigger_sql("vassals")


def test_what_is_replicated_fires_a_trigger_of_rows_that_alone_does_not_count() -> None:
    text = trigger_sql("vassals")
    assert "FOR EACH ROW" in text
    assert f'ALTER TABLE "vassals" ENABLE REPLICA TRIGGER {CHANNEL}_replicated;' in text
    assert "tgenabled IN ('A', 'O')" in LISTEN
