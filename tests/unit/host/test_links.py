"""Walks through symlinks, which a tenant can make as he likes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bridge.host.links import MAX_LINKS, MAX_STEPS, EndlessPathError, PathWalk, link_targets, make_real_path
from bridge.host.path_watch import EVERYTHING, WatchList

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def fan(depth: int) -> dict[str, str]:
    """Return links of which each leads twice through the one before: 2 to the power of ``depth`` in all."""
    return {"/l0": ".", **{f"/l{at}": f"l{at - 1}/l{at - 1}" for at in range(1, depth)}}


def fan_up(depth: int) -> dict[str, str]:
    """The same, by way of the parent folder."""
    return {"/l0": "/", **{f"/l{at}": f"/l{at - 1}/../l{at - 1}" for at in range(1, depth)}}


@pytest.mark.parametrize("links", [fan(30), fan_up(30)])
def test_links_that_fan_out_share_one_budget(links: dict[str, str]) -> None:
    asked: list[str] = []

    def readlink(path: str) -> str | None:
        asked.append(path)
        return links.get(path)

    watch_list = WatchList(readlink)
    watch_list.file("/l29")
    watch_list.file("/l29/x/y")
    watch_list.contents("/l29/x")
    assert len(asked) < 5 * MAX_LINKS + 10
    assert "l29" in watch_list.names["/"]
    with pytest.raises(EndlessPathError):
        PathWalk(readlink).to("/l29/x")
    assert make_real_path()("/nowhere/x") == "/nowhere/x"


@pytest.mark.parametrize("links", [fan(5), fan_up(5)])
def test_links_within_the_budget_are_followed(links: dict[str, str]) -> None:
    assert PathWalk(links.get).to("/l4/x") == "/x"


def test_forty_links_are_followed_as_the_kernel_does(tmp_path: Path) -> None:
    (tmp_path / "l0").mkdir()
    (tmp_path / "l0" / "file").touch()
    for at in range(1, MAX_LINKS + 2):
        (tmp_path / f"l{at}").symlink_to(f"l{at - 1}")
    good, bad = tmp_path / f"l{MAX_LINKS}" / "file", tmp_path / f"l{MAX_LINKS + 1}" / "file"
    assert good.exists()
    with pytest.raises(OSError, match="symbolic links"):
        bad.stat()
    real_path = make_real_path()
    assert real_path(str(good)) == os.path.realpath(tmp_path / "l0" / "file")
    assert real_path(str(bad)) == str(bad)
    # The folder's links and the file's own have one budget.
    (tmp_path / "l0" / "again").symlink_to("file")
    assert real_path(f"{tmp_path}/l{MAX_LINKS}/again") == f"{tmp_path}/l{MAX_LINKS}/again"
    assert real_path(f"{tmp_path}/l{MAX_LINKS - 1}/again") == f"{os.path.realpath(tmp_path)}/l0/file"


def test_a_link_through_thousands_of_folders_is_watched_in_few() -> None:
    links = {f"/l{at}": f"{'d/' * 2000}l{at + 1}" for at in range(MAX_LINKS)}
    watch_list = WatchList(links.get)
    watch_list.file("/l0")
    watch_list.contents("/l0")
    assert len(watch_list.names) <= 2 * MAX_STEPS
    assert watch_list.names["/l0"] == {EVERYTHING}


@pytest.mark.parametrize("make", [lambda path: path, lambda path: f"{path}/x"])
def test_a_chain_of_thousands_of_links_ends(tmp_path: Path, make: Callable[[str], str]) -> None:
    for at in range(3000):
        (tmp_path / f"c{at}").symlink_to(f"c{at + 1}")
    path = make(f"{tmp_path}/c0")
    assert make_real_path()(path) == path
    assert len(link_targets(f"{tmp_path}/c0")) == MAX_LINKS


@pytest.mark.parametrize("name", ["\0", "\ud800", "x" * 5000])
def test_a_path_that_nobody_can_have_stays_as_it_is(name: str) -> None:
    assert make_real_path()(f"/tmp/{name}/a") == f"/tmp/{name}/a"
    assert link_targets(f"/tmp/{name}") == ()
