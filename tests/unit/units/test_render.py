"""Rendering: golden cases, the mark, templates of admins.

Each ``golden/NAME.json`` describes a vassal; the folder ``golden/NAME`` holds the unit files it must be rendered to,
and ``golden/common`` and ``golden/common-user`` those that all vassals share. After a change that is meant to change
units, raise ``bridge.units.marker.FORMAT``, write them anew and read the difference before it is committed::

    REGENERATE_GOLDEN=1 .venv/bin/python -m pytest tests/unit/units/test_render.py
    git diff tests/unit/golden
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.model.unit import Mark
from bridge.model.unit_names import COMMON, SCRIPTS, SUB_SLICE, EscapeError, slice_of, starter_of
from bridge.model.vassal import ResolvedVassal, SocketAccess, SocketOptions
from bridge.units.marker import FORMAT, marked, read_mark
from bridge.units.render import Limits, RenderContext, make_templates, render, render_common
from tests.unit.build import SHIPPED, context, make_resolved

if TYPE_CHECKING:
    from collections.abc import Mapping

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = sorted(path.stem for path in GOLDEN.glob("*.json"))


def case(name: str) -> ResolvedVassal:
    facts: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
    facts["access"] = SocketAccess(**facts.get("access", {}))
    options = SocketOptions(**facts.pop("options", {}))
    spawn = facts.pop("spawn", {})
    found = make_resolved(facts.pop("name"), facts.pop("address", ""), *facts.pop("more", ()), **facts)
    own = replace(
        found.spawn, argv=(*found.spawn.argv, *spawn.get("words", ())), environment=spawn.get("environment", ())
    )
    return replace(found, options=options, spawn=own)


def agree(name: str, texts: Mapping[str, str]) -> None:
    folder = GOLDEN / name
    if os.environ.get("REGENERATE_GOLDEN"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for unit, text in texts.items():
            (folder / unit).write_text(text, "utf-8")
    assert {path.name: path.read_text("utf-8") for path in folder.iterdir()} == texts


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    agree(name, render(case(name), context()))


@pytest.mark.parametrize(("name", "user_manager"), [("common", False), ("common-user", True)])
def test_golden_common(name: str, user_manager: bool) -> None:
    pauses = "/run/user/1000/emperor-bridge/pauses" if user_manager else context().pauses
    texts = render_common(replace(context(), user_manager=user_manager, pauses=pauses))
    assert tuple(texts) == COMMON
    agree(name, texts)


def test_there_are_golden_cases_and_no_stray_folders() -> None:
    assert len(CASES) >= 8
    assert {p.name for p in GOLDEN.iterdir() if p.is_dir()} == {*CASES, "common", "common-user"}


def test_the_format_is_raised_with_the_rendering() -> None:
    """A version takes units of its own format as a change of the facts, and stops what runs.

    The file has the number and a digest of all golden texts. REGENERATE_GOLDEN writes it if the number was raised, or
    if it was removed because there are other cases now.
    """
    texts = {f"{path.parent.name}/{path.name}": path.read_text("utf-8") for path in GOLDEN.glob("*/*")}
    digest = blake2b(json.dumps(texts, sort_keys=True).encode(), digest_size=16).hexdigest()
    record = GOLDEN / "FORMAT"
    noted = record.read_text("utf-8").split() if record.exists() else []
    if os.environ.get("REGENERATE_GOLDEN") and noted[:1] != [FORMAT]:
        record.write_text(f"{FORMAT} {digest}\n", "utf-8")
        noted = [FORMAT, digest]
    assert noted[:1] != [FORMAT] or noted == [FORMAT, digest], "the rendering changed: raise bridge.units.marker.FORMAT"
    assert noted == [FORMAT, digest], "FORMAT was raised: write the golden files anew"


def test_systemd_has_nothing_to_say_of_them(tmp_path: Path) -> None:
    for folder in map(GOLDEN.joinpath, [*CASES, "common"]):
        for unit in folder.iterdir():
            # Program and folder need not be there where the tests run, but must be to please systemd.
            text = unit.read_text("utf-8").replace("ExecStart=/usr/bin/uwsgi", "ExecStart=/bin/true")
            (tmp_path / unit.name).write_text(text, "utf-8")
    for script in SCRIPTS:
        assert subprocess.run(["sh", "-n", str(tmp_path / script)], check=False).returncode == 0
    units = [str(path) for path in tmp_path.iterdir() if path.name not in SCRIPTS]
    run = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=one", "--man=no", *units],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.stdout + run.stderr, run.returncode) == ("", 0)


TEXT = st.text()


@settings(deadline=None)
@given(unit=st.from_regex(r"vassal-[a-z\\]{1,9}\.service", fullmatch=True), facts=st.tuples(*[TEXT] * 6))
def test_the_mark_round_trips(unit: str, facts: tuple[str, ...]) -> None:
    config, name, monitor, address, tenant, configuration = facts
    mark = Mark(
        unit=unit,
        config=config,
        name=name,
        monitor=monitor,
        address=address,
        tenant=tenant,
        configuration=configuration,
    )
    text = marked("[Unit]\n", mark)
    assert read_mark(unit, text) == replace(mark, format=FORMAT)
    assert text.isascii()
    assert read_mark("vassal-other.service", text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[Unit]\nDescription=x\n",
        "# x\n[X-EmperorBridge]\n",
        "# x\n[X-EmperorBridge]\nUnit=vassal-a.service\n",
        '# x\n[X-EmperorBridge]\nUnit="vassal-b.service"\n',
        '# x\n[X-EmperorBridge]\nUnit=5\nConfig="/v/a.ini"\n',
        "[Unit]\n" + "#\n" * 11 + '[X-EmperorBridge]\nUnit="vassal-a.service"\n',
    ],
)
def test_what_is_no_mark(text: str) -> None:
    assert read_mark("vassal-a.service", text) is None


def test_a_units_mark_says_what_it_was_made_from() -> None:
    resolved = make_resolved("a b.ini", ":9000")
    for unit, text in render(resolved, context()).items():
        assert read_mark(unit, text) == Mark(
            unit=unit, config="/v/a b.ini", name="a b.ini", monitor="dir:///v", address="0.0.0.0:9000", format=FORMAT
        )


def test_a_common_units_mark_names_no_vassal() -> None:
    for unit, text in render_common(context()).items():
        assert read_mark(unit, text) == Mark(unit=unit, format=FORMAT)


@pytest.mark.parametrize("folder", ["/v ", "/v\\"])
def test_a_folder_no_unit_can_hold(folder: str) -> None:
    with pytest.raises(EscapeError):
        render(make_resolved(folder=folder), context())


def templates_in(*folders: Path) -> RenderContext:
    return RenderContext(templates=make_templates([str(folder) for folder in folders]))


def rendered_with(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, "utf-8")
    resolved = make_resolved("app.ini", "@a")
    return render(resolved, templates_in(folder, SHIPPED))[name.replace("vassal.", "vassal-app.")[:-3]]


def test_an_admins_template_wins_and_is_marked(tmp_path: Path) -> None:
    text = rendered_with(tmp_path, "vassal.socket.j2", "[Socket]\nListenStream={{ address | value }}\n")
    assert text.endswith("\n\n[Socket]\nListenStream=@a\n")
    mark = read_mark("vassal-app.socket", text)
    assert mark is not None
    assert mark.config == "/v/app.ini"


def broken(folder: Path, text: str) -> Diagnostic:
    with pytest.raises(BridgeError) as caught:
        rendered_with(folder, "vassal.service.j2", text)
    assert caught.value.diagnostic.code == "template"
    assert caught.value.diagnostic.path == f"{folder}/vassal.service.j2"
    return caught.value.diagnostic


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("[Unit]\n{% if %}\n", 2, "not valid"),
        ("[Unit]\n\n{{ nothing }}\n", 3, "'nothing' is undefined"),
        ("[Unit]\n{{ description | quote }}\n", 2, "No filter named 'quote'"),
        ("[Unit]\n{{ 1 / 0 }}\n", 2, "division by zero"),
        ("[Unit]\n{{ execution | value }}\n", 2, "cannot be filled"),
        ("[Unit]\n{% include 'none' %}\n", 2, "none"),
    ],
)
def test_a_broken_template(tmp_path: Path, text: str, line: int, why: str) -> None:
    found = broken(tmp_path, text)
    assert found.line == line
    assert why in found.message


def test_a_template_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "vassals.target.j2").write_bytes(b"\xff")
    with pytest.raises(BridgeError, match=r"vassals\.target\.j2"):
        render_common(templates_in(tmp_path, SHIPPED))
    with pytest.raises(BridgeError, match=r"vassals\.target\.j2"):
        render_common(templates_in(tmp_path / "none"))


@pytest.mark.parametrize(
    ("label", "slice_name"),
    [
        ("app", "vassals-34.slice"),
        ("shop", "vassals-02.slice"),
        (r"a\x20b", "vassals-2d.slice"),
        ("srv-www-app", "vassals-02.slice"),
    ],
)
def test_a_vassals_slice_never_changes(label: str, slice_name: str) -> None:
    assert slice_of(label) == slice_name


@given(st.text(st.characters(max_codepoint=127), min_size=1))
def test_all_slices_have_names_the_bridge_knows(label: str) -> None:
    assert SUB_SLICE.fullmatch(slice_of(label))


def test_the_starters_of_units() -> None:
    assert starter_of("vassal-a.socket") == "vassals-sockets.target"
    assert starter_of("vassal-a.service") == "vassals-services.target"


def test_only_limits_that_are_set_cost_a_start_anything() -> None:
    resolved = make_resolved("a.ini", address="/run/a.sock")

    def commands(limits: Limits) -> list[str]:
        text = render(resolved, replace(context(), limits=limits))["vassal-a.service"]
        return [line.partition("=")[0] for line in text.splitlines() if "vassals-limit" in line]

    assert commands(Limits()) == []
    assert commands(Limits(running=5)) == ["ExecStartPre", "ExecStopPost"]
    assert commands(Limits(starting=5)) == ["ExecStartPre", "ExecStartPost", "ExecStopPost"]


def test_a_place_is_given_back_before_the_pause_and_belongs_to_the_tenant() -> None:
    resolved = make_resolved("a.ini", address="/run/a.sock")
    resolved = replace(resolved, spawn=replace(resolved.spawn, tenant=1001))
    text = render(resolved, replace(context(), limits=Limits(starting=2, running=3)))["vassal-a.service"]
    lines = [line for line in text.splitlines() if line.startswith("ExecSt") and "%Y/" in line]
    assert [line.partition("/bin/sh ")[2] for line in lines] == [
        "%Y/vassals-limit take %n 1001",
        "%Y/vassals-limit ready %n 1001",
        "%Y/vassals-limit end %n 1001",
        "%Y/vassals-pause %n",
    ]


@pytest.mark.parametrize("limits", [Limits(), Limits(running=3), Limits(starting=2), Limits(starting=2, running=3)])
def test_the_script_of_limits_is_valid(tmp_path: Path, limits: Limits) -> None:
    script = tmp_path / "script"
    script.write_text(render_common(replace(context(), limits=limits))["vassals-limit"])
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0
