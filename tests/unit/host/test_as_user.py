"""Files as another user sees them."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from bridge.host.as_user import Identity, Place, look
from tests.unit.root import needs_root

if TYPE_CHECKING:
    from pathlib import Path

NOBODY, GAMES = 65534, 60
OWN = Identity(os.geteuid(), os.getegid(), ())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that every user can reach."""
    # pytest's own folders are closed to others.
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_mode & 0o005 != 0o005:
            path.chmod(0o755)
    (tmp_path / "file").write_text("x")
    (tmp_path / "sub").mkdir()
    return tmp_path


def seen(*places: Place, identity: Identity = OWN) -> int:
    found = look([places], identity, timeout=20)
    assert found is not None
    return found[0]


def test_what_is_there_and_what_is_not(folder: Path) -> None:
    file, sub, gone = f"{folder}/file", f"{folder}/sub", f"{folder}/gone"
    assert look([[Place(file)], [Place(gone)], []], OWN, timeout=20) == [0, errno.ENOENT, 0]
    assert (seen(Place(file, is_folder=True)), seen(Place(sub))) == (errno.ENOTDIR, errno.EISDIR)
    assert (seen(Place(sub, is_folder=True)), seen(Place(sub, is_folder=None)), seen(Place(file, None))) == (0, 0, 0)
    assert (seen(Place(gone), Place(file)), seen(Place(gone), Place(sub))) == (0, errno.ENOENT)
    assert seen(Place(f"{file}/x")) == errno.ENOTDIR
    assert seen(Place("a\0b")) == errno.EINVAL
    assert seen(Place(f"{folder}/f*", is_pattern=True)) == 0
    assert seen(Place(f"{folder}/g*", is_pattern=True)) == errno.ENOENT


def test_what_is_written_is_made_in_its_folder(folder: Path) -> None:
    assert seen(Place(f"{folder}/new.log", is_written=True)) == 0
    assert seen(Place(f"{folder}/gone/new.log", is_written=True)) == errno.ENOENT


@needs_root
def test_with_the_rights_of_another_user(folder: Path) -> None:
    os.chmod(folder / "file", 0o640)
    os.chown(folder / "file", 0, GAMES)
    file = Place(f"{folder}/file")
    assert seen(file) == 0
    assert seen(file, identity=Identity(NOBODY, NOBODY)) == errno.EACCES
    assert seen(file, identity=Identity(NOBODY, GAMES)) == 0
    assert seen(file, identity=Identity(NOBODY, NOBODY, (GAMES,))) == 0
    (folder / "sub").chmod(0o710)
    os.chown(folder / "sub", 0, GAMES)
    assert seen(Place(f"{folder}/sub", is_folder=True), identity=Identity(NOBODY, GAMES)) == 0
    os.chmod(folder / "sub", 0o700)
    assert seen(Place(f"{folder}/sub", is_folder=True), identity=Identity(NOBODY, NOBODY)) == errno.EACCES
    assert seen(Place(f"{folder}/sub/x"), identity=Identity(NOBODY, NOBODY)) == errno.EACCES
    assert seen(Place(f"{folder}/x.log", is_written=True), identity=Identity(NOBODY, NOBODY)) == errno.EACCES
    # This process is who it was.
    assert (os.geteuid(), os.getresuid()) == (0, (0, 0, 0))


@needs_root
def test_who_cannot_be_become_sees_nothing() -> None:
    assert look([[Place("/")]], Identity(2**40, 0), timeout=20) is None


def test_a_user_does_not_become_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert look([[Place("/")]], Identity(1001, 1001), timeout=20) is None


def test_a_file_system_that_does_not_answer_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object) -> None:
        while True:
            os.read(reader, 1)

    reader, _writer = os.pipe()
    monkeypatch.setattr("bridge.host.as_user._examine", hang)
    assert look([[Place("/")]], OWN, timeout=0.2) is None
