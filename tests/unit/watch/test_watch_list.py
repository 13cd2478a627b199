"""Which files and folders are watched."""

from __future__ import annotations

import os
import pickle
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bridge.config.settings import Settings
from bridge.host.links import readlink
from bridge.host.path_watch import EVERYTHING, WatchList
from bridge.model.address import UnixAddress
from bridge.model.vassal import Owner
from bridge.reconcile.run import Scope
from bridge.vassals.guard import Guard
from bridge.watch.watch_list import LINK_FOLDERS, WatchedPaths, add_links, base_list
from tests.unit.build import make_vassal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class FolderMonitor:
    """Watches one folder, and reports nothing."""

    def __init__(self, folder: Path) -> None:
        self.id = "folder"
        self._folder = str(folder)

    def report(self, only: Any = None) -> Any:
        raise NotImplementedError

    def keys(self) -> list[str] | None:
        return []

    def key_at(self, path: str) -> str | None:
        return path

    def holds(self, path: str) -> bool:
        return path.startswith(self._folder)

    def watch(self, watch_list: WatchList) -> None:
        watch_list.contents(self._folder)

    mirror = ""

    def settle(self, has_units: Callable[[str], bool]) -> None:
        del has_units

    def close(self) -> None:
        """There is nothing to close."""


def desired_of(*configs: Path) -> Any:
    """Return a desired state with rejected vassals of these configs."""
    vassals = [make_vassal(config.name, folder=str(config.parent), owner=Owner(1001, 1001)) for config in configs]
    return SimpleNamespace(resolved=(), rejections=[SimpleNamespace(vassal=vassal) for vassal in vassals])


def planned_of(scope: Scope, *sockets: Path, before: Path | None = None) -> Any:
    """Return a run that accepted vassals with these sockets; one of them had another socket before."""
    accepted = [SimpleNamespace(vassal=None, addresses=(UnixAddress(str(socket)),)) for socket in sockets]
    for one in accepted:
        one.vassal = SimpleNamespace(config=SimpleNamespace(path="/nowhere/app.ini", owner=Owner()))
    installed = {} if before is None else {"app": SimpleNamespace(addresses=(UnixAddress(str(before)),))}
    return SimpleNamespace(
        scope=scope,
        desired=SimpleNamespace(resolved=accepted, rejections=()),
        conflicts=SimpleNamespace(accepted=accepted),
        actual=SimpleNamespace(installed=installed),
    )


@pytest.fixture
def vassals(tmp_path: Path) -> Path:
    folder = tmp_path / "vassals"
    folder.mkdir()
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def watched(names: Mapping[str, set[str]], path: Path) -> bool:
    return path.name in names.get(str(path.parent), set())


@pytest.mark.parametrize(
    ("others", "is_watched"),
    [
        ({}, True),
        ({"emperor_on_demand_extension": ".socket"}, False),
        ({"emperor_on_demand_directory": "/run/v"}, False),
    ],
)
def test_the_program_of_the_exec_rule_is_watched_only_if_that_is_in_force(
    tmp_path: Path, others: dict[str, str], is_watched: bool
) -> None:
    script = tmp_path / "rule"
    script.touch()
    settings = Settings(emperor_on_demand_exec=f"sh {script}", **others)  # type: ignore[arg-type]
    assert watched(base_list((), settings, ()).names, script) == is_watched


def test_the_configuration_and_the_monitors_folders_are_watched(tmp_path: Path, vassals: Path) -> None:
    names = base_list([FolderMonitor(vassals)], Settings(), [str(tmp_path / "bridge.toml")]).names
    assert watched(names, tmp_path / "bridge.toml")
    assert names[str(vassals)] == {EVERYTHING}


@pytest.mark.parametrize("rule", [{"emperor_on_demand_extension": ".socket"}, {"emperor_on_demand_directory": "/run"}])
def test_the_targets_of_links_are_watched(tmp_path: Path, vassals: Path, rule: dict[str, str]) -> None:
    config = vassals / "one.ini"
    config.symlink_to(tmp_path / "skeletons" / "app.skel")
    (vassals / "one.ini.socket").symlink_to("../addresses/one")
    (vassals / "plain.ini").touch()
    watch_list = WatchList(lambda path: os.readlink(path) if os.path.islink(path) else None)
    settings = Settings(**rule)  # type: ignore[arg-type]
    add_links(watch_list, settings, desired_of(config, vassals / "plain.ini"), Guard())
    assert watched(watch_list.names, tmp_path / "skeletons" / "app.skel")
    assert watched(watch_list.names, tmp_path / "addresses" / "one") == ("emperor_on_demand_extension" in rule)
    assert not watched(watch_list.names, vassals / "plain.ini")


def test_sockets_of_systemd_are_known_until_they_are_replaced(vassals: Path, run: Path) -> None:
    paths = WatchedPaths([FolderMonitor(vassals)], Settings(), ())
    socket = run / "app.sock"
    socket.touch()
    paths.update(planned_of(Scope.all(), socket))
    assert watched(paths.names, socket)
    assert paths.is_unchanged_socket(str(socket))
    assert not paths.has_lost_socket()
    assert not paths.is_unchanged_socket(str(vassals / "app.ini"))
    other = run / "other.sock"
    other.touch()
    other.rename(socket)
    assert not paths.is_unchanged_socket(str(socket))
    assert paths.has_lost_socket()


