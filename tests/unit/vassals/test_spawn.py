from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bridge.config.settings import Settings
from bridge.diagnostics import BridgeError, Diagnostic
from bridge.model.unit_names import SUB_SLICE, slice_of
from bridge.model.vassal import Owner, SpawnSpec, VassalRow
from bridge.units.render import render
from bridge.vassals.spawn import SpawnDefaults, find_binary, spawn_defaults, spawn_spec
from tests.unit.build import context, make_resolved, make_vassal

if TYPE_CHECKING:
    from pathlib import Path

UWSGI = "/usr/bin/uwsgi"
TENANT = Owner(1000, 1001)


def execute(settings: Settings, *, owner: Owner = TENANT, name: str = "app.ini", program: str = UWSGI) -> SpawnSpec:
    vassal = make_vassal(name, owner=owner)
    found = spawn_spec(vassal, SpawnDefaults(settings=settings, program=program))
    assert isinstance(found, SpawnSpec), found
    return found


def service(settings: Settings) -> list[str]:
    """Return the lines of the service unit of a vassal of these settings."""
    resolved = replace(make_resolved("app.ini", "/run/app.sock"), spawn=execute(settings))
    return render(resolved, context())["vassal-app.service"].splitlines()


def test_the_command_line_is_the_emperors() -> None:
    settings = Settings(
        vassals_inherit_before=("ib",),
        vassals_include_before=("cb",),
        vassals_set=("a=1",),
        vassals_inherit=("i",),
        vassals_include=("c", "d"),
    )
    line = "--master --inherit ib --include cb --set a=1 --ini app.ini --inherit i --include c --include d"
    assert execute(settings).argv == (UWSGI, *line.split())


@pytest.mark.parametrize(
    ("name", "option"),
    [("a.ini", "--ini"), ("a.xml", "--xml"), ("a.yml", "--yaml"), ("a.js", "--json"), ("a.conf", "--config")],
)
def test_the_option_for_a_config(name: str, option: str) -> None:
    settings = Settings(emperor_extra_extension=(".conf",))
    assert execute(settings, name=name).argv == (UWSGI, "--master", option, name)


def test_an_extra_extension_wins() -> None:
    assert "--config" in execute(Settings(emperor_extra_extension=(".app.ini",)), name="x.app.ini").argv


def test_an_emperors_user() -> None:
    lines = service(Settings(uid="www-data", gid="adm"))
    assert {"User=www-data", "Group=adm"} <= set(lines)
    assert not any("setpriv" in line or line.startswith("Ambient") for line in lines)


def test_root_needs_no_user() -> None:
    assert not [line for line in service(Settings()) if line.startswith(("User=", "Group=", "Environment=", "Cap"))]


def test_a_tenant_runs_as_the_owner_without_other_groups() -> None:
    lines = service(Settings(emperor_tyrant=True, uid="uwsgi"))
    assert {"User=1000", "Group=1001", "AmbientCapabilities=CAP_SETGID"} <= set(lines)
    (start,) = (line for line in lines if line.startswith("ExecStart="))
    assert "setpriv --clear-groups --inh-caps=-all --ambient-caps=-all -- /bin/sh -c" in start
    assert " /v/app.ini /usr/bin/uwsgi --master" in start
    assert f"Slice={slice_of('app', 1000)}" in lines


def test_a_tenant_with_all_groups() -> None:
    lines = service(Settings(emperor_tyrant=True, emperor_tyrant_initgroups=True))
    assert "User=1000" in lines
    assert not any("setpriv" in line or line.startswith("Ambient") for line in lines)


@pytest.mark.parametrize(("owner", "what"), [(Owner(0, 5), "owner"), (Owner(5, 0), "group"), (Owner(0, 0), "owner")])
def test_root_is_no_tenant(owner: Owner, what: str) -> None:
    vassal = make_vassal(owner=owner)
    found = spawn_spec(vassal, SpawnDefaults(settings=Settings(emperor_tyrant=True), program=UWSGI))
    assert isinstance(found, Diagnostic)
    assert found.code == "tyrant-root"
    assert found.message.startswith(f"its {what} is root")


def test_tenants_have_slices_of_their_own() -> None:
    assert slice_of("a", 1000) == slice_of("b", 1000) != slice_of("a", 1001)
    assert SUB_SLICE.fullmatch(slice_of("a", 1000))
    assert slice_of("a", 1000).endswith("-1000.slice")


