"""Which vassals a changed path can affect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from bridge.config.settings import Settings
from bridge.monitors import open_monitors
from bridge.monitors.directory import DirectoryMonitor
from bridge.monitors.glob import GlobMonitor
from bridge.monitors.mirrored import MirroredMonitor
from bridge.reconcile.run import Scope
from bridge.state.cache import CachedVassal, VassalCache
from bridge.watch.affected import known_scope, scope_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bridge.monitors.base import Monitor

EXTENSION = Settings(emperor_on_demand_extension=".socket")


@dataclass
class Case:
    """Monitors, with the settings they were opened with."""

    monitors: tuple[Monitor, ...]
    settings: Settings

    def scope(self, paths: Iterable[str], included: Iterable[str] = ()) -> Scope:
        cache = VassalCache({})
        cache.included.update(included)
        return scope_of(paths, cache, self.monitors, self.settings)

    def keys(self, configs: Iterable[str]) -> Scope:
        """Return the scope of the vassals that have these configs."""
        keys = [monitor.key_at(config) for config in configs for monitor in self.monitors]
        return Scope.of(frozenset(key for key in keys if key is not None))


def folder(settings: Settings = EXTENSION) -> Case:
    return Case((DirectoryMonitor("/v", settings),), settings)


def pattern(settings: Settings = EXTENSION) -> Case:
    return Case((GlobMonitor("/v/*/app.ini", settings),), settings)


INCLUDED = ("shared.ini",)


@pytest.mark.parametrize(
    ("case", "path", "configs"),
    [
        (folder(), "/v/a.ini", {"/v/a.ini"}),
        (folder(), "/v/a.ini.socket", {"/v/a.ini"}),
        (folder(), "/v/new.ini", {"/v/new.ini"}),
        (folder(), "/v/new.ini.socket", {"/v/new.ini"}),
        (folder(), "/v/.a.ini.swp", set()),
        (folder(), "/v/notes.txt.socket", set()),
        # Some config includes the file; the cache does not say which.
        (folder(), "/v/shared.ini", None),
        # The config's own path leads here through a symlink.
        (folder(), "/elsewhere/a.ini", None),
        (folder(), "/run/a.sock", None),
        (pattern(), "/v/x/app.ini", {"/v/x/app.ini"}),
        (pattern(), "/v/x/app.ini.socket", {"/v/x/app.ini"}),
        (pattern(), "/v/x/upload.bin", set()),
        (pattern(), "/v/.x/app.ini", None),
        (pattern(), "/v/x/y/app.ini", None),
    ],
)
def test_the_vassals_of_a_path(case: Case, path: str, configs: set[str] | None) -> None:
    if configs:
        assert not case.keys(configs).is_all
        assert case.keys(configs) != Scope.of(frozenset())
    assert case.scope([path], INCLUDED) == (Scope.all() if configs is None else case.keys(configs))


def test_one_path_that_can_affect_all_is_enough() -> None:
    case = folder()
    assert case.scope(["/v/a.ini", "/run/a.sock"]) == Scope.all()
    assert case.scope(["/v/a.ini", "/v/b.ini"]) == case.keys(["/v/a.ini", "/v/b.ini"])
    assert case.scope([]) == Scope.of(frozenset())


def test_a_path_can_be_a_config_of_two_monitors() -> None:
    settings = Settings()
    case = Case((DirectoryMonitor("/v/x", settings), GlobMonitor("/v/*/app.ini", settings)), settings)
    scope = case.scope(["/v/x/app.ini"])
    assert scope == case.keys(["/v/x/app.ini"])
    assert scope != Case(case.monitors[:1], settings).keys(["/v/x/app.ini"])


@pytest.mark.parametrize(
    ("settings", "is_all"),
    [
        (Settings(emperor_on_demand_exec="rule"), True),
        (Settings(emperor_on_demand_extension=".socket", emperor_on_demand_exec="rule"), False),
        (Settings(emperor_on_demand_directory="/run/v", emperor_on_demand_exec="rule"), False),
        (Settings(emperor_on_demand_directory="/run/v"), False),
        (Settings(), False),
    ],
)
def test_a_change_affects_all_only_if_the_exec_rule_is_in_force(settings: Settings, is_all: bool) -> None:
    case = folder(settings)
    assert case.scope(["/v/a.ini"]) == (Scope.all() if is_all else case.keys(["/v/a.ini"]))


@pytest.mark.parametrize("settings", [Settings(), Settings(emperor_on_demand_directory="/run/v")])
def test_without_the_extension_rule_no_file_is_a_rule_file(settings: Settings) -> None:
    assert folder(settings).scope(["/v/a.ini.socket"]) == Scope.of(frozenset())


@pytest.mark.parametrize(
    ("path", "included"),
    [
        # ln -s app.skel one.ini
        ("/v/app.skel", "app.skel"),
        # ln -s addr one.ini.socket
        ("/v/addr", "addr"),
        # In app.ini: if-exists = app.ini.down
        ("/v/app.ini.down", "app.ini.down"),
        # A config that another one includes or links to.
        ("/v/app.ini", "app.ini"),
        ("/v/app.ini.socket", "app.ini.socket"),
    ],
)
def test_a_file_that_configs_link_to_or_ask_about_affects_all(path: str, included: str) -> None:
    assert folder().scope([path], [included]) == Scope.all()
    assert not folder().scope([path], ["other"]).is_all


def test_paths_that_affect_anything_do_not_keep_others_from_being_known() -> None:
    case = folder()
    paths = ["/v/a.ini", "/elsewhere/x", "/v/notes.txt"]
    assert case.scope(paths) == Scope.all()
    assert known_scope(paths, VassalCache({}), case.monitors, case.settings) == case.keys(["/v/a.ini"])
    assert known_scope([], VassalCache({}), case.monitors, case.settings) == Scope.of(())


@pytest.mark.parametrize("error", [RecursionError(), UnicodeError(), PermissionError()])
def test_a_path_that_nobody_can_judge_affects_all(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object) -> str:
        raise error

    monkeypatch.setattr(DirectoryMonitor, "key_at", fail)
    assert folder().scope(["/v/a.ini"]) == Scope.all()


def test_a_row_that_changes_affects_no_other(tmp_path: Path) -> None:
    settings = Settings(emperor=("pg://host=db",))
    mirrors = str(tmp_path)
    (monitor,) = open_monitors(settings, mirrors)
    assert isinstance(monitor, MirroredMonitor)
    config, note = monitor.folder.config("a.ini"), monitor.folder.note("a.ini", has_text=True)
    record = CachedVassal(name="a.ini", config=config, monitor=monitor.id, label="a", inputs=(note, config))
    record = record._replace(note=note)
    cache = VassalCache({f"{monitor.id}:a.ini": record})
    assert scope_of([config, note], cache, [monitor], settings) == Scope.of(frozenset({f"{monitor.id}:a.ini"}))
