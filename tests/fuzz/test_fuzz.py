"""Hostile inputs, for about a minute: FUZZ_SECONDS changes that. What was found earlier is tried each time."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from bridge.model.unit_names import unit_label, vassal_unit
from tests.unit.build import common_texts

from . import properties, running, syntax
from .properties import CHECKS

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = float(os.environ.get("FUZZ_SECONDS", "45"))


@pytest.mark.parametrize(("name", "path"), [pytest.param(*case, id=case[1].stem) for case in running.cases()])
def test_what_was_found_earlier(name: str, path: Path) -> None:
    CHECKS[name](json.loads(path.read_text("utf-8")))


@pytest.mark.parametrize("name", CHECKS)
def test_hostile(name: str, tried: running.Tried) -> None:
    running.fuzz(name, running.share(name, SECONDS), tried)
    assert tried.counts[name] > 20


def test_systemd_says_nothing_of_hostile_vassals_units(tmp_path: Path) -> None:
    """The last units of the fuzzing above, as systemd's own parser sees them."""
    texts = dict(common_texts())
    for one in properties.rendered:
        texts.update(one)
    paths = []
    for unit, text in texts.items():
        # Programs must be there to please systemd, and folders of hostile names are gone by now.
        path = tmp_path / unit
        path.write_text(text, "utf-8")
        if vassal_unit(unit):
            paths.append(str(path))
    assert len(paths) > 2
    run = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=one", "--man=no", "--", *paths],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        check=False,
        capture_output=True,
        timeout=120,
    )
    assert (run.stdout + run.stderr, run.returncode) == (b"", 0)


def test_hostile_names_have_the_labels_that_systemd_gives() -> None:
    names = ["-rf", "%n", "a\n[Service]", "\u202e", "é", ".", "..", " ", "$(id)", "a\\x2d", "\udcff", "@", "a@b", "-"]
    run = subprocess.run(
        ["systemd-escape", "--", *map(os.fsencode, names)], check=True, capture_output=True, timeout=30
    )
    assert [unit_label(name) for name in names] == os.fsdecode(run.stdout).removesuffix("\n").split(" ")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[A]\nB=c\\\nd\n", [("A", "B", "c d")]),
        ("[A]\n#B=\\\nC = d \n", [("A", "C", "d")]),
        ("[A]\nB=c\rD=e\n", [("A", "B", "c"), ("A", "D", "e")]),
        ("[A]\nB=c\\\n;no\nd\n", [("A", "B", "c d")]),
    ],
)
def test_the_reader_of_units_reads_as_systemd(text: str, found: list[tuple[str, str, str]]) -> None:
    assert [tuple(line) for line in syntax.parse_unit(text)] == found


def test_the_comparison_finds_an_injected_directive() -> None:
    from bridge.units.render import render
    from tests.unit.build import context, make_resolved

    resolved = make_resolved("app.ini", "/run/app.sock")
    other = next(iter(render(properties.twin(resolved), context()).values()))
    text = next(iter(render(resolved, context()).values()))
    properties.compare(text, other, resolved)
    for injected in ("\nExecStartPre=/bin/sh", "\rUser=root", "\nWorkingDirectory=-/other"):
        with pytest.raises(AssertionError):
            properties.compare(text.replace("\nType=notify", f"\nType=notify{injected}"), other, resolved)
    with pytest.raises(AssertionError):
        properties.compare(text.replace("app.ini", "app.ini --uid=0", 9), other, resolved)
