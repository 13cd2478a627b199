from __future__ import annotations

import pytest

from bridge.feeder.pace import pause_in_burst


@pytest.mark.parametrize(("since_first", "pause"), [(0, 0.05), (0.2, 0.05), (0.27, 0.03), (0.3, 0), (5, 0)])
def test_a_burst_is_waited_for_but_not_for_long(since_first: float, pause: float) -> None:
    assert pause_in_burst(1000, 1000 + since_first) == pytest.approx(pause)
