"""An address that a vassal's own app has is free for it, and for nobody else."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

from bridge.model.change import Verb
from bridge.reconcile import occupied
from bridge.reconcile.run import RunOptions
from tests.unit.reconcile.site import Site, verbs

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_an_app_that_bound_its_address_itself_can_wait_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "units").mkdir()
    site = Site(tmp_path)
    site.write("a")
    site.sync()
    with socket.socket(socket.AF_UNIX) as own:
        own.bind(f"\0{site.name}-p")
        own.listen()
        number = os.fstat(own.fileno()).st_ino

        def problems(name: str, *services: str) -> list[tuple[str, str]]:
            """Plan for a vassal that is to wait there, while the socket is held by these services."""
            site.write(name, "p")
            monkeypatch.setattr(occupied, "sockets_of", lambda unit, **_: {number} if unit in services else set())
            with site.reconciler() as reconciler, reconciler.hold():
                planned = reconciler.plan(site.manager)
            return [(str(d.vassal), d.code) for d in planned.diagnostics]

        assert problems("b", "vassal-a.service") == [("b.ini", "address-occupied")]
        assert problems("b", "vassal-b.service") == [("b.ini", "address-occupied")]
        (site.folder / "b.ini").unlink()
        assert problems("a", "vassal-b.service") == [("a.ini", "address-occupied")]
        assert problems("a", "vassal-a.service") == []
    assert verbs(site.sync()) == {"a.ini": Verb.CHANGED}
    site.manager.close()


def test_what_ends_before_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "units").mkdir()
    site = Site(tmp_path)
    site.write("a", "p")
    (site.folder / "b.ini.socket").write_text("b.sock\n")
    (site.folder / "b.ini").write_text("[uwsgi]\nmaster = true\n")
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other, contextlib.chdir(site.folder):
        one.bind(f"\0{site.name}-p")
        # As the Emperor does in the folder of its vassals.
        other.bind("b.sock")
        numbers = set()
        for bound in (one, other):
            bound.listen()
            numbers.add(os.fstat(bound.fileno()).st_ino)
        for ending, codes in ((None, 2), (frozenset(numbers), 0), (frozenset(list(numbers)[:1]), 1)):
            with site.reconciler() as reconciler, reconciler.hold():
                planned = reconciler.plan(site.manager, RunOptions(ending=ending))
            assert [problem.code for problem in planned.diagnostics] == ["address-occupied"] * codes
