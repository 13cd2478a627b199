"""What packages install: everything, nothing twice, with the same modes and times; and what versions they have."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from importlib import import_module
from runpy import run_path
from typing import TYPE_CHECKING

import pytest

from bridge import __version__
from bridge.config.monitor_tables import MonitorTable
from bridge.config.settings import SETTINGS, read_toml

from .build import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = ROOT / "packaging/bridge.toml"
RECIPES = ROOT / "packaging/debian"
SPEC = ROOT / "packaging/rpm/emperor-bridge.spec"
PKGBUILD = ROOT / "packaging/arch/PKGBUILD"
SET = re.compile(r"^#(?=(?:[a-z-]+) = |\[\[)", re.MULTILINE)
PRIVATE = "/usr/share/emperor-bridge/"
SCRIPTS = {"/usr/bin/emperor-bridge", f"{PRIVATE}reload-vassals"}
EPOCH = 1_700_000_000


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree that the install step makes, under a umask that would show."""
    root = tmp_path_factory.mktemp("root")
    command = ["make", "--silent", "install", f"DESTDIR={root}", "PREFIX=/usr", f"PYTHON={sys.executable}"]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}
    subprocess.run(command, cwd=ROOT, env=environment, umask=0o077, check=True)
    return root


def test_the_shipped_configuration_sets_nothing_and_has_every_setting() -> None:
    text = SHIPPED.read_text("utf-8")
    assert tomllib.loads(text) == {}
    shown = tomllib.loads(SET.sub("", text))
    (table,) = shown.pop("monitor")
    assert shown.keys() == {setting.name for setting in SETTINGS} | {"emperor-ini"}
    assert table.keys() == {one.name.replace("_", "-") for one in fields(MonitorTable)}


def test_each_line_of_the_shipped_configuration_can_be_set(tmp_path: Path) -> None:
    text = SHIPPED.read_text("utf-8").partition("#[[monitor]]")[0]
    (tmp_path / "bridge.toml").write_text(SET.sub("", text))
    assert read_toml(tmp_path / "bridge.toml")


def test_all_is_installed_with_usual_modes_and_one_time(installed: Path) -> None:
    files = {f"/{path.relative_to(installed)}": path for path in installed.rglob("*") if path.is_file()}
    modes = {name: path.stat().st_mode & 0o777 for name, path in files.items()}
    assert {mode for name, mode in modes.items() if name not in SCRIPTS} == {0o644}
    assert {modes[name] for name in SCRIPTS} == {0o755}
    assert {path.stat().st_mode & 0o777 for path in installed.rglob("*") if path.is_dir()} == {0o755}
    assert {path.stat().st_mtime for path in files.values()} == {EPOCH}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "bridge").rglob("*.py")}
    modules |= {f"bridge/{path.relative_to(ROOT)}" for path in (ROOT / "templates").iterdir()}
    assert {name.removeprefix(PRIVATE) for name in files.keys() - SCRIPTS if name.startswith(PRIVATE)} == modules
    for folder, where in (("packaging/man", "usr/share/man"), ("units", "usr/lib/systemd/system")):
        wanted = {path.name for path in (ROOT / folder).iterdir()}
        assert {path.name for path in (installed / where).rglob("*") if path.is_file()} == wanted
    assert "/etc/emperor-bridge/bridge.toml" in files


def test_each_shell_completes_the_command(installed: Path) -> None:
    places = {
        "share/bash-completion/completions/emperor-bridge": "complete ",
        "share/zsh/vendor-completions/_emperor-bridge": "#compdef emperor-bridge",
        "share/fish/vendor_completions.d/emperor-bridge.fish": "complete ",
    }
    for place, word in places.items():
        assert word in (installed / "usr" / place).read_text()


def test_a_preset_says_of_each_unit_that_it_is_not_enabled(installed: Path) -> None:
    (preset,) = (installed / "usr/lib/systemd/system-preset").iterdir()
    lines = [line for line in preset.read_text().splitlines() if not line.startswith("#")]
    assert set(lines) == {f"disable {path.name}" for path in (ROOT / "units").iterdir()}


