from __future__ import annotations

import os
import pwd
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bridge.config.settings import Settings
from bridge.host.users import Login, find_login
from bridge.model.address import parse_address
from bridge.model.vassal import SpawnSpec
from bridge.vassals.environment import Environments
from bridge.vassals.on_demand import RuleResult
from bridge.vassals.resolve import ResolveContext, resolve
from bridge.vassals.spawn import SpawnDefaults
from bridge.vassals.waiting import WaitingRules
from tests.unit.build import as_is, make_vassal

if TYPE_CHECKING:
    from pathlib import Path

SPAWN = SpawnSpec(argv=("/usr/bin/uwsgi",))
AT_EACH_START = {"INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID"}


def manager(*variables: str, version: str = "252.39-1~deb12u1") -> Any:
    asked: list[tuple[str, ...]] = []

    def own_properties(*names: str) -> dict[str, Any]:
        asked.append(names)
        return {"Environment": list(variables), "Version": version}

    return SimpleNamespace(own_properties=own_properties, asked=asked)


def test_what_a_service_of_roots_gets() -> None:
    systemd = manager("LANG=C.UTF-8", "PATH=/bin", "X=a=b")
    environments = Environments(systemd, user_manager=False)
    found = environments.of(SPAWN, "/v")
    assert environments.of(SPAWN, "/v") == found
    assert systemd.asked == [("Environment", "Version")]
    assert {
        "LANG": "C.UTF-8",
        "PATH": "/bin",
        "X": "a=b",
        "NOTIFY_SOCKET": "/run/systemd/notify",
    }.items() <= found.items()
    assert found.keys() == {"LANG", "PATH", "X", "NOTIFY_SOCKET"} | AT_EACH_START
    assert found["INVOCATION_ID"] == "${INVOCATION_ID}"


@pytest.mark.parametrize("user", ["www-data", "33"])
def test_what_a_service_with_a_user_gets(user: str) -> None:
    entry = pwd.getpwnam("www-data")
    environments = Environments(manager("HOME=/elsewhere"), user_manager=False)
    found = environments.login(replace(SPAWN, user=user))
    assert environments.of(replace(SPAWN, user=user), "/v")["HOME"] == "/elsewhere"
    assert (found["USER"], found["LOGNAME"], found["HOME"]) == ("www-data", "www-data", entry.pw_dir)
    # Its shell refuses logins.
    assert "SHELL" not in found


def test_what_the_unit_itself_sets_counts_last() -> None:
    spawn = replace(SPAWN, user="www-data", environment=("HOME=/srv", "EMPTY="))
    environments = Environments(manager(), user_manager=False)
    for found in (environments.of(spawn, "/v"), environments.login(spawn)):
        assert (found["HOME"], found["EMPTY"]) == ("/srv", "")


def test_the_shell_that_starts_a_tenants_vassal(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "v").symlink_to("real")
    environments = Environments(manager(), user_manager=False)
    assert environments.of(replace(SPAWN, tenant=7), str(tmp_path / "v"))["PWD"] == str(tmp_path / "real")


def test_newer_versions_tell_of_the_user() -> None:
    for version, user in (("252.39-1", None), ("254.1", None), ("255", "root"), ("257.8-1", "root")):
        environments = Environments(manager("A=", version=version), user_manager=False)
        assert environments.of(SPAWN, "/v").get("USER") == user
        spawn = replace(SPAWN, user="www-data")
        assert environments.login(spawn)["USER"] == "www-data"
    for version, names in (("257", {"MANAGERPID"}), ("258", {"MANAGERPID", "MANAGERPIDFDID"})):
        found = Environments(manager("A=", version=version), user_manager=True).of(SPAWN, "/v")
        assert {name for name in found if name.startswith("MANAGER")} == names
        assert "USER" not in found


def test_newer_versions_tell_of_pressure() -> None:
    assert "MEMORY_PRESSURE_WATCH" in Environments(manager("A=", version="257.8-1"), user_manager=False).of(SPAWN, "/v")
    assert "MEMORY_PRESSURE_WATCH" not in Environments(manager("A="), user_manager=False).of(SPAWN, "/v")


