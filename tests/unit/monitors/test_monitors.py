from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bridge.config.settings import Settings
from bridge.diagnostics import BridgeError, Severity
from bridge.host import patterns
from bridge.host.path_watch import EVERYTHING, FILES, WatchList
from bridge.model.vassal import ConfigFile, Owner
from bridge.monitors import open_monitor, open_monitors
from bridge.monitors.base import Report

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.monitors.base import Monitor


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
        ("{}/x.ini", "glob://{}/x.ini"),
        ("{}/no.txt", "dir://{}/no.txt"),
        ("{}/s[1]", "dir://{}/s[1]"),
        ("{}/[s-t]ub", "dir://{}/[s-t]ub"),
        ("glob://{}/sub", "glob://{}/sub"),
        ("{}/missing", "dir://{}/missing"),
    ],
)
def test_the_monitor_is_chosen_as_the_emperor_does(tmp_path: Path, spec: str, monitor: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "s[1]").mkdir()
    touch(tmp_path, "x.ini", "no.txt")
    assert open_monitor(spec.format(tmp_path), Settings()).id == monitor.format(tmp_path)


@pytest.mark.parametrize("spec", ["", "dir://", "glob://", "ldap://host", "zoo://h:1"])
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


def test_a_pattern_means_what_glob_says(tmp_path: Path) -> None:
    for name in ("sites", "_off", ".git"):
        (tmp_path / name).mkdir()
        touch(tmp_path / name, "a.ini", "_a.ini", ".a.ini", "b[1].ini", "sub")
    monitor = open_monitor(f"{tmp_path}/[^_]*/[^_]*.ini", Settings())
    found = [f"{tmp_path}/sites/{name}" for name in ("a.ini", "b[1].ini")]
    keys = [f"{monitor.id}:{path}" for path in found]
    assert names(monitor.report()) == found
    assert names(monitor.report([keys[1], f"{monitor.id}:{tmp_path}/_off/a.ini"])) == found[1:]
    assert monitor.keys() == keys
    assert [monitor.key_at(path) for path in found] == keys
    for other in ("sites/_a.ini", "sites/.a.ini", "_off/a.ini", ".git/a.ini", "a.ini", "sites/sub/a.ini"):
        assert monitor.key_at(f"{tmp_path}/{other}") is None
    assert monitor.holds(f"{tmp_path}/sites/anything")
    assert not monitor.holds(f"{tmp_path}/_off/a.ini")
    watched = WatchList(lambda _path: None)
    monitor.watch(watched)
    everything = {folder for folder, names in watched.names.items() if EVERYTHING in names}
    files = {folder for folder, names in watched.names.items() if FILES in names}
    assert (everything, files) == ({str(tmp_path)}, {f"{tmp_path}/sites"})


def test_a_file_named_as_the_pattern_is_served_alone(tmp_path: Path) -> None:
    touch(tmp_path, "[ab].ini")
    pattern = f"{tmp_path}/[ab].ini"
    monitor = open_monitor(pattern, Settings())
    key = f"{monitor.id}:{pattern}"
    assert monitor.keys() == [key]
    assert names(monitor.report()) == names(monitor.report([key])) == [pattern]
    # A change of one file may concern another, so the daemon runs for all vassals.
    assert monitor.key_at(f"{tmp_path}/a.ini") is None
    assert not monitor.holds(f"{tmp_path}/a.ini")
    touch(tmp_path, "a.ini")
    assert names(monitor.report()) == [f"{tmp_path}/a.ini"]
    assert names(monitor.report([key])) == []


def test_special_characters_in_the_emperors_own_folder(tmp_path: Path) -> None:
    folder = tmp_path / "x[1]"
    folder.mkdir()
    touch(folder, "a.ini")
    settings = Settings(chdir=str(folder))
    assert names(open_monitor("*.ini", settings).report()) == [f"{folder}/a.ini"]
    assert names(open_monitor("glob://*.ini", settings).report()) == [f"{folder}/a.ini"]
    assert names(open_monitor("dir://.", settings).report()) == ["a.ini"]


