"""What packages install: everything, nothing twice, with the same modes and times; and what versions they have."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from typing import TYPE_CHECKING

import pytest

from bridge import __version__
from bridge.config.monitor_tables import MonitorTable
from bridge.config.settings import SETTINGS, read_toml
from bridge.records import names

from .build import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = ROOT / "packaging/bridge.toml"
SET = re.compile(r"^#(?=(?:[a-z-]+) = |\[\[)", re.MULTILINE)
EPOCH = 1_700_000_000


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree that the install step makes, under a umask that would show."""
    root = tmp_path_factory.mktemp("root")
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}
    command = ["sh", "-c", f'umask 077 && exec make --silent install DESTDIR="{root}" PREFIX=/usr']
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return root


def test_the_shipped_configuration_sets_nothing_and_has_every_setting() -> None:
    text = SHIPPED.read_text("utf-8")
    assert tomllib.loads(text) == {}
    shown = tomllib.loads(SET.sub("", text))
    (table,) = shown.pop("monitor")
    assert shown.keys() == {setting.name for setting in SETTINGS} | {"emperor-ini"}
    assert table.keys() == {name.replace("_", "-") for name in names(MonitorTable)}


def test_each_line_of_the_shipped_configuration_can_be_set(tmp_path: Path) -> None:
    text = SHIPPED.read_text("utf-8").partition("#[[monitor]]")[0]
    (tmp_path / "bridge.toml").write_text(SET.sub("", text))
    assert read_toml(tmp_path / "bridge.toml")


def test_all_is_installed_with_usual_modes_and_one_time(installed: Path) -> None:
    files = {f"/{path.relative_to(installed)}": path for path in installed.rglob("*") if path.is_file()}
    executable = {name for name, path in files.items() if path.stat().st_mode & 0o777 != 0o644}
    assert executable == {"/usr/bin/emperor-bridge"}
    assert files["/usr/bin/emperor-bridge"].stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in installed.rglob("*") if path.is_dir()} == {0o755}
    assert {path.stat().st_mtime for path in files.values()} == {EPOCH}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "bridge").rglob("*.py")}
    modules |= {f"bridge/{path.relative_to(ROOT)}" for path in (ROOT / "templates").iterdir()}
    private = "/usr/share/emperor-bridge/"
    assert {name.removeprefix(private) for name in files if name.startswith(private)} == modules
    for folder, where in (("packaging/man", "usr/share/man"), ("units", "usr/lib/systemd/system")):
        wanted = {path.name for path in (ROOT / folder).iterdir()}
        assert {path.name for path in (installed / where).rglob("*") if path.is_file()} == wanted
    assert "/etc/emperor-bridge/bridge.toml" in files


def test_a_preset_says_of_each_unit_that_it_is_not_enabled(installed: Path) -> None:
    (preset,) = (installed / "usr/lib/systemd/system-preset").iterdir()
    lines = [line for line in preset.read_text().splitlines() if not line.startswith("#")]
    assert set(lines) == {f"disable {path.name}" for path in (ROOT / "units").iterdir()}


def test_the_installed_command_takes_only_its_own_modules(installed: Path, tmp_path: Path) -> None:
    script = (installed / "usr/bin/emperor-bridge").read_text()
    assert script.startswith("#!/usr/bin/python3 -I\n")
    assert 'sys.path.insert(0, "/usr/share/emperor-bridge")' in script
    subprocess.run(["sh", str(ROOT / "packaging/install")], cwd=ROOT, check=True,
                         env={**os.environ, "DESTDIR": str(tmp_path), "PREFIX": "/opt/x"})  # fmt: skip
    unit = (tmp_path / "opt/x/lib/systemd/system/emperor-bridge.service").read_text()
    assert "ExecStart=/opt/x/bin/emperor-bridge watch" in unit


def test_the_news_have_this_version_first() -> None:
    first = (ROOT / "packaging/NEWS").read_text().split(maxsplit=2)[1]
    assert first == __version__