def test_a_users_manager() -> None:
    systemd = manager("HOME=/home/u", "XDG_RUNTIME_DIR=/run/user/7", "SYSTEMD_EXEC_PID=34")
    found = Environments(systemd, user_manager=True).of(SPAWN, "/v")
    assert found["HOME"] == "/home/u"
    assert found["NOTIFY_SOCKET"] == "/run/user/7/systemd/notify"
    assert found.keys() == {"HOME", "XDG_RUNTIME_DIR", "NOTIFY_SOCKET", "MANAGERPID"} | AT_EACH_START
    assert found["SYSTEMD_EXEC_PID"] == "${SYSTEMD_EXEC_PID}"


def test_no_user_is_looked_up_in_vain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def getpwnam(name: str) -> Any:
        raise AssertionError(name)

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    (tmp_path / "app.ini").write_text("[uwsgi]\na = $(PATH)\nif-env = TERM\nb = 1\nendif\n", "utf-8")
    defaults = SpawnDefaults(settings=Settings(uid="ann"), program="/usr/bin/uwsgi")
    context = ResolveContext(defaults, Environments(None, user_manager=False), WaitingRules(as_is))
    assert resolve(make_vassal(folder=str(tmp_path)), RuleResult(), context).resolved is not None


def test_where_no_manager_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/8")
    monkeypatch.setenv("UWSGI_SOCKET", ":1")
    assert (
        Environments(None, user_manager=False).of(SPAWN, "/v").keys()
        == {"LANG", "PATH", "NOTIFY_SOCKET"} | AT_EACH_START
    )
    found = Environments(None, user_manager=True).of(SPAWN, "/v")
    assert found["LOGNAME"] == pwd.getpwuid(os.getuid()).pw_name
    assert found["NOTIFY_SOCKET"] == "/run/user/8/systemd/notify"
    assert "UWSGI_SOCKET" not in found


def test_logins_as_systemd_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {
        "nobody": (65534, "/nonexistent", "/bin/sh"),
        "root": (0, "/elsewhere", "/bin/bash"),
        "ann": (1000, "/home/ann", "/bin/zsh"),
        "bob": (1001, "/", "/usr/sbin/nologin"),
        "cat": (1002, "", ""),
    }

    def getpwnam(name: str) -> Any:
        uid, home, shell = entries[name]
        return SimpleNamespace(pw_name=name, pw_uid=uid, pw_dir=home, pw_shell=shell)

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    assert find_login("nobody") == Login("nobody", "", "")
    assert find_login("root") == Login("root", "/root", "/bin/bash")
    assert find_login("ann") == Login("ann", "/home/ann", "/bin/zsh")
    assert find_login("bob") == Login("bob", "", "")
    assert find_login("cat") == Login("cat", "", "")
    assert find_login("nowhere") is None
    assert find_login("9" * 30) is None


@pytest.mark.parametrize(
    "lines",
    [
        "socket = $(HOME)/run/a.sock",
        "set = here=$(HOME)/run\nsocket = %(here)/a.sock",
        "socket = /var/$(USER)/run/../../www/run/a.sock",
        "if-env = USER=www-data\nsocket = /var/www/run/a.sock\nendif =",
        "if-not-env = SHELL\nsocket = /var/www/run/a.sock\nendif =",
        "if-env = INVOCATION_ID\nsocket = /var/www/run/a.sock\nendif =",
    ],
)
def test_an_address_from_a_variable_of_systemds_is_known(tmp_path: Path, lines: str) -> None:
    assert pwd.getpwnam("www-data").pw_dir == "/var/www"
    (tmp_path / "app.ini").write_text(f"[uwsgi]\n{lines}\n", "utf-8")
    defaults = SpawnDefaults(settings=Settings(uid="www-data", gid="www-data"), program="/usr/bin/uwsgi")
    context = ResolveContext(defaults, Environments(None, user_manager=False), WaitingRules(as_is))
    rule = RuleResult(address=parse_address("/var/www/run/a.sock", base="/"))
    found = resolve(make_vassal(folder=str(tmp_path)), rule, context)
    if ".." in lines:
        assert [problem.code for problem in found.problems] == ["socket-is-rules"]
    else:
        assert found.resolved is not None
        assert found.resolved.is_handed_over
