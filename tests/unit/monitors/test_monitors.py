from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bridge.config.settings import Settings
from bridge.diagnostics import BridgeError
from bridge.model.vassal import ConfigFile, Owner
from bridge.monitors import open_monitor
from bridge.monitors.base import Report

if TYPE_CHECKING:
    from pathlib import Path


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


def names(report: Report) -> list[str]:
    return [vassal.name for vassal in report.vassals]


def vassal_name(report: Report, path: str) -> str:
    """Return what the Emperor would call the config at this path."""
    return path if report.monitor.startswith("glob://") else path.rpartition("/")[2]


def one_rejection(report: Report, name: str) -> str:
    (problem,) = report.diagnostics
    assert problem.path is not None
    assert problem.path.endswith(f"/{name}")
    assert problem.config == problem.path
    assert problem.key is not None
    assert report.rejected == {problem.key}
    assert (problem.key, problem.vassal) == (f"{report.monitor}:{problem.vassal}", vassal_name(report, problem.path))
    assert report.vassals == ()
    assert report.complete
    assert str(problem).isprintable()
    return problem.message


def test_a_directorys_vassals(tmp_path: Path) -> None:
    touch(
        tmp_path, "b.ini", "a.xml", "c.yml", "d.yaml", "e.js", "f.json", "ini", "g.conf", "h.ini.socket", "i.INI", "j"
    )
    report = open_monitor(str(tmp_path), Settings()).report()
    assert report.diagnostics == ()
    assert names(report) == ["a.xml", "b.ini", "c.yml", "d.yaml", "e.js", "f.json"]
    assert report.monitor == f"dir://{tmp_path}"
    first = report.vassals[0]
    assert first.config == ConfigFile(f"{tmp_path}/a.xml", Owner(os.getuid(), os.getgid()))
    assert (first.directory, first.label, first.key) == (str(tmp_path), "a", f"dir://{tmp_path}:a.xml")
    assert (first.service, first.socket, first.stem) == ("vassal-a.service", "vassal-a.socket", "a")
    assert first.monitor == report.monitor


def test_a_patterns_vassals(tmp_path: Path) -> None:
    for sub in ("x", "y"):
        (tmp_path / sub).mkdir()
        touch(tmp_path / sub, "app-1.ini", "note.txt", ".hidden.ini")
    report = open_monitor(f"{tmp_path}/*/*.ini", Settings()).report()
    assert names(report) == [f"{tmp_path}/x/app-1.ini", f"{tmp_path}/y/app-1.ini"]
    assert [v.directory for v in report.vassals] == ["/", "/"]
    assert report.vassals[0].label.endswith(r"-x-app\x2d1")
    assert report.monitor == f"glob://{tmp_path}/*/*.ini"


@pytest.mark.parametrize(
    ("spec", "monitor"),
    [
        ("{}", "dir://{}"),
        ("{}/", "dir://{}"),
        ("dir://{}", "dir://{}"),
        ("{}/./", "dir://{}"),
        ("{}/su*", "dir://{}/su*"),
        ("{}/*", "glob://{}/*"),
        ("{}/*.ini", "glob://{}/*.ini"),
        ("{}/x.ini", "dir://{}/x.ini"),
        ("glob://{}/sub", "glob://{}/sub"),
        ("{}/missing", "dir://{}/missing"),
    ],
)
def test_the_monitor_is_chosen_as_the_emperor_does(tmp_path: Path, spec: str, monitor: str) -> None:
    (tmp_path / "sub").mkdir()
    touch(tmp_path, "x.ini")
    assert open_monitor(spec.format(tmp_path), Settings()).id == monitor.format(tmp_path)


@pytest.mark.parametrize("spec", ["", "dir://", "glob://", "pg://host", "zmq://tcp://h:1"])
def test_specs_that_name_no_monitor(spec: str) -> None:
    with pytest.raises(BridgeError) as caught:
        open_monitor(spec, Settings())
    assert caught.value.diagnostic.code == "monitor-unknown"


@pytest.mark.parametrize("spec", ["{}/none", "dir://{}/none", "glob://{}/none/*.ini", "{}/none/*/*.ini", "{}/file.txt"])
def test_a_monitor_that_cannot_be_asked(tmp_path: Path, spec: str) -> None:
    touch(tmp_path, "file.txt")
    report = open_monitor(spec.format(tmp_path), Settings()).report()
    assert not report.complete
    assert report.vassals == ()
    (problem,) = report.diagnostics
    assert problem.code == "monitor-unreadable"
    assert "stay as they are" in problem.hint