def test_folders_are_no_vassals_of_a_pattern_for_folders(tmp_path: Path) -> None:
    touch(tmp_path, "a.ini")
    (tmp_path / "b.ini").mkdir()
    monitor = open_monitor(f"glob://{tmp_path}/*.ini/", Settings())
    assert monitor.report() == Report(monitor=monitor.id)
    assert monitor.key_at(f"{tmp_path}/a.ini") is None


def test_a_folder_with_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("good", "full"):
        (tmp_path / name).mkdir()
        touch(tmp_path / name, "a.ini", "b.ini")
    touch(tmp_path / "full", "c.ini")
    monkeypatch.setattr(patterns, "MAX_BRANCH_PATHS", 2)
    report = open_monitor(f"{tmp_path}/*/*.ini", Settings()).report()
    assert report.complete
    assert names(report) == [f"{tmp_path}/{name}" for name in ("full/a.ini", "full/b.ini", "good/a.ini", "good/b.ini")]
    (problem,) = report.diagnostics
    assert (problem.code, problem.path, problem.severity) == ("pattern-cut", f"{tmp_path}/full", Severity.WARNING)


def test_too_many_files_for_a_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.ini", "b.ini")
    monkeypatch.setattr(patterns, "MAX_PATHS", 1)
    monitor = open_monitor(f"{tmp_path}/*.ini", Settings())
    report = monitor.report()
    assert not report.complete
    assert "too many files" in report.diagnostics[0].message
    assert monitor.keys() is None
    monitor.watch(WatchList(lambda _path: None))


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


# Keys.


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for sub in ("x", "y"):
        (tmp_path / sub).mkdir()
        touch(tmp_path / sub, "app.ini", "web.xml", "note.txt", ".hidden.ini", "app.ini.socket")
    (tmp_path / "x" / "gone.ini").symlink_to("nowhere")
    return tmp_path


def keys(monitor: Monitor, *names: str) -> list[str]:
    return [f"{monitor.id}:{name}" for name in names]


def test_the_keys_of_a_directory(folders: Path) -> None:
    monitor = open_monitor(f"{folders}/x", Settings())
    # By their names alone: what lies behind a name is the report's business.
    assert monitor.keys() == keys(monitor, ".hidden.ini", "app.ini", "gone.ini", "web.xml")
    report = monitor.report()
    assert {vassal.key for vassal in report.vassals} | report.rejected == set(monitor.keys() or ())


def test_the_keys_of_a_pattern(folders: Path) -> None:
    monitor = open_monitor(f"{folders}/*/*.ini", Settings())
    names = ("x/app.ini", "x/gone.ini", "y/app.ini")
    assert monitor.keys() == keys(monitor, *(f"{folders}/{name}" for name in names))
    report = monitor.report()
    assert {vassal.key for vassal in report.vassals} | report.rejected == set(monitor.keys() or ())


def test_an_extra_extension_has_keys(folders: Path) -> None:
    monitor = open_monitor(f"{folders}/x", Settings(emperor_extra_extension=(".txt",)))
    assert keys(monitor, "note.txt")[0] in (monitor.keys() or ())
    assert monitor.key_at(f"{folders}/x/note.txt") == keys(monitor, "note.txt")[0]


def test_a_directory_that_cannot_be_listed_has_no_keys(tmp_path: Path) -> None:
    assert open_monitor(f"dir://{tmp_path}/none", Settings()).keys() is None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("x/app.ini", "app.ini"),
        ("x/not-yet.ini", "not-yet.ini"),
        ("x/.hidden.ini", ".hidden.ini"),
        ("x/note.txt", None),
        ("x/app.ini.socket", None),
        ("x", None),
        ("y/app.ini", None),
        ("x/sub/app.ini", None),
        ("app.ini", None),
    ],
)
def test_the_key_of_a_path_in_a_directory(folders: Path, path: str, name: str | None) -> None:
    monitor = open_monitor(f"{folders}/x", Settings())
    assert monitor.key_at(f"{folders}/{path}") == (None if name is None else f"dir://{folders}/x:{name}")


