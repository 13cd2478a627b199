from __future__ import annotations

import select
from typing import TYPE_CHECKING

import pytest

from bridge.host.path_watch import EVERYTHING, FILES
from bridge.watch.inotify import FileWatch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[FileWatch]:
    files = FileWatch()
    assert files.watch({str(tmp_path): {EVERYTHING}})
    yield files
    files.close()


def changed(watch: FileWatch) -> bool:
    assert select.select([watch], [], [], 5)[0]
    paths = watch.changed(lambda _: False)
    return paths is None or bool(paths)


def test_a_file_matters_once_it_is_closed(watch: FileWatch, tmp_path: Path) -> None:
    path = tmp_path / "a.ini"
    with path.open("w") as file:
        file.write("[uwsgi]\n")
        file.flush()
        assert not changed(watch)
        assert watch.open == {str(path)}
    assert changed(watch)
    assert watch.open == set()


@pytest.mark.parametrize("how", ["rename", "link", "symlink", "unlink", "mkdir", "touch"])
def test_what_is_whole_at_once_matters_at_once(watch: FileWatch, tmp_path: Path, how: str) -> None:
    path = tmp_path / "a.ini"
    path.write_text("[uwsgi]\n")
    assert changed(watch)
    match how:
        case "rename":
            path.rename(tmp_path / "b.ini")
        case "link":
            (tmp_path / "b.ini").hardlink_to(path)
        case "symlink":
            (tmp_path / "b.ini").symlink_to(path)
        case "unlink":
            path.unlink()
        case "mkdir":
            (tmp_path / "folder").mkdir()
        case "touch":
            path.touch()
    assert changed(watch)


def test_only_names_of_interest_matter(watch: FileWatch, tmp_path: Path) -> None:
    watch.watch({str(tmp_path): {"a.sock"}})
    (tmp_path / "b").mkdir()
    assert not changed(watch)
    (tmp_path / "a.sock").mkdir()
    assert changed(watch)


def test_what_is_known_to_be_as_it_should_does_not_matter(watch: FileWatch, tmp_path: Path) -> None:
    (tmp_path / "a.sock").mkdir()
    assert select.select([watch], [], [], 5)[0]
    assert not watch.changed(lambda path: path.endswith("a.sock"))


def test_a_folder_that_went_can_be_watched_again(watch: FileWatch, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    names = {str(folder): {EVERYTHING}, str(tmp_path): {"f"}}
    assert watch.watch(names)
    assert not watch.watch(names)
    folder.rmdir()
    assert changed(watch)
    assert not watch.watch(names)
    folder.mkdir()
    assert changed(watch)
    assert watch.watch(names)
    (folder / "x").mkdir()
    assert changed(watch)


def test_a_file_somebody_has_open_for_writing_is_not_settled(watch: FileWatch, tmp_path: Path) -> None:
    path = tmp_path / "a.ini"
    with path.open("w") as file:
        file.write("[uwsgi]\n")
        file.flush()
        assert not changed(watch)
        assert not watch.resolve()
        assert watch.open == {str(path)}
    watch.open.add(str(path))
    assert watch.resolve()
    assert watch.open == set()


@pytest.mark.parametrize("odd", ["loop", "a" * 300, "x/" * 3000, "file"])
def test_a_folder_that_nobody_can_reach_keeps_no_other_from_being_watched(tmp_path: Path, odd: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    (tmp_path / "good").mkdir()
    files = FileWatch()
    wanted = {str(tmp_path / odd): {EVERYTHING}, str(tmp_path / "good"): {EVERYTHING}}
    assert files.watch(wanted) == {str(tmp_path / "good")}
    files.close()


@pytest.mark.parametrize(("names", "is_any"), [({FILES}, False), ({EVERYTHING}, True), ({FILES, "sub"}, True)])
def test_a_folder_that_leads_nowhere_is_one_path_among_others(tmp_path: Path, names: set[str], *, is_any: bool) -> None:
    files = FileWatch()
    files.watch({str(tmp_path): names})
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub").rmdir()
    assert select.select([files], [], [], 5)[0]
    assert files.changed(lambda _: False) == (None if is_any else {f"{tmp_path}/sub"})
    files.close()
