from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bridge.config.settings import Settings
from bridge.host.path_watch import EVERYTHING, FILES, WatchList, leads_on, of_interest
from bridge.monitors import open_monitor

if TYPE_CHECKING:
    from pathlib import Path


def watch_list(links: dict[str, str] | None = None) -> WatchList:
    return WatchList((links or {}).get)


def test_each_step_of_a_path_is_watched() -> None:
    found = watch_list()
    found.contents("/etc/uwsgi/vassals")
    assert found.names == {
        "/": {"etc"},
        "/etc": {"uwsgi"},
        "/etc/uwsgi": {"vassals"},
        "/etc/uwsgi/vassals": {EVERYTHING},
    }


def test_a_file_is_watched_in_its_folder() -> None:
    found = watch_list()
    found.file("/run/app.sock")
    assert found.names == {"/": {"run"}, "/run": {"app.sock"}}


@pytest.mark.parametrize("target", ["/srv/v", "../srv/v", "../srv/./x/../v"])
def test_the_way_of_a_symlink_is_watched_too(target: str) -> None:
    found = watch_list({"/etc/vassals": target})
    found.contents("/etc/vassals")
    assert found.names["/etc"] == {"vassals"}
    assert "v" in found.names["/srv"]
    assert found.names["/srv/v"] == {EVERYTHING}


def test_links_in_a_circle_end() -> None:
    found = watch_list({"/a": "/b", "/b": "/a"})
    found.file("/a/x")
    assert {"a", "b"} <= found.names["/"]


def test_a_name_matters_where_it_or_everything_is_watched() -> None:
    assert of_interest({"a"}, "a")
    assert not of_interest({"a"}, "b")
    assert of_interest({EVERYTHING}, "b")
    assert of_interest({FILES}, "b")


def test_a_folder_matters_where_something_in_it_may_be_found() -> None:
    assert leads_on({"a", FILES}, "a")
    assert leads_on({EVERYTHING}, "b")
    assert not leads_on({"a", FILES}, "b")


def test_a_pattern_over_several_levels(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two" / "conf").mkdir(parents=True)
    found = WatchList(lambda path: os.readlink(path) if os.path.islink(path) else None)
    open_monitor(f"glob://{tmp_path}/*/conf/*.ini", Settings()).watch(found)
    assert EVERYTHING in found.names[str(tmp_path)]
    assert found.names[f"{tmp_path}/one"] == {"conf"}  # it may come yet
    assert found.names[f"{tmp_path}/two/conf"] == {FILES}