@pytest.mark.parametrize(
    ("path", "is_found"),
    [
        ("x/app.ini", True),
        ("x/not-yet.ini", True),
        ("z/not-yet.ini", True),
        ("x/.hidden.ini", False),
        (".z/app.ini", False),
        ("x/web.xml", False),
        ("x/note.txt", False),
        ("x/sub/app.ini", False),
        ("app.ini", False),
    ],
)
def test_the_key_of_a_path_that_a_pattern_would_find(folders: Path, path: str, *, is_found: bool) -> None:
    monitor = open_monitor(f"{folders}/*/*.ini", Settings())
    assert monitor.key_at(f"{folders}/{path}") == (f"{monitor.id}:{folders}/{path}" if is_found else None)


def test_the_root_as_a_directory() -> None:
    monitor = open_monitor("dir:///", Settings())
    assert monitor.id == "dir:///"
    assert monitor.key_at("/app.ini") == "dir:///:app.ini"
    assert monitor.key_at("/etc/app.ini") is None


@pytest.mark.parametrize("spec", ["{}/x", "{}/x/*"])
def test_a_key_is_that_of_the_vassal_there(folders: Path, spec: str) -> None:
    monitor = open_monitor(spec.format(folders), Settings())
    for vassal in monitor.report().vassals:
        assert monitor.key_at(vassal.config.path) == vassal.key


@pytest.mark.parametrize("spec", ["{}/x", "{}/x/*.*"])
def test_a_report_of_some_vassals(folders: Path, spec: str) -> None:
    monitor = open_monitor(spec.format(folders), Settings())
    whole = monitor.report()
    is_glob = monitor.id.startswith("glob://")
    names = [f"{folders}/x/{name}" if is_glob else name for name in ("app.ini", "web.xml", "gone.ini", "new.ini")]
    app, web, gone, new = keys(monitor, *names)
    assert monitor.report([]) == Report(monitor=monitor.id)
    assert monitor.report({web, app}).vassals == tuple(v for v in whole.vassals if v.key in {web, app})
    # What is not there is not reported, and that is no problem.
    assert monitor.report({new}) == Report(monitor=monitor.id)
    only = monitor.report({gone, app})
    assert [v.key for v in only.vassals] == [app]
    assert only.rejected == {gone}
    assert only.diagnostics == whole.diagnostics
    assert only.diagnostics[0].key == gone


@pytest.mark.parametrize("spec", ["{}/x", "{}/x/*.ini"])
def test_a_report_of_some_knows_no_keys_of_others(folders: Path, spec: str) -> None:
    monitor = open_monitor(spec.format(folders), Settings())
    foreign = [
        "app.ini",
        f"dir://{folders}/y:app.ini",
        f"glob://{folders}/y/*.ini:{folders}/y/app.ini",
        f"{monitor.id}:../y/app.ini",
        f"{monitor.id}:{folders}/y/app.ini",
        f"{monitor.id}:",
        f"{monitor.id}:{folders}/x/note.txt",
        f"{monitor.id}:note.txt",
    ]
    assert monitor.report(foreign) == Report(monitor=monitor.id)


def test_a_report_of_some_of_a_folder_that_is_gone_is_not_complete(tmp_path: Path) -> None:
    monitor = open_monitor(f"dir://{tmp_path}/none", Settings())
    report = monitor.report([f"{monitor.id}:app.ini"])
    assert (report.complete, report.vassals, report.rejected) == (False, (), frozenset())


def test_each_spec_is_opened_once(tmp_path: Path) -> None:
    specs = (str(tmp_path), f"dir://{tmp_path}/", f"{tmp_path}/*.ini", f"glob://{tmp_path}/./*.ini")
    monitors = open_monitors(Settings(emperor=specs))
    assert [monitor.id for monitor in monitors] == [f"dir://{tmp_path}", f"glob://{tmp_path}/*.ini"]


def test_what_follows_an_unknown_scheme_is_not_repeated() -> None:
    """It may hold a password."""
    with pytest.raises(BridgeError) as caught:
        open_monitors(Settings(emperor=("ldap://host=db user=emp password=s3cret dbname=x;SELECT 1",)))
    assert "there is no monitor for ldap://" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "host" not in str(caught.value)
