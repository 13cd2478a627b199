"""Completion as shells ask for it: of commands, options, their values, and vassals."""

from __future__ import annotations

import builtins
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
import pytest

from bridge.cli.completion import complete_vassal
from bridge.model.unit import Mark
from bridge.model.unit_names import unit_label
from bridge.units.marker import marked
from tests.unit.build import ROOT
from tests.unit.commands import COMMANDS

if TYPE_CHECKING:
    from pathlib import Path

SHELLS = ("bash", "zsh", "fish")
AS_BASH = """
source "$1"
COMP_WORDS=($2)
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
_emperor_bridge_completion emperor-bridge
printf '%s\\n' "${COMPREPLY[@]}"
"""
"""Asks as bash does at the tab key, and prints what bash would offer."""


@dataclass
class User:
    """A user whose own service manager has vassals."""

    home: Path

    @property
    def units(self) -> Path:
        return self.home / ".config/systemd/user"

    def environment(self, **more: str) -> dict[str, str]:
        path = f"{self.home}/bin:{os.environ['PATH']}"
        run = str(self.home / "run")
        return {"PATH": path, "LANG": "C.UTF-8", "HOME": str(self.home), "XDG_RUNTIME_DIR": run, **more}

    def vassal(self, name: str, *, configuration: str = "", folder: str = ".config/systemd/user") -> Path:
        label = unit_label(name.rpartition(".")[0] or name)
        unit = f"vassal-{label}.service"
        mark = Mark(unit=unit, config=f"/v/{name}", name=name, monitor="dir:///v", configuration=configuration)
        path = self.home / folder / unit
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(marked("[Service]\n", mark), "utf-8", "surrogateescape")
        return path

    def offers(self, *words: str, **environment: str) -> list[str]:
        """Return what is offered for the last of these words, as click's script of bash asks for it."""
        words = ("emperor-bridge", *words)
        asked = {
            "_EMPEROR_BRIDGE_COMPLETE": "bash_complete",
            "COMP_WORDS": "\n".join(words),
            "COMP_CWORD": str(len(words) - 1),
            **environment,
        }
        run = subprocess.run(
            [sys.executable, "-m", "bridge"],
            cwd=ROOT, env=self.environment(**asked), check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (run.returncode, run.stderr) == (0, "")
        return run.stdout.split()


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


def test_commands(user: User) -> None:
    assert {"plain,sync", "plain,retry", "plain,pg-trigger"} <= set(user.offers(""))
    assert user.offers("ret") == ["plain,retry"]


def test_options(user: User) -> None:
    assert user.offers("sync", "--dry") == ["plain,--dry-run"]
    assert user.offers("check", "--emperor-ty") == [
        "plain,--emperor-tyrant", "plain,--emperor-tyrant-nofollow", "plain,--emperor-tyrant-initgroups",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("option", "typed", "offered"),
    [
        ("--on-demand-own-sockets", "", ["plain,idle", "plain,all"]),
        ("--emperor-ini", "/etc/u", ["file,/etc/u"]),
        ("--config", "/etc/e", ["file,/etc/e"]),
        ("--binary-path", "/usr/b", ["file,/usr/b"]),
        ("--emperor-on-demand-directory", "/run/s", ["dir,/run/s"]),
        ("--max-running", "", []),
    ],
)
def test_values_of_options(user: User, option: str, typed: str, offered: list[str]) -> None:
    assert user.offers("sync", option, typed) == offered


@pytest.mark.parametrize("command", ["render", "retry"])
def test_vassals(user: User, command: str) -> None:
    for name in ("blog.ini", "blue.ini", "shop.ini"):
        user.vassal(name)
    assert user.offers(command, "--user", "") == ["plain,blog.ini", "plain,blue.ini", "plain,shop.ini"]
    assert user.offers(command, "--user", "bl") == ["plain,blog.ini", "plain,blue.ini"]
    assert user.offers(command, "--user", "none") == []


def test_vassals_are_those_of_the_configuration_and_the_folder_in_force(user: User) -> None:
    mine = str(user.home / "mine.toml")
    user.vassal("usual.ini")
    user.vassal("mine.ini", configuration=mine)
    user.vassal("brief.ini", folder="run/systemd/user")
    assert user.offers("retry", "--user", "") == ["plain,usual.ini"]
    assert user.offers("retry", "--user", "--config", mine, "") == ["plain,mine.ini"]
    assert user.offers("retry", "--user", "--runtime", "") == ["plain,brief.ini"]


def test_the_service_manager_is_not_asked(user: User) -> None:
    asked = {"_EMPEROR_BRIDGE_COMPLETE": "bash_complete", "COMP_WORDS": "emperor-bridge retry ", "COMP_CWORD": "2"}
    command = [sys.executable, "-X", "importtime", "-m", "bridge"]
    run = subprocess.run(
        command, cwd=ROOT, env=user.environment(**asked), check=True, capture_output=True, text=True, timeout=60
    )
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "bridge.cli.completion" in imported
    assert imported.isdisjoint({"jeepney", "jinja2", "yaml", "rich", "cysystemd", "bridge.reconcile.planner"})


def test_a_unit_that_the_bridge_did_not_make_is_not_offered(user: User) -> None:
    user.vassal("blog.ini")
    (user.units / "vassal-own.service").write_text("[Service]\nExecStart=/bin/true\n")
    (user.units / "vassal-folder.service").mkdir()
    (user.units / "vassal-dangling.service").symlink_to("/nowhere")
    assert user.offers("retry", "--user", "") == ["plain,blog.ini"]


@pytest.mark.parametrize(
    "name", ["*.ini", "a b.ini", "$(id).ini", "`id`.ini", "a;b.ini", "-x.ini", "a\nb.ini", "\udce9.ini"]
)
def test_a_name_that_a_shell_would_expand_is_not_offered(user: User, name: str) -> None:
    user.vassal("blog.ini")
    user.vassal(name)
    assert user.offers("retry", "--user", "") == ["plain,blog.ini"]


def test_without_units_or_a_session_nothing_is_offered(user: User) -> None:
    assert user.offers("retry", "--user", "") == []
    assert user.offers("retry", "--user", "", XDG_RUNTIME_DIR="") == []


def test_units_that_may_not_be_read_are_not_offered(monkeypatch: pytest.MonkeyPatch, user: User) -> None:
    """Root may read everything, so the kernel's refusal is played."""
    closed = user.vassal("closed.ini")
    user.vassal("open.ini")
    for name, value in user.environment().items():
        monkeypatch.setenv(name, value)
    really_open, really_list = builtins.open, os.listdir

    def refuse(path: object, *arguments: object, **named: object) -> object:
        if path == str(closed):
            raise PermissionError(13, "Permission denied")
        return really_open(path, *arguments, **named)  # type: ignore[call-overload]

    context = click.Context(COMMANDS["retry"])
    context.params = {"user": True}
    parameter = COMMANDS["retry"].params[-1]
    monkeypatch.setattr(builtins, "open", refuse)
    assert [item.value for item in complete_vassal(context, parameter, "")] == ["open.ini"]
    monkeypatch.setattr(os, "listdir", lambda path: really_list("/nowhere") if path == str(user.units) else [])
    assert complete_vassal(context, parameter, "") == []


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the generated completions."""
    folder = tmp_path_factory.mktemp("completions")
    command = [ROOT / "packaging/completions/generate", folder]
    subprocess.run(command, env={**os.environ, "PYTHON": sys.executable}, check=True, timeout=60)
    return folder


def test_a_completion_is_made_for_each_shell(scripts: Path) -> None:
    assert sorted(path.name for path in scripts.iterdir()) == sorted(SHELLS)
    for shell in SHELLS:
        text = (scripts / shell).read_text()
        assert f"_EMPEROR_BRIDGE_COMPLETE={shell}_complete" in text
        assert str(ROOT) not in text
    assert (scripts / "zsh").read_text().startswith("#compdef emperor-bridge\n")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("emperor-bridge stat", ["status"]),
        ("emperor-bridge sync --dry", ["--dry-run"]),
        ("emperor-bridge retry --user bl", ["blog.ini", "blue.ini"]),
        ("emperor-bridge retry --user none", [""]),
    ],
)
def test_bash_completes(user: User, scripts: Path, line: str, offered: list[str]) -> None:
    for name in ("blog.ini", "blue.ini", "shop.ini"):
        user.vassal(name)
    command = user.home / "bin/emperor-bridge"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m bridge "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    bash = shutil.which("bash")
    assert bash
    run = subprocess.run(
        [bash, "--norc", "-c", AS_BASH, "bash", scripts / "bash", line],
        env=user.environment(), check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.split("\n")[:-1] == offered
