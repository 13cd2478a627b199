"""The real Emperor beside the bridge, on the same rows and messages; a table has the reason of every difference."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

import pytest

from .beside_monitors.differences import DIFFERENCES
from .beside_monitors.stages import CASES
from .suite import CHECKOUT, PYTHON

if TYPE_CHECKING:
    from .machine import Machine

LEAST = 60
MODULE = "tests.booted.beside_monitors.run"
NAMES = [case.name for case in CASES]


class Look(NamedTuple):
    """What was seen of one aspect of a case."""

    case: str
    aspect: str
    emperor: str
    bridge: str


@pytest.fixture(scope="module")
def looks(machine: Machine) -> list[Look]:
    """What was seen of all cases on both sides."""
    result = machine.run(PYTHON, "-m", MODULE, cwd=str(CHECKOUT), timeout=900)
    print(result.stderr)  # noqa: T201 - how far it came, and when
    seen = json.loads(result.stdout)
    return [
        Look(name, aspect, sides["emperor"][aspect], sides["bridge"][aspect])
        for name, sides in seen.items()
        for aspect in sides["bridge"]
    ]


def test_there_are_enough_cases() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert len(NAMES) >= LEAST
    assert f"{len(NAMES)} rows and messages" in (CHECKOUT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_the_bridge_does_right_and_every_difference_has_a_reason(looks: list[Look], name: str) -> None:
    case = next(case for case in CASES if case.name == name)
    right = {
        f"{number} {aspect}": value for number, step in enumerate(case.steps, 1) for aspect, value in step.then.items()
    }
    right |= {f"end {aspect}": value for aspect, value in case.last.items()}
    own = [look for look in looks if look.case == name]
    assert {look.aspect: look.bridge for look in own} == right
    unknown = [
        look
        for look in own
        if look.emperor != look.bridge
        and not any(row.covers(look.case, look.aspect, look.emperor, look.bridge) for row in DIFFERENCES)
    ]
    assert unknown == []


def test_the_table_has_no_row_that_is_not_so(looks: list[Look]) -> None:
    def holds(cases: str, aspect: str, emperor: object, bridge: object) -> bool:
        """Tell whether all cases of a row are as it says: one that differs no more is not hidden by others."""
        meant = [look for look in looks if fnmatchcase(look.case, cases) and fnmatchcase(look.aspect, aspect)]
        right = [look for look in meant if look.bridge == bridge]
        return bool(right) and all(look.emperor == emperor for look in right)

    assert [row for row in DIFFERENCES if not holds(row.cases, row.aspect, row.emperor, row.bridge)] == []