def test_the_installed_command_takes_only_its_own_modules(installed: Path, tmp_path: Path) -> None:
    for name in SCRIPTS:
        script = (installed / name.lstrip("/")).read_text()
        assert script.startswith("#!/usr/bin/python3 -I\n")
        assert 'sys.path.insert(0, "/usr/share/emperor-bridge")' in script
        (module,) = re.findall(r"^from (\S+) import main$", script, re.MULTILINE)
        assert callable(import_module(module).main)
    environment = {**os.environ, "DESTDIR": str(tmp_path), "PREFIX": "/opt/x", "PYTHON": sys.executable}
    subprocess.run(["sh", str(ROOT / "packaging/install")], cwd=ROOT, check=True, env=environment)
    unit = (tmp_path / "opt/x/lib/systemd/system/emperor-bridge.service").read_text()
    assert "ExecStart=/opt/x/bin/emperor-bridge watch" in unit


def test_the_debian_changelog_is_the_news_and_has_this_version_first() -> None:
    entries = run_path(str(RECIPES / "changelog.py"))["entries"]
    news = (ROOT / "packaging/NEWS").read_text("utf-8")
    made = entries(news, EPOCH, "~deb12")
    heads = re.findall(r"^emperor-bridge \((.+)-1~deb12\) unstable; urgency=medium$", made, re.MULTILINE)
    assert heads == re.findall(r"^emperor-bridge (\S+)", news, re.MULTILINE)
    assert heads[0] == __version__
    assert len(re.findall(r"^ -- .+ <.+>  \w{3}, \d\d .+ [+]0000$", made, re.MULTILINE)) == len(heads)
    assert made.count("\n  * ") == len(re.findall(r"^  - ", news, re.MULTILINE))
    assert [line for line in made.splitlines() if len(line) > 80 and not line.startswith(" -- ")] == []


def test_the_recipes_of_fedora_and_arch_are_of_this_version() -> None:
    assert re.findall(r"^Version: +(.*)$", SPEC.read_text(), re.MULTILINE) == [__version__]
    assert re.findall(r"^pkgver=(.*)$", PKGBUILD.read_text(), re.MULTILINE) == [__version__]


def test_every_package_depends_on_what_the_bridge_needs_within_its_bounds() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    needed = bounds(project["dependencies"])
    # Of the lowest one that does, PyPI has no wheel.
    assert {("yaml", ">=6.0.2")} <= needed
    needed = needed - {("yaml", ">=6.0.2")} | {("yaml", ">=6.0")}
    control = (RECIPES / "emperor-bridge/control").read_text()
    field = dict(re.findall(r"^(\w+):((?: .*\n)+)", control, re.MULTILINE))
    assert debian(field["Depends"]) == needed
    drivers = [one for extra in ("pg", "mongodb", "zmq", "amqp") for one in project["optional-dependencies"][extra]]
    assert debian(field["Suggests"]) == bounds(drivers)
    fedora = re.findall(r"python3dist\(([a-z0-9-]+)\) ([<>]=?) ([0-9.]+)", SPEC.read_text())
    assert bounds(["".join(one) for one in fedora]) == needed
    arch = re.findall(r"'python-([a-z0-9-]+[<>]=?[0-9.]+)'", PKGBUILD.read_text())
    assert bounds(arch) == needed


def debian(field: str) -> set[tuple[str, str]]:
    """Return the bounds of a field of Debian's."""
    found = re.findall(r"python3-([a-z0-9-]+) \(([<>]+=?) ([0-9.]+)\)", field)
    return bounds([f"{name}{relation.replace('<<', '<')}{version}" for name, relation, version in found])


def bounds(requirements: list[str]) -> set[tuple[str, str]]:
    """Return each bound with what Debian calls the package, after python3-."""
    found = set()
    for requirement in requirements:
        name, limits = re.fullmatch(r"([a-z0-9-]+)(?:\[\w+\])?(.*)", requirement).groups()  # type: ignore[union-attr]
        found |= {
            ({"pyyaml": "yaml", "pyzmq": "zmq", "jinja": "jinja2"}.get(name, name), limit)
            for limit in limits.split(",")
        }
    return found
