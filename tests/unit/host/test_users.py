from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.host.path_security import open_folder
from bridge.host.users import missing_owner, spellings

if TYPE_CHECKING:
    from collections.abc import Iterator

TENANT = 4001


@pytest.fixture
def way() -> Iterator[Path]:
    """A way of three folders, all root's, below a sticky one."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a" / "b").mkdir(parents=True)
        yield Path(folder)


def test_a_way_that_is_roots(way: Path) -> None:
    assert open_folder(str(way / "a" / "b")) is None
    assert open_folder(str(way / "a" / "b" / "not" / "yet")) is None


def test_a_step_of_a_tenants(way: Path) -> None:
    os.chown(way / "a", TENANT, TENANT)
    assert open_folder(str(way / "a" / "b")) == str(way / "a")


@pytest.mark.parametrize(
    ("mode", "gid", "is_open"),
    [(0o777, 0, True), (0o775, TENANT, True), (0o775, 0, False), (0o1777, 0, False), (0o755, TENANT, False)],
)
def test_who_may_write(way: Path, mode: int, gid: int, is_open: bool) -> None:
    os.chown(way / "a", 0, gid)
    (way / "a").chmod(mode)
    assert open_folder(str(way / "a" / "b")) == (str(way / "a") if is_open else None)


def test_symlinks_are_judged_by_where_they_lead_and_whose_they_are(way: Path) -> None:
    (way / "link").symlink_to("a/b")
    assert open_folder(str(way / "link")) is None
    os.chown(way / "a" / "b", TENANT, TENANT)
    assert open_folder(str(way / "link")) == str(way / "a" / "b")
    os.chown(way / "link", TENANT, TENANT, follow_symlinks=False)
    assert open_folder(str(way / "link")) == str(way / "link")


def test_a_circle_of_symlinks_ends(way: Path) -> None:
    (way / "x").symlink_to("y")
    (way / "y").symlink_to("x")
    assert open_folder(str(way / "x")) is None


def test_names_and_numbers() -> None:
    assert spellings("uid", "0") == spellings("uid", "root") == {"root", "0"}
    assert spellings("gid", "0") == {"root", "0"}
    assert spellings("uid", "no-such-user") == {"no-such-user"}
    assert missing_owner("root", "root") == missing_owner("4001", "4001") == missing_owner("", "") == ""
    assert missing_owner("no-such-user", "") == "user no-such-user"
    assert missing_owner("root", "no-such-group") == "group no-such-group"
