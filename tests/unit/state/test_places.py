"""The folder of places goes with the last vassal, and not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.state.places import forget_places

if TYPE_CHECKING:
    from pathlib import Path


def test_it_goes_when_nobody_has_a_place(tmp_path: Path) -> None:
    places = tmp_path / "places"
    for kind in ("starting/all", "running/4001", "waiting"):
        (places / kind).mkdir(parents=True)
    (places / "lock").touch()
    taken = places / "running" / "4001" / "vassal-a.service"
    taken.touch()
    forget_places(str(places))
    assert sorted(path.name for path in places.rglob("*")) == ["4001", "lock", "running", "vassal-a.service"]
    taken.unlink()
    forget_places(str(places))
    assert not places.exists()


def test_there_may_be_none(tmp_path: Path) -> None:
    forget_places(str(tmp_path / "places"))