def test_a_pattern_that_matches_nothing_is_complete(tmp_path: Path) -> None:
    assert open_monitor(f"{tmp_path}/*.ini", Settings()).report() == Report(monitor=f"glob://{tmp_path}/*.ini")


def test_a_file_an_editor_marks_is_no_vassal(tmp_path: Path) -> None:
    (tmp_path / ".#edited.ini").symlink_to("user@host.1:2")
    assert open_monitor(str(tmp_path), Settings()).report() == Report(monitor=f"dir://{tmp_path}")


@pytest.mark.parametrize("kind", ["directory", "fifo", "device"])
def test_what_is_no_regular_file_is_no_vassal(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "app.ini"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/null")
    report = open_monitor(str(tmp_path), Settings()).report()
    assert "not a regular file" in one_rejection(report, "app.ini")
    assert report.diagnostics[0].code == "config-irregular"


def test_links_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "real.txt")
    (tmp_path / "app.ini").symlink_to("real.txt")
    assert names(open_monitor(str(tmp_path), Settings()).report()) == ["app.ini"]


@pytest.mark.parametrize("spec", ["{}", "{}/*.ini"])
def test_a_dangling_link_keeps_what_ran(tmp_path: Path, spec: str) -> None:
    (tmp_path / "app.ini").symlink_to("gone")
    report = open_monitor(spec.format(tmp_path), Settings()).report()
    assert "No such file" in one_rejection(report, "app.ini")
    assert report.diagnostics[0].code == "config-vanished"


@pytest.mark.parametrize(
    ("stem", "label"),
    [
        ("a b", r"a\x20b"),
        ("a%b", r"a\x25b"),
        ("a$b", r"a\x24b"),
        ("a'b\"c", r"a\x27b\x22c"),
        ("a\\b", r"a\x5cb"),
        ("a\nb", r"a\x0ab"),
        ("é", r"\xc3\xa9"),
        (".", r"\x2e"),
        (".a", r"\x2ea"),
        ("..", r"\x2e."),
        ("-a", r"\x2da"),
        ("a@b", r"a\x40b"),
        ("a" * 240, "a" * 240),
    ],
)
def test_awkward_names(tmp_path: Path, stem: str, label: str) -> None:
    touch(tmp_path, f"{stem}.ini")
    report = open_monitor(str(tmp_path), Settings()).report()
    assert report.diagnostics == ()
    (vassal,) = report.vassals
    assert (vassal.name, vassal.label, vassal.stem) == (f"{stem}.ini", label, stem)
    assert len(vassal.service) <= 255


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (".ini", "no name before its extension"),
        ("a:b.ini", "':'"),
        ("a" * 241 + ".ini", "256 bytes"),
        ("a" * 246 + ".ini", "systemd allows 255"),
        ("é" * 61 + ".ini", "503 bytes"),
        (os.fsdecode(b"a\xff.ini"), "UTF-8"),
    ],
)
def test_names_that_cannot_be_used(tmp_path: Path, name: str, why: str) -> None:
    touch(tmp_path, name)
    report = open_monitor(str(tmp_path), Settings()).report()
    assert why in one_rejection(report, name)
    assert report.diagnostics[0].code == "vassal-name"


def test_a_pattern_finds_no_name_before_the_extension(tmp_path: Path) -> None:
    touch(tmp_path, ".ini")
    assert "no name" in one_rejection(open_monitor(f"{tmp_path}/.*", Settings()).report(), ".ini")


def test_a_folder_with_a_control_character(tmp_path: Path) -> None:
    folder = tmp_path / "a\nb"
    folder.mkdir()
    touch(folder, "app.ini")
    assert "folder has a control character" in one_rejection(open_monitor(str(folder), Settings()).report(), "app.ini")


def test_one_stem_twice_is_two_vassals_of_one_label(tmp_path: Path) -> None:
    touch(tmp_path, "app.ini", "app.xml")
    report = open_monitor(str(tmp_path), Settings()).report()
    assert [(v.name, v.label) for v in report.vassals] == [("app.ini", "app"), ("app.xml", "app")]


def test_a_colon_counts_only_in_what_uwsgi_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "a:b"
    folder.mkdir()
    (folder / "x.ini").write_text("[uwsgi]\n")
    assert [vassal.name for vassal in open_monitor(f"dir://{folder}", Settings()).report().vassals] == ["x.ini"]
    (problem,) = open_monitor(f"glob://{folder}/*.ini", Settings()).report().diagnostics
    assert "':'" in problem.message
