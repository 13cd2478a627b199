"""Which configuration is in force, from options and files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bridge.config import load
from bridge.config.load import load_invocation
from bridge.config.paths import make_paths as real_paths
from bridge.diagnostics import BridgeError

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.config.paths import Paths


@pytest.fixture
def debians(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an emperor.ini in a usual place; there is no bridge.toml in its own."""
    path = tmp_path / "emperor.ini"
    path.write_text("[uwsgi]\nemperor = /found\nmaster = true\nworkers = 2\n")
    monkeypatch.setattr(load, "USUAL_EMPEROR_INIS", (str(tmp_path / "none.ini"), str(path)))

    def make_paths(**given: bool) -> Paths:
        from dataclasses import replace

        return replace(real_paths(**given), config=str(tmp_path / "bridge.toml"))

    monkeypatch.setattr(load, "make_paths", make_paths)
    return path


def given(**more: Any) -> dict[str, Any]:
    return {"user": False, "runtime": False, "config": None, "emperor_ini": None, **more}


def test_one_in_a_usual_place_is_found_and_named(debians: Path) -> None:
    invocation = load_invocation(given())
    assert invocation.settings.emperor == ("/found",)
    assert invocation.found_ini == str(debians)
    assert len(invocation.notices) == 2
    assert len(invocation.brief_notices) == 1
    assert str(debians) in invocation.configuration


def test_one_is_found_where_bridge_toml_names_no_vassals(debians: Path) -> None:
    (debians.parent / "bridge.toml").write_text("emperor-throttle = 7\n")
    invocation = load_invocation(given())
    assert (invocation.found_ini, invocation.settings.emperor_throttle) == (str(debians), 7)


def test_none_is_looked_for_where_vassals_are_named(debians: Path) -> None:
    named = load_invocation(given(emperor=("/given",)))
    assert (named.found_ini, named.notices, named.settings.emperor) == (None, (), ("/given",))
    asked_for = load_invocation(given(emperor_ini=str(debians)))
    assert (asked_for.found_ini, asked_for.settings.emperor) == (None, ("/found",))
    assert len(asked_for.notices) == 2
    (debians.parent / "bridge.toml").write_text('emperor = "/toml"\n')
    assert load_invocation(given()).settings.emperor == ("/toml",)


def test_none_is_looked_for_by_a_user_or_a_removal(debians: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(debians.parent))
    with pytest.raises(BridgeError) as caught:
        load_invocation(given(user=True))
    assert caught.value.diagnostic.code == "no-vassals"
    invocation = load_invocation(given(), needs_vassals=False, looks_for_emperor=False)
    assert (invocation.found_ini, invocation.settings.emperor) == (None, ())
