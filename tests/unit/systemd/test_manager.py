from __future__ import annotations

import pytest

from bridge.systemd.object_paths import object_path, unit_of


@pytest.mark.parametrize(
    ("unit", "escaped"),
    [
        ("vassal-a.b.service", "vassal_2da_2eb_2eservice"),
        ("vassal-\\xe4.socket", "vassal_2d_5cxe4_2esocket"),
        ("vassals.target", "vassals_2etarget"),
        ("pause-vassal-a.service", "pause_2dvassal_2da_2eservice"),
    ],
)
def test_object_paths_of_vassals_units(unit: str, escaped: str) -> None:
    path = object_path(unit)
    assert path == f"/org/freedesktop/systemd1/unit/{escaped}"
    assert unit_of(path) == unit


@pytest.mark.parametrize(
    "path", ["/org/freedesktop/systemd1", object_path("ssh.service"), object_path("pause-a.service")]
)
def test_other_object_paths_are_no_vassals(path: str) -> None:
    assert unit_of(path) == ""
