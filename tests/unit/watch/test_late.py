"""The daemon runs again for vassals that had not ended."""

from __future__ import annotations

import time

from bridge.model.unit import UnitChange
from bridge.reconcile.stops import AGAIN, LateVassal
from bridge.watch.late import LateRuns


def change(unit: str, state: str) -> UnitChange:
    return UnitChange(unit, "Unit", {"ActiveState": state})


def test_the_end_of_a_late_vassal_is_noticed() -> None:
    late = {"dir:a.ini": LateVassal("a", time.monotonic() + 100), "dir:b.ini": LateVassal("b", time.monotonic() + 50)}
    runs = LateRuns(lambda: late)
    assert runs.due() == late["dir:b.ini"].due
    assert runs.take() == frozenset()
    for one in (
        change("vassal-a.service", "deactivating"),
        change("vassal-c.service", "inactive"),
        UnitChange("vassal-a.service", "Service", {"Result": "success"}),
    ):
        runs.unit_changed(one)
    assert runs.take() == frozenset()
    runs.unit_changed(change("vassal-a.service", "inactive"))
    assert runs.due() == 0.0
    assert runs.take() == {"dir:a.ini"}
    assert runs.take() == frozenset()


def test_a_late_vassal_whose_time_is_over_is_due() -> None:
    late = {"dir:a.ini": LateVassal("a", time.monotonic() - 1)}
    runs = LateRuns(lambda: late)
    assert runs.take() == {"dir:a.ini"}
    late.clear()
    assert runs.due() is None
    assert runs.take() == frozenset()


def test_a_run_that_failed_is_not_made_again_at_once() -> None:
    """It has left the time as it was. A run that ended well notes another."""
    late = {"dir:a.ini": LateVassal("a", time.monotonic() - 1), "dir:b.ini": LateVassal("b", time.monotonic() + 100)}
    runs = LateRuns(lambda: late)
    began = time.monotonic()
    assert runs.take() == {"dir:a.ini"}
    assert runs.take() == frozenset()
    due = runs.due()
    assert due is not None
    assert began + AGAIN <= due <= time.monotonic() + AGAIN
    late["dir:b.ini"] = LateVassal("b", time.monotonic() - 1)
    assert runs.take() == {"dir:b.ini"}
    assert runs.due() == due
    late["dir:a.ini"] = LateVassal("a", time.monotonic() - 1)
    assert runs.take() == {"dir:a.ini"}
