"""The gap is what the samples show, and never less."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from bridge.model.address import AbstractAddress, UnixAddress
from bridge.takeover import gap
from bridge.takeover.gap import Gap, GapMeter, GapWatch

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

A, B = AbstractAddress("a"), AbstractAddress("b")


def test_a_gap_begins_with_the_last_sample_that_was_served_and_ends_with_the_first() -> None:
    meter = GapMeter([A, B], 10.0)
    meter.sample(11.0, {A: {1}, B: {2}}, ())
    meter.sample(12.0, {B: {2}}, ())
    meter.sample(13.0, {B: {2}}, ())
    assert set(meter.silent) == {A}
    assert meter.gap() == Gap(seconds={"@a": 2.0, "@b": 0.0}, silent=("@a",))
    meter.sample(14.0, {A: {7}, B: {2}}, ())
    assert meter.gap() == Gap(seconds={"@a": 3.0, "@b": 0.0})
    meter.sample(15.0, {A: {7}, B: {2}}, ())
    meter.sample(16.0, {B: {2}}, ())
    meter.sample(17.0, {A: {7}, B: {2}}, ())
    found = meter.gap()
    assert found.seconds == {"@a": 5.0, "@b": 0.0}
    assert (found.refused, found.median, found.worst) == (1, 2.5, ("@a", 5.0))


def test_a_socket_behind_which_no_app_is_left_does_not_count() -> None:
    meter = GapMeter([A], 0.0)
    meter.sample(1.0, {A: {1}}, {1})
    meter.sample(2.0, {A: {1, 2}}, {1})
    assert meter.gap().seconds == {"@a": 2.0}


def test_without_addresses_there_is_no_gap() -> None:
    found = GapMeter([], 0.0).gap()
    assert (found.refused, found.median, found.worst, found.silent) == (0, 0.0, ("", 0.0), ())


def test_the_kernel_is_asked_until_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "s")
    kept, gone = UnixAddress(path), UnixAddress(f"{path}-gone")
    monkeypatch.setattr(gap, "STEP", 0.001)
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
        one.bind(path)
        one.listen()
        other.bind(gone.path)
        other.listen()
        watch = GapWatch([kept, gone])
        watch.wait(30)
        # It listens on, but no client finds it.
        os.unlink(gone.path)
        watch.wait(0.1)
        found = watch.close()
    assert found.seconds[str(kept)] == 0
    assert found.seconds[str(gone)] > 0
    assert found.silent == (gone.path,)
