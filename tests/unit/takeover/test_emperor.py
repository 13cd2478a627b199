"""Which process is an Emperor's, and which service is found by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bridge.diagnostics import BridgeError
from bridge.model.unit import UnitState
from bridge.takeover import emperor
from bridge.takeover.emperor import Emperor, configs_of, find_emperor, is_emperor

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path


def test_the_configs_of_a_command_line() -> None:
    assert configs_of(["uwsgi", "--ini", "a.ini", "--xml=b.xml", "--master", "c.yml", "--config", "d"]) == [
        "a.ini",
        "b.xml",
        "c.yml",
        "d",
    ]
    assert configs_of(["a.ini"]) == configs_of(["uwsgi", "--http", ":80"]) == []


def test_an_emperor_is_told_by_its_command_line_or_its_config(tmp_path: Path) -> None:
    (tmp_path / "emperor.ini").write_text("[uwsgi]\nmaster = true\nemperor = /etc/vassals\n")
    (tmp_path / "app.ini").write_text("[uwsgi]\nmaster = true\n")
    cwd = str(tmp_path)
    assert is_emperor(["/usr/bin/uwsgi", "--emperor", "/v"], cwd)
    assert is_emperor(["uwsgi-core", "--emperor=/v"], cwd)
    assert is_emperor(["uwsgi", "--ini", "emperor.ini"], cwd)
    assert is_emperor(["uwsgi", f"{cwd}/emperor.ini"], "/")
    assert not is_emperor(["uwsgi", "--ini", "emperor.ini"], "/nowhere")
    assert not is_emperor(["uwsgi", "--ini", "app.ini"], cwd)
    assert not is_emperor(["vi", "--ini", "emperor.ini"], cwd)
    assert not is_emperor([""], cwd)


class Units:
    """A manager that knows services by their main processes."""

    def __init__(self, main: Mapping[str, int], triggers: Sequence[str] = ()) -> None:
        self._main = main
        self._triggers = triggers

    def units(self, only: Collection[str]) -> dict[str, UnitState]:
        return {unit: UnitState(load="loaded", active="active", sub="running") for unit in only if unit in self._main}

    def properties(self, units: Sequence[str], _interface: str, name: str) -> dict[str, Any]:
        return {unit: self._main[unit] if name == "MainPID" else self._triggers for unit in units}


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> dict[int, tuple[str, str]]:
    """Processes by id, each with its service and its command line."""
    made: dict[int, tuple[str, str]] = {}
    monkeypatch.setattr(emperor, "process_ids", lambda: list(made))
    monkeypatch.setattr(emperor, "service_of_process", lambda pid, **_: made.get(pid, ("", ""))[0])
    monkeypatch.setattr(emperor, "command_line", lambda pid: tuple(made[pid][1].split()))
    return made


def find(named: str | None, manager: Any) -> Emperor:
    return find_emperor(named, manager, is_users=False)


def test_the_only_service_is_found_whose_main_process_is_an_emperor(processes: dict[int, tuple[str, str]]) -> None:
    processes |= {
        5: ("uwsgi.service", "uwsgi --emperor /v"),
        6: ("uwsgi.service", "uwsgi --emperor /v"),
        7: ("vassal-x.service", "uwsgi --emperor /w"),
        8: ("web.service", "nginx"),
        9: ("", "uwsgi --emperor /of/a/shell"),
        # Anybody can call his process so.
        10: ("web.service", "uwsgi --emperor /fake"),
    }
    manager = Units({"uwsgi.service": 5, "web.service": 8, "vassal-x.service": 7}, triggers=["uwsgi.socket"])
    assert find(None, manager) == Emperor("uwsgi.service", ("uwsgi.socket",))
    assert find(None, manager).units == ["uwsgi.socket", "uwsgi.service"]
    assert find("6", manager).unit == find("uwsgi", manager).unit == find("uwsgi.service", manager).unit


@pytest.mark.parametrize(
    ("named", "why"),
    [
        (None, "several services run an Emperor: a.service, b.service"),
        ("7", "the process 7 is not in a service"),
        ("404", "the process 404 is not in a service"),
        ("c", "c.service does not run"),
        ("a.socket", "a.socket is no service"),
        ("vassal-a.service", "vassal-a.service is no service of an Emperor's"),
    ],
)
def test_what_is_not_found_is_told(processes: dict[int, tuple[str, str]], named: str | None, why: str) -> None:
    processes |= {5: ("a.service", "uwsgi --emperor /v"), 6: ("b.service", "uwsgi --emperor /v"), 7: ("", "sh")}
    with pytest.raises(BridgeError, match=why):
        find(named, Units({"a.service": 5, "b.service": 6}))


def test_where_there_is_none_the_hint_names_one(processes: dict[int, tuple[str, str]]) -> None:
    assert processes == {}
    with pytest.raises(BridgeError, match="take-over uwsgi-emperor"):
        find(None, Units({}))


def test_what_looks_like_an_emperor_and_is_not_found_is_told(processes: dict[int, tuple[str, str]]) -> None:
    processes |= {9: ("", "uwsgi --emperor /v")}
    with pytest.raises(BridgeError, match=r"the process 9 looks like one and is in no service.*let a unit run it"):
        find(None, Units({}))
    processes |= {5: ("uwsgi-emperor.service", "uwsgi --emperor /v"), 8: ("web.service", "uwsgi --emperor /fake")}
    with pytest.raises(BridgeError, match=r"in uwsgi-emperor\.service looks.*take-over uwsgi-emperor\.service"):
        find(None, Units({"uwsgi-emperor.service": 0, "web.service": 7}))
