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


def test_another_bridge_toml_works_on_vassals_of_its_own(debians: Path) -> None:
    usual, other = debians.with_name("bridge.toml"), debians.with_name("other.toml")
    for path, folder in ((usual, "/usual"), (other, "/other")):
        path.write_text(f'emperor = "{folder}"\n')
    assert load_invocation(given()).paths.configuration == ""
    assert load_invocation(given(config=str(usual))).paths.configuration == ""
    found = load_invocation(given(config=str(other)))
    assert (found.paths.configuration, found.settings.emperor) == (str(other), ("/other",))
    assert found.paths.lock == load_invocation(given()).paths.lock
    assert found.configuration[0] == str(other)


def test_what_was_made_under_a_bridge_toml_that_is_gone_can_be_removed(debians: Path) -> None:
    gone = str(debians.with_name("gone.toml"))
    with pytest.raises(BridgeError, match="cannot be read"):
        load_invocation(given(config=gone))
    found = load_invocation(given(config=gone), needs_vassals=False, looks_for_emperor=False, is_removal=True)
    assert (found.paths.configuration, found.settings.emperor) == (gone, ())


def test_the_message_names_the_bridge_toml_in_force(debians: Path) -> None:
    debians.unlink()
    empty = debians.with_name("empty.toml")
    empty.touch()
    with pytest.raises(BridgeError, match=f"into {empty}"):
        load_invocation(given(config=str(empty)))


def test_a_section_is_named_on_the_command_line_or_in_bridge_toml(debians: Path) -> None:
    debians.write_text("[uwsgi]\nemperor = /found\n[prod]\nemperor = /prod\n")
    invocation = load_invocation(given(emperor_ini=f"{debians}:prod"))
    assert invocation.settings.emperor == ("/prod",)
    # What is watched is the file.
    assert str(debians) in invocation.configuration
    (debians.parent / "bridge.toml").write_text(f'emperor-ini = "{debians}:prod"\n')
    assert load_invocation(given()).settings.emperor == ("/prod",)


def test_why_an_emperors_config_names_no_vassals(debians: Path) -> None:
    debians.write_text("[uWSGI]\nemperor = /found\n")
    with pytest.raises(BridgeError) as caught:
        load_invocation(given())
    assert [d.code for d in caught.value.diagnostics] == ["no-vassals", "config-empty"]
    assert f"{debians}:1: warning: uWSGI looks for [uwsgi]" in str(caught.value)
