"""One tenant's slow commands put nobody else off."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from bridge.config.settings import Settings
from bridge.model.vassal import Owner
from bridge.vassals import on_demand
from bridge.vassals.on_demand import apply_on_demand_rule
from bridge.vassals.patience import MOST, REFILL, USUAL, Patience
from tests.unit.build import make_vassal

if TYPE_CHECKING:
    from pathlib import Path

MALLORY, VICTIM = Owner(1001, 1001), Owner(1002, 1002)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_slowness_is_counted_and_forgotten() -> None:
    clock = Clock()
    patience = Patience(clock)
    assert patience.limit(1001) == USUAL + MOST
    for _ in range(1000):
        patience.charge(1001, USUAL)
    assert patience.limit(1001) == USUAL + MOST
    patience.charge(1001, USUAL + MOST)
    assert patience.limit(1001) == 0.0
    assert patience.limit(1002) == USUAL + MOST
    clock.now += 1 / REFILL
    assert patience.limit(1001) == pytest.approx(USUAL + 1.0)
    clock.now += 10 * MOST / REFILL
    assert patience.limit(1001) == USUAL + MOST


@pytest.mark.parametrize("reads", ["cat {}/fifo", "sh -c 'sleep 100'"])
def test_a_tenants_commands_that_wait_cost_a_few_seconds_and_then_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: str
) -> None:
    import os

    os.mkfifo(tmp_path / "fifo")
    script = tmp_path / "rule"
    script.write_text(f"#!/bin/sh\ncase $1 in *bad*) {reads.format(tmp_path)} ;; esac\necho @$$\n")
    script.chmod(0o755)
    monkeypatch.setattr(on_demand, "_PATIENCE", Patience())
    monkeypatch.setattr("bridge.vassals.patience.MOST", 0.5)
    monkeypatch.setattr("bridge.vassals.patience.USUAL", 0.3)
    settings = Settings(emperor_tyrant=True, emperor_on_demand_exec=str(script))
    folder = str(tmp_path)
    vassals = [make_vassal(f"bad{number}.ini", folder=folder, owner=MALLORY) for number in range(30)]
    vassals.append(make_vassal("good.ini", folder=folder, owner=VICTIM))
    for longest in (5.0, 1.0):
        began = time.monotonic()
        *bad, good = apply_on_demand_rule(settings, vassals)
        assert time.monotonic() - began < longest
        assert all(one.is_invalid for one in bad)
        assert good.address is not None
    assert "is not run for this one now" in bad[0].diagnostics[0].message
