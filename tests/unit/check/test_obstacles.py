"""What keeps systemd from starting a service: files, users, programs and units that drop-ins name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.check.obstacles import Obstacles
from bridge.diagnostics import Severity
from tests.unit.build import make_resolved

if TYPE_CHECKING:
    from pathlib import Path

SERVICE = "vassal-a-b.service"


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / SERVICE).write_text("[Service]\nExecStart=/bin/true\nUser=root\n")
    return folder


def drop_in(folder: Path, text: str, name: str = f"{SERVICE}.d/env.conf") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def found(*folders: Path, of_many: bool = False) -> list[str]:
    return [str(one) for one in Obstacles(tuple(map(str, folders)), of_many=of_many).of(SERVICE)]


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("EnvironmentFile=/no/x", "its EnvironmentFile /no/x is missing"),
        ("EnvironmentFile=/no/*.env", "its EnvironmentFile /no/*.env is missing"),
        ("ReadWritePaths=/ /no/y", "its ReadWritePaths /no/y is missing"),
        ("BindPaths=/no/z:/mnt", "its BindPaths /no/z is missing"),
        ("WorkingDirectory=/no/w", "its WorkingDirectory /no/w is missing"),
        ("User=no-such-user", "its User no-such-user does not exist"),
        ("Group=no-such-group", "its Group no-such-group does not exist"),
        ("ExecStart=\nExecStart=@/no/app app", "its ExecStart program /no/app is missing"),
        ("ExecStartPre=/etc/passwd", "its ExecStartPre program /etc/passwd cannot be run"),
        ("ConditionPathExists=/no/c", "its ConditionPathExists /no/c does not hold"),
        ("ConditionPathExists=!/etc", "its ConditionPathExists !/etc does not hold"),
        ("AssertPathIsDirectory=/etc/passwd", "its AssertPathIsDirectory /etc/passwd does not hold"),
    ],
)
def test_each_kind_is_found_with_its_place(etc: Path, setting: str, reason: str) -> None:
    path = drop_in(etc, f"# why\n[Service]\n{setting}\n")
    line = 3 + setting.count("\n")
    assert found(etc) == [f"{reason}, from drop-in {path}:{line}"]
    assert found(etc, of_many=True) == found(etc)


@pytest.mark.parametrize(
    "setting",
    [
        "EnvironmentFile=-/no/x",
        "EnvironmentFile=/no/x\nEnvironmentFile=",
        "EnvironmentFile=/no/%i",
        "EnvironmentFile=\\\n  /etc/passwd",
        "#EnvironmentFile=/no/x",
        "ReadWritePaths=-/no/y",
        "ReadWritePaths=+/etc",
        "WorkingDirectory=~",
        "WorkingDirectory=/no\nWorkingDirectory=/",
        "User=no-such-user\nUser=root",
        "ExecStartPre=-/no/app",
        "ExecStartPre=app",
        "ConditionPathExists=|/no/c",
        "ConditionPathExists=/no/c\nConditionPathExists=",
        "AssertPathExistsGlob=/etc/pass*",
        "Requires=absent.service",
    ],
)
def test_what_systemd_accepts_is_no_obstacle(etc: Path, setting: str) -> None:
    drop_in(etc, f"[Service]\n{setting}\n")
    assert found(etc) == []


def test_a_masked_unit_is_one(etc: Path) -> None:
    (etc / "db.service").symlink_to("/dev/null")
    path = drop_in(etc, "[Unit]\nRequires=x.service db.service\n")
    assert found(etc) == [f"its Requires db.service is masked, from drop-in {path}:2"]


@pytest.mark.parametrize("name", ["service.d/x.conf", "vassal-.service.d/x.conf", "vassal-a-.service.d/x.conf"])
def test_drop_ins_of_all_vassals_count(etc: Path, name: str) -> None:
    path = drop_in(etc, "[Service]\nEnvironmentFile=/no/x\n", name)
    assert found(etc) == found(etc, of_many=True) == [f"its EnvironmentFile /no/x is missing, from drop-in {path}:2"]


def test_a_file_of_the_same_name_in_a_folder_of_precedence_replaces_it(tmp_path: Path, etc: Path) -> None:
    usr = tmp_path / "usr"
    usr.mkdir()
    drop_in(usr, "[Service]\nEnvironmentFile=/no/x\n")
    assert len(found(etc, usr)) == 1
    drop_in(etc, "[Service]\n")
    assert found(etc, usr) == []


def test_units_without_drop_ins_are_read_only_if_asked(etc: Path) -> None:
    (etc / SERVICE).write_text("[Service]\nExecStart=/no/uwsgi\n")
    obstacles = Obstacles((str(etc),))
    assert obstacles.first(SERVICE) == f"its ExecStart program /no/uwsgi is missing, from {etc}/{SERVICE}:2"
    assert list(obstacles.of(SERVICE, drop_ins_only=True)) == []
    assert obstacles.first("vassal-absent.service") == ""


def test_a_false_condition_is_a_warning_and_all_else_an_error(etc: Path) -> None:
    vassal = make_resolved("a-b.ini").vassal
    path = drop_in(etc, "[Unit]\nConditionPathExists=/no\n[Service]\nEnvironmentFile=/no\n")
    problems = [one.problem(vassal) for one in Obstacles((str(etc),)).of(SERVICE)]
    assert [(one.severity, one.path, one.line) for one in problems] == [
        (Severity.WARNING, str(path), 2),
        (Severity.ERROR, str(path), 4),
    ]
    assert {one.code for one in problems} == {"cannot-start"}