def test_hooks_run_as_the_tenant_before_and_as_root_after() -> None:
    settings = Settings(emperor_tyrant=True, vassals_start_hook="/bin/true", vassals_stop_hook="/bin/false")
    lines = service(settings)
    (start,) = (line for line in lines if line.startswith("ExecStartPre="))
    assert start.startswith("ExecStartPre=-")
    assert "--clear-groups" in start
    assert "[ -O" in start
    assert start.endswith(" /v/app.ini /bin/true app.ini")
    assert "ExecStopPost=-+/bin/false app.ini" in lines
    assert "Environment=UWSGI_VASSALS_DIR=/v" in lines


def test_environment() -> None:
    lines = service(Settings(env=("UWSGI_VASSAL_THREADS=2", "WHO=a b%$c")))
    assert "Environment=UWSGI_THREADS=2" in lines
    assert 'Environment="WHO=a b%%$c"' in lines


def test_capabilities() -> None:
    assert "CapabilityBoundingSet=CAP_SETUID CAP_KILL CAP_SETPCAP" in service(Settings(emperor_cap="setuid, kill"))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (Settings(env=("NOTHING",)), "sets no variable"),
        (Settings(env=("A B=1",)), "sets no variable"),
        (Settings(emperor_cap="setuid\nUser=0"), "emperor-cap"),
        (Settings(uid="no-such-user"), "user no-such-user"),
        (Settings(gid="no-such-group"), "group no-such-group"),
        (Settings(emperor_wrapper="no-such-program"), "no program"),
        (Settings(emperor_wrapper="/etc/passwd"), "not a program"),
        (Settings(vassals_start_hook="/nowhere/hook"), "not a program"),
        (Settings(vassals_stop_hook="true 'with arguments"), "no program"),
    ],
)
def test_settings_that_cannot_be_used(settings: Settings, why: str) -> None:
    with pytest.raises(BridgeError, match=why):
        spawn_defaults(settings, user_manager=False)


@pytest.mark.parametrize("settings", [Settings(emperor_tyrant=True), Settings(uid="root"), Settings(gid="root")])
def test_a_users_manager_is_no_tyrant(settings: Settings) -> None:
    with pytest.raises(BridgeError, match="--user"):
        spawn_defaults(settings, user_manager=True)


def test_the_wrapper_is_started_in_uwsgis_place() -> None:
    defaults = spawn_defaults(Settings(emperor_wrapper="sh"), user_manager=False)
    assert os.path.basename(defaults.program) == "sh"
    assert os.path.isabs(defaults.program)


def test_a_binary_with_an_odd_path(tmp_path: Path) -> None:
    odd = tmp_path / "a b"
    odd.write_text("#!/bin/sh\n", "utf-8")
    odd.chmod(0o755)
    with pytest.raises(BridgeError, match="only letters, digits"):
        find_binary(Settings(binary_path=str(odd)))


def of_row(settings: Settings, *, is_path: bool = False, owner: Owner = TENANT) -> SpawnSpec | Diagnostic:
    row = VassalRow(note="/n", address="", is_path=is_path)
    vassal = replace(make_vassal("app.ini", folder="/mirror", owner=owner), directory="/srv", row=row)
    return spawn_spec(vassal, SpawnDefaults(settings=settings, program=UWSGI))


def test_a_row_is_started_by_the_path_of_its_text() -> None:
    found = of_row(Settings())
    assert isinstance(found, SpawnSpec)
    assert found.argv == (UWSGI, "--master", "--ini", "/mirror/app.ini")


def test_whose_a_text_of_the_mirror_is_needs_no_check() -> None:
    settings = Settings(emperor_tyrant=True)
    found, path = of_row(settings), of_row(settings, is_path=True)
    assert isinstance(found, SpawnSpec)
    assert isinstance(path, SpawnSpec)
    assert "/bin/sh" not in found.argv
    assert "/bin/sh" in path.argv
    assert (found.user, found.group, found.tenant) == ("1000", "1001", 1000)


def test_a_row_of_roots_is_told_what_it_lacks() -> None:
    found = of_row(Settings(emperor_tyrant=True), owner=Owner(0, 5))
    assert isinstance(found, Diagnostic)
    assert found.hint == "give its row a uid and a gid"