def test_another_process_goes_on_with_what_this_one_watched(vassals: Path, run: Path) -> None:
    child, daemon = (WatchedPaths([FolderMonitor(vassals)], Settings(), []) for _ in range(2))
    socket = run / "app.sock"
    socket.touch()
    child.update(planned_of(Scope.all(), socket))
    daemon.recall(pickle.loads(pickle.dumps(child.memory(), pickle.HIGHEST_PROTOCOL)))  # noqa: S301 - packed here
    assert (daemon.names, daemon.vassal_folders) == (child.names, child.vassal_folders)
    assert daemon.is_unchanged_socket(str(socket))
    daemon.update(planned_of(Scope.of({"app"}), run / "new.sock", before=socket))
    assert not daemon.is_unchanged_socket(str(socket))
    assert "app.sock" not in daemon.names[str(run)]
    assert "new.sock" in daemon.names[str(run)]


def test_folders_of_sockets_are_not_folders_of_vassals(vassals: Path, run: Path) -> None:
    paths = WatchedPaths([FolderMonitor(vassals)], Settings(), ())
    paths.update(planned_of(Scope.all(), run / "app.sock"))
    assert str(vassals) in paths.vassal_folders
    assert str(run) not in paths.vassal_folders
    assert str(run) in paths.names


def test_a_run_of_some_vassals_changes_only_what_is_watched_for_these(vassals: Path, run: Path) -> None:
    paths = WatchedPaths([FolderMonitor(vassals)], Settings(), ())
    first, second, kept = run / "first.sock", run / "second.sock", run / "kept.sock"
    for socket in (first, second, kept):
        socket.touch()
    paths.update(planned_of(Scope.all(), first, kept))
    folders = set(paths.vassal_folders)
    paths.update(planned_of(Scope.of(frozenset({"app"})), second, before=first))
    assert not watched(paths.names, first)
    assert not paths.is_unchanged_socket(str(first))
    for socket in (second, kept):
        assert watched(paths.names, socket)
        assert paths.is_unchanged_socket(str(socket))
    assert paths.vassal_folders == folders


def test_another_configuration_counts_from_the_next_run_of_all(tmp_path: Path, vassals: Path, run: Path) -> None:
    paths = WatchedPaths([FolderMonitor(vassals)], Settings(), [str(tmp_path / "first.toml")])
    paths.configure([FolderMonitor(run)], Settings(), [str(tmp_path / "second.toml")])
    assert watched(paths.names, tmp_path / "first.toml")
    paths.update(planned_of(Scope.all()))
    assert watched(paths.names, tmp_path / "second.toml")
    assert not watched(paths.names, tmp_path / "first.toml")
    assert paths.names[str(run)] == {EVERYTHING}
    assert str(vassals) not in paths.names


def test_a_vassal_that_cannot_be_watched_keeps_no_other_from_being_watched(
    vassals: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = WatchedPaths([FolderMonitor(vassals)], Settings(), ())
    real = WatchList.file

    def file(watch_list: WatchList, path: str) -> None:
        if path.endswith("bad.sock"):
            raise RecursionError
        real(watch_list, path)

    monkeypatch.setattr(WatchList, "file", file)
    planned = planned_of(Scope.all(), run / "bad.sock", run / "good.sock")
    for one in planned.desired.resolved:
        one.vassal.key = one.vassal.name = one.addresses[0].path
    (problem,) = paths.update(planned)
    assert (problem.code, problem.key) == ("internal", str(run / "bad.sock"))
    assert watched(paths.names, run / "good.sock")


def test_one_owners_links_are_watched_within_bounds(tmp_path: Path, vassals: Path) -> None:
    configs = [vassals / f"m{number}.ini" for number in range(30)]
    for number, config in enumerate(configs):
        config.symlink_to("/".join([f"{tmp_path}/deep{number}", *(f"d{at}" for at in range(100)), "x.ini"]))
    watch_list = WatchList(readlink)
    cut = add_links(watch_list, Settings(), desired_of(*configs), Guard())
    assert LINK_FOLDERS <= len(watch_list.names) < LINK_FOLDERS + 200
    assert {(one.code, one.owner) for one in cut} == {("links-unwatched", 1001)}
    assert len(cut) == 30 - 10
    # Another owner's are watched all the same.
    other = vassals / "other.ini"
    other.symlink_to(tmp_path / "elsewhere" / "other.skel")
    desired = desired_of(*configs, other)
    desired.rejections[-1].vassal = make_vassal("other.ini", folder=str(vassals), owner=Owner(1002, 1002))
    again = WatchList(readlink)
    add_links(again, Settings(), desired, Guard())
    assert watched(again.names, tmp_path / "elsewhere" / "other.skel")
