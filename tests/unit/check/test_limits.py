"""Limits that many vassals come near."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.check.limits import Limits, Load, find_limits, find_long_queues, read_limits
from bridge.uwsgi.options import Config, Option
from tests.unit.build import make_resolved

CONFIG = Config("/v/a.ini", (Option("listen", "200", "/v/a.ini", 3),))
VASSALS = [(replace(make_resolved(f"a{n}.ini", f"/run/{n}.sock"), backlog=200), CONFIG) for n in range(100)]
ROOM = Limits(descriptors=601, backlog=200, watches=2, processes=200)


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (replace(ROOM, descriptors=599), "limit-descriptors"),
        (replace(ROOM, processes=199), "limit-processes"),
        (replace(ROOM, watches=1), "limit-watches"),
    ],
)
def test_each_limit_is_told_once(limits: Limits, code: str) -> None:
    assert [found.code for found in find_limits(Load.of(VASSALS), limits)] == [code]


def test_what_vassals_take_adds_up() -> None:
    assert Load.of(VASSALS[:30]) + Load.of(VASSALS[30:]) == Load.of(VASSALS)


def test_where_there_is_room_nothing_is_told() -> None:
    assert list(find_limits(Load.of(VASSALS), ROOM)) == []
    assert list(find_limits(Load.of(VASSALS), Limits())) == []
    assert list(find_long_queues(VASSALS, ROOM)) == []


def test_a_queue_that_is_too_long_is_told_of_each_vassal_with_its_line() -> None:
    found = list(find_long_queues(VASSALS[:2], replace(ROOM, backlog=199)))
    assert [(one.code, one.path, one.line) for one in found] == [("listen-too-long", "/v/a.ini", 3)] * 2


def test_the_real_limits_are_read() -> None:
    limits = read_limits()
    assert 0 < limits.backlog < limits.descriptors * 10**9
    assert 0 < limits.processes < 1 << 62
    assert 0 < limits.watches < 1 << 62
