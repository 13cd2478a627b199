"""The READMEs are short, name only what exists, and say of the packages what the tree has."""

from __future__ import annotations

import re
import tomllib

import pytest

from bridge import __version__
from bridge.config.settings import NAMES
from tests.unit.commands import COMMANDS

from .build import ROOT

NAMES_OF_PAGES = ("README.md", "bridge/README.md", "tests/README.md", "tests/bench/README.md")
PAGES = {name: (ROOT / name).read_text() for name in NAMES_OF_PAGES}
LINES_MAX = 150
WORDS_MAX = 25


def test_the_readme_is_short() -> None:
    assert len(PAGES["README.md"].splitlines()) <= LINES_MAX


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_file(name: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", PAGES[name])
    assert links
    assert [link for link in links if not (ROOT / name).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("name", ["README.md", "bridge/README.md", "tests/README.md"])
def test_sentences_are_short(name: str) -> None:
    text = re.sub(r"(?ms)^```.*?^```|^    .+?$|^\|.+?$|^#.+?$|^<!--.+?$", "\n", PAGES[name])
    sentences = [s for paragraph in re.split(r"\n\s*\n|\n[-\d.]+ ", text) for s in re.split(r"(?<=[.!?])\s", paragraph)]
    assert [s for s in sentences if len(s.split()) >= WORDS_MAX] == []


def test_the_readme_has_every_command_and_only_settings_there_are() -> None:
    assert set(re.findall(r"^    emperor-bridge ([a-z-]+)", PAGES["README.md"], re.MULTILINE)) == set(COMMANDS)
    (first, second) = re.findall(r"(?ms)^```toml\n(.+?)^```", PAGES["README.md"])
    assert tomllib.loads(first).keys() <= NAMES.keys()
    assert tomllib.loads(second).keys() == {"emperor-ini"}


def test_every_make_target_of_the_readme_exists() -> None:
    text = PAGES["README.md"] + PAGES["tests/README.md"]
    targets = re.findall(r"(?:^    |`)make ([a-z-]+)", text, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text()
    assert {"demo", "demo-pg", "test", "beside", "bench", "soak"} <= set(targets)
    assert all(re.search(rf"^([a-z]+ )*{target}( [a-z]+)*:", makefile, re.MULTILINE) for target in targets)


def test_what_is_tested_where_has_all_that_ci_runs_and_only_marks_that_exist() -> None:
    page = PAGES["tests/README.md"]
    commands = re.findall(r"^(make .*?) \|\|", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert commands
    assert [command for command in commands if f"| `{command}` |" not in page] == []
    marks = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    assert {mark.partition(":")[0] for mark in marks} == set(re.findall(r"marked `([a-z]+)`", page))


def test_the_layout_has_every_package() -> None:
    listed = re.findall(r"^\| `([a-z]+)` \|", PAGES["bridge/README.md"], re.MULTILINE)
    there = {p.stem for p in (ROOT / "bridge").iterdir() if (p / "__init__.py").exists() or p.suffix == ".py"}
    assert sorted(listed) == sorted(name for name in there if not name.startswith("_"))


def test_the_walk_names_modules_that_exist_each_once() -> None:
    walk = re.findall(r"^\| `([a-z_/]+\.py)` \|", PAGES["bridge/README.md"], re.MULTILINE)
    assert walk
    assert len(walk) == len(set(walk))
    named = set(re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", PAGES["bridge/README.md"]))
    assert [module for module in sorted(named) if not (ROOT / "bridge" / module).exists()] == []


def test_the_news_begin_with_this_version_or_the_next() -> None:
    versions = re.findall(r"^emperor-bridge (\S+)", (ROOT / "packaging/NEWS").read_text(), re.MULTILINE)
    assert __version__ in versions[:2]
