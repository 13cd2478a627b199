"""The real Emperor beside the bridge: the same folder and emperor.ini; a table has the reason of every difference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .beside import Both, compare
from .beside_cases import GROUPS
from .beside_differences import DIFFERENCES

if TYPE_CHECKING:
    from .machine import Machine

CASES = [f"{group.name}/{case.name}" for group in GROUPS for case in group.cases]
LEAST = 60
README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def both(machine: Machine) -> dict[str, Both]:
    """What both made of all the vassals."""
    return compare(machine, GROUPS)


def test_there_are_enough_cases() -> None:
    assert len(set(CASES)) == len(CASES)
    assert len(CASES) >= LEAST
    assert f"{len(CASES)} vassals under the real Emperor" in README.read_text("utf-8")


@pytest.mark.parametrize("case", CASES)
def test_every_difference_is_known_and_has_a_reason(both: dict[str, Both], case: str) -> None:
    unknown = [
        difference
        for difference in both[case].differences()
        if not any(known.covers(case, *difference) for known in DIFFERENCES)
    ]
    assert unknown == []


def test_the_table_has_no_row_that_is_not_so(both: dict[str, Both]) -> None:
    seen = [(case, *difference) for case, found in both.items() for difference in found.differences()]
    assert [row for row in DIFFERENCES if not any(row.covers(*one) for one in seen)] == []
