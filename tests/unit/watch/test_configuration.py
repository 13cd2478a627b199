"""The daemon's configuration is loaded again when its files change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from bridge.config.settings import Settings
from bridge.diagnostics import BridgeError, Diagnostic
from bridge.watch.configuration import Configuration, LoadedConfig

if TYPE_CHECKING:
    from pathlib import Path


class FakeReconciler:
    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


class Loader:
    """Loads what a test says."""

    def __init__(self, *paths: Path) -> None:
        self.paths = paths
        self.fails = False
        self.loads = 0

    def __call__(self) -> LoadedConfig:
        self.loads += 1
        if self.fails:
            raise BridgeError(Diagnostic(code="settings", message="this is not TOML"))
        configuration = tuple(str(path) for path in self.paths)
        return LoadedConfig(cast("Any", FakeReconciler()), Settings(), configuration)


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "bridge.toml"
    path.touch()
    return path


def test_a_changed_file_makes_it_outdated_until_it_is_loaded_again(toml: Path) -> None:
    configuration = Configuration(Loader(toml))
    before = configuration.current
    assert not configuration.is_outdated()
    toml.unlink()
    assert configuration.is_outdated()
    configuration.reload()
    assert not configuration.is_outdated()
    assert cast("Any", before.reconciler).is_closed
    assert not cast("Any", configuration.current.reconciler).is_closed


def test_one_that_cannot_be_loaded_changes_nothing_and_is_not_tried_again_until_it_changes(toml: Path) -> None:
    loader = Loader(toml)
    configuration = Configuration(loader)
    before = configuration.current
    toml.unlink()
    loader.fails = True
    with pytest.raises(BridgeError):
        configuration.reload()
    assert configuration.current is before
    assert not cast("Any", before.reconciler).is_closed
    assert not configuration.is_outdated()
    toml.touch()
    assert configuration.is_outdated()


def test_a_reload_that_brings_other_files_is_not_repeated(toml: Path, tmp_path: Path) -> None:
    ini = tmp_path / "emperor.ini"
    ini.touch()
    loader = Loader(toml)
    configuration = Configuration(loader)
    loader.paths = (toml, ini)
    toml.unlink()
    configuration.reload()
    assert not configuration.is_outdated()
    ini.unlink()
    assert configuration.is_outdated()


def test_a_change_during_the_load_counts_after_it(toml: Path) -> None:
    class Slow(Loader):
        def __call__(self) -> LoadedConfig:
            loaded = super().__call__()
            if self.loads == 2:
                toml.unlink()
            return loaded

    configuration = Configuration(Slow(toml))
    configuration.reload()
    assert configuration.is_outdated()
