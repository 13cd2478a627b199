from __future__ import annotations

import mmap
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from bridge.cli.reload_upgraded import _REPLACED, Renewal, main, runs_replaced
from bridge.model.unit import UnitState

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

UP = UnitState(load="loaded", active="active", sub="running")
DOWN = UnitState(load="loaded", active="inactive", sub="dead")


class Host:
    """A manager whose services run the old uWSGI until they are told; `mute` never do anything."""

    def __init__(self, running: Collection[str], mute: Collection[str] = ()) -> None:
        self.pids = {unit: number for number, unit in enumerate(running, 100)}
        self.mute = mute
        self.told: list[list[str]] = []
        self.stale = set(self.pids.values())

    def units(self, only: Collection[str]) -> dict[str, UnitState]:
        return {unit: UP if unit in self.pids else DOWN for unit in only}

    def properties(self, units: Sequence[str], _interface: str, name: str) -> dict[str, Any]:
        return {unit: self.pids[unit] if name == "MainPID" else 0 for unit in units}

    def reload_units(self, units: Collection[str]) -> dict[str, str]:
        self.told.append(list(units))
        self.stale -= {self.pids[unit] for unit in units if unit not in self.mute}
        return {}


def renew(host: Host, services: Sequence[str], size: int) -> tuple[int, list[str]]:
    manager: Any = host
    return Renewal(manager, host.stale.__contains__, lambda _: None).run(services, size)


def test_running_vassals_are_reloaded_in_batches_and_waiting_ones_are_not() -> None:
    running = [f"vassal-{number}.service" for number in range(5)]
    host = Host(running)
    assert renew(host, [*running, "vassal-waits.service"], 2) == (5, [])
    assert host.told == [running[:2], running[2:4], running[4:]]


def test_a_vassal_that_runs_another_uwsgi_is_left_alone() -> None:
    host = Host(["vassal-a.service", "vassal-venv.service"])
    host.stale.remove(host.pids["vassal-venv.service"])
    assert renew(host, ["vassal-a.service", "vassal-venv.service"], 10) == (1, [])
    assert host.told == [["vassal-a.service"]]


def test_one_that_does_not_follow_holds_up_the_others_for_a_while_only() -> None:
    host = Host(["vassal-a.service", "vassal-b.service"], mute=["vassal-a.service"])
    assert renew(host, ["vassal-a.service", "vassal-b.service"], 1) == (1, ["vassal-a.service"])
    assert host.told == [["vassal-a.service"], ["vassal-b.service"]]


def test_files_of_uwsgis_packages_that_are_gone() -> None:
    line = "7f00-7f01 r-xp 00000000 00:2a 42   {}\n"
    for path in ("/usr/bin/uwsgi-core (deleted)", "/usr/lib/uwsgi/plugins/python3_plugin.so (deleted)"):
        assert _REPLACED.search(line.format("/usr/lib/x86_64-linux-gnu/libc.so.6") + line.format(path))
    for path in ("/usr/bin/uwsgi-core", "/opt/venv/bin/uwsgi (deleted)", "/usr/lib/libc.so.6 (deleted)"):
        assert not _REPLACED.search(line.format(path))


def test_a_process_with_a_file_of_another_name_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "gone"
    path.write_bytes(b"x" * mmap.PAGESIZE)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        path.unlink()
        assert not runs_replaced(os.getpid())
    assert not runs_replaced(2**22 + 1)


@pytest.mark.parametrize("batch", ["", "0", "-1", "ten"])
def test_a_batch_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch, batch: str) -> None:
    monkeypatch.setattr(sys, "argv", ["reload-vassals", batch])
    with pytest.raises(SystemExit, match=f"^RELOAD_BATCH is {batch!r}, and must be"):
        main()
