"""Warnings of files that a vassal's user does not find."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bridge.check import missing_files
from bridge.check.missing_files import find_missing_files
from bridge.diagnostics import Severity
from bridge.host.as_user import Identity
from bridge.uwsgi.options import Config, Option
from tests.unit.build import make_resolved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.diagnostics import Diagnostic
    from bridge.host.as_user import Place


class Eyes:
    """What is found, by path; and as whom it was looked for."""

    def __init__(self, **errors: int) -> None:
        self.errors = errors
        self.asked: list[Identity] = []

    def look(self, asked: Sequence[Sequence[Place]], identity: Identity, *, timeout: float) -> list[int] | None:
        assert timeout > 0
        self.asked.append(identity)
        if identity.uid == 9:
            return None
        return [self.errors.get(places[0].path.rpartition("/")[2].partition(".")[0], 0) for places in asked]


@pytest.fixture
def eyes(monkeypatch: pytest.MonkeyPatch) -> Eyes:
    eyes = Eyes(gone=errno.ENOENT, secret=errno.EACCES, folder=errno.EISDIR, file=errno.ENOTDIR, odd=errno.EIO)
    monkeypatch.setattr(missing_files, "look", eyes.look)
    return eyes


def found(*lines: str, user: str = "", group: str = "", drops_groups: bool = False) -> list[Diagnostic]:
    pairs = [line.partition(" = ")[::2] for line in lines]
    config = Config("/v/app.ini", tuple(Option(key, value, "/v/app.ini", n) for n, (key, value) in enumerate(pairs, 2)))
    one = make_resolved()
    one = replace(one, spawn=replace(one.spawn, user=user, group=group, drops_groups=drops_groups))
    return list(find_missing_files([(one, config)], "/plugins", user_manager=False))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("wsgi-file = gone.py", "/v/gone.py is not there"),
        ("wsgi-file = secret.py", "user root may not read /v/secret.py"),
        ("wsgi-file = folder", "/v/folder is a folder"),
        ("chdir = file", "/v/file is no folder"),
        ("wsgi-file = odd.py", "/v/odd.py cannot be used: Input/output error"),
        ("logto = /l/gone.log", "the folder of /l/gone.log is not there"),
        ("logto = /l/secret.log", "user root may not write /l/secret.log"),
        ("module = gone:app", "there is no module gone in /v"),
    ],
)
@pytest.mark.usefixtures("eyes")
def test_what_is_wrong_is_said(line: str, message: str) -> None:
    (problem,) = found("wsgi-file = good.py", line)
    assert problem.message == f"{line}: {message}"
    assert (problem.code, problem.severity, problem.path, problem.line) == (
        "file-missing", Severity.WARNING, "/v/app.ini", 3,
    )  # fmt: skip
    assert problem.hint


def test_a_plugin_is_looked_for_in_several_folders(eyes: Eyes) -> None:
    assert found("plugins-dir = /p", "plugin = there") == []
    eyes.errors["there_plugin"] = errno.ENOENT
    (problem,) = found("plugins-dir = /p", "plugin = there")
    assert problem.message == "plugin = there: there is no plugin there in /p or /plugins"


def test_each_user_looks_with_its_own_rights(eyes: Eyes) -> None:
    found("wsgi-file = a", "logto = /b", user="65534", group="60", drops_groups=True)
    assert eyes.asked == [Identity(65534, 60, ())]
    eyes.asked.clear()
    # Before it changes its user, uWSGI is root.
    found("wsgi-file = a", "logto = /b", "uid = 65534", "gid = 60")
    assert {(one.uid, one.gid) for one in eyes.asked} == {(65534, 60), (0, 0)}
    eyes.asked.clear()
    found("wsgi-file = a", "uid = nobody-at-all")
    assert eyes.asked == []


def test_who_cannot_be_become_is_no_problem(eyes: Eyes) -> None:
    assert found("wsgi-file = gone", user="9", group="9") == []
    assert [one.uid for one in eyes.asked] == [9]


@pytest.mark.usefixtures("eyes")
def test_an_option_of_the_command_line_has_no_line() -> None:
    config = Config("/v/app.ini", (Option("wsgi-file", "gone", "$0", 1),))
    (problem,) = find_missing_files([(make_resolved(), config)], "", user_manager=False)
    assert (problem.path, problem.line) == ("/v/app.ini", None)
