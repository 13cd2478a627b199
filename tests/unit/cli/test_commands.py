"""The command line as a program, where no systemd is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge import __version__
from tests.unit.build import ROOT


def bridge(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bridge", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def user(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a user who has no configuration, and no bus."""
    return {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}


def test_no_command_is_wrong_usage() -> None:
    run = bridge()
    assert (run.returncode, run.stdout) == (2, "")
    assert "sync" in run.stderr


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ("sync", "--help"), ("remove", "-h")])
def test_help(arguments: tuple[str, ...]) -> None:
    run = bridge(*arguments)
    assert (run.returncode, run.stderr) == (0, "")
    assert "Usage:" in run.stdout


@pytest.mark.parametrize("arguments", [("--nonsense",), ("sync", "--emperer", "/x"), ("nonsense",), ("render",)])
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    run = bridge(*arguments)
    assert (run.returncode, run.stdout) == (2, "")
    assert "Usage:" in run.stderr


def test_version() -> None:
    run = bridge("--version")
    assert (run.returncode, run.stdout, run.stderr) == (0, f"emperor-bridge {__version__}\n", "")


def test_what_only_some_commands_need_is_not_imported_by_all() -> None:
    code = "import sys, bridge.cli; print(sorted({'jinja2', 'rich', 'jeepney', 'yaml'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    assert run.stdout == "[]\n"


@pytest.mark.parametrize("command", [("sync",), ("check",), ("render", "x")])
def test_nothing_configured_is_one_sentence(command: tuple[str, ...], user: dict[str, str]) -> None:
    run = bridge(*command, "--user", **user)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.count("\n") == 1
    assert "--emperor DIRECTORY" in run.stderr
    assert f"{user['HOME']}/.config/emperor-bridge/bridge.toml" in run.stderr


def test_user_without_a_session(tmp_path: Path) -> None:
    run = bridge("check", "--user", HOME=str(tmp_path))
    assert run.returncode == 1
    assert "XDG_RUNTIME_DIR" in run.stderr


@pytest.mark.parametrize(
    ("text", "why"),
    [('emperer = "/v"', "did you mean 'emperor'?"), ("= 1", "not TOML"), ('emperor = "ldap://x"', "monitor")],
)
def test_a_wrong_configuration(user: dict[str, str], text: str, why: str) -> None:
    config = Path(user["HOME"]) / ".config" / "emperor-bridge" / "bridge.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'{text}\nbinary-path = "/bin/true"\n')
    run = bridge("check", "--user", **user)
    assert (run.returncode, run.stdout) == (2, "")
    assert why in run.stderr
    assert "Traceback" not in run.stderr


def test_a_configuration_that_is_not_there(user: dict[str, str]) -> None:
    run = bridge("check", "--user", "--config", "/nowhere/bridge.toml", **user)
    assert run.returncode == 2
    assert "No such file" in run.stderr


@pytest.fixture
def vassals(tmp_path: Path) -> Path:
    folder = tmp_path / "vassals"
    folder.mkdir()
    (folder / "good.ini").write_text("[uwsgi]\nmaster = true\n")
    (folder / "good.ini.socket").write_text("@good\n")
    (folder / "bad.ini").write_text("[uwsgi]\n")
    (folder / "bad.ini.socket").write_text(":99999\n")
    (folder / os.fsdecode(b"latin\xe9.ini")).touch()
    return folder


def options(folder: Path) -> tuple[str, ...]:
    return ("--user", "--emperor", str(folder), "--emperor-on-demand-ext", ".socket", "--binary-path", "/bin/true")


def test_check_without_a_systemd_tells_all_problems(vassals: Path, user: dict[str, str]) -> None:
    run = bridge("check", *options(vassals), **user)
    assert run.returncode == 1
    assert run.stderr == ""
    lines = run.stdout.splitlines()
    assert len(lines) == 2
    assert any(f"{vassals}/bad.ini.socket:1: error: port 99999 is out of range" in line for line in lines)
    assert any(r"latin\udce9.ini" in line and "UTF-8" in line for line in lines)


def test_check_in_json(vassals: Path, user: dict[str, str]) -> None:
    run = bridge("check", "--json", *options(vassals), **user, PYTHONUTF8="1", PYTHONIOENCODING="utf-8:strict")
    assert run.returncode == 1
    problems = json.loads(run.stdout)
    assert {p["code"] for p in problems} == {"rule-invalid", "vassal-name"}
    (invalid,) = (p for p in problems if p["code"] == "rule-invalid")
    assert (invalid["line"], invalid["path"], invalid["vassal"]) == (1, f"{vassals}/bad.ini.socket", "bad.ini")


def test_sync_without_a_systemd(vassals: Path, user: dict[str, str]) -> None:
    run = bridge("sync", *options(vassals), **user)
    assert (run.returncode, run.stdout) == (1, "")
    assert "cannot be reached over D-Bus" in run.stderr


@pytest.mark.parametrize("wanted", ["good", "good.ini", "vassal-good.service", "vassal-good.socket", "{}/good.ini"])
def test_render(vassals: Path, user: dict[str, str], wanted: str) -> None:
    run = bridge("render", wanted.format(vassals), *options(vassals), **user)
    assert (run.returncode, run.stderr) == (0, "")
    assert "# vassal-good.service\n" in run.stdout
    assert "\nListenStream=@good\n" in run.stdout
    assert "\nExecStart=/bin/true --master --ini good.ini\n" in run.stdout


def test_render_of_a_refused_vassal_and_of_none(vassals: Path, user: dict[str, str]) -> None:
    refused = bridge("render", "bad", *options(vassals), **user)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "out of range" in refused.stderr
    unknown = bridge("render", "no\x1bbody", *options(vassals), **user)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "there is no vassal 'no" in unknown.stderr
    assert "\x1b" not in unknown.stderr


def test_the_trigger_needs_no_configuration() -> None:
    run = bridge("pg-trigger", 'sites."x')
    assert (run.returncode, run.stderr) == (0, "")
    assert 'ON "sites"."""x"\n' in run.stdout
    assert run.stdout.endswith("\nCOMMIT;\n")
    assert 'ON "vassals"\n' in bridge("pg-trigger").stdout


def test_no_vassals_in_a_folder_that_is_not_there(tmp_path: Path, user: dict[str, str]) -> None:
    run = bridge("check", *options(tmp_path / "none"), **user)
    assert run.returncode == 1
    assert "the directory of vassals cannot be read" in run.stdout
