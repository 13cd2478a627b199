from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from bridge.host.files import (
    TEMPORARY_PREFIX,
    FileError,
    is_socket,
    read_regular,
    read_text,
    remove_if_there,
    write_all,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_reads_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 10)
    assert read_regular(str(path), max_bytes=10) == b"x" * 10
    with pytest.raises(FileError, match="larger than 9 bytes"):
        read_regular(str(path), max_bytes=9)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    assert read_regular(str(tmp_path / "f"), max_bytes=10) == b""


def test_follows_links(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / "l").symlink_to("f")
    assert read_regular(str(tmp_path / "l"), max_bytes=10) == b"x"


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_regular(str(tmp_path / "f"), max_bytes=10)


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "/"])
def test_devices_and_directories(path: str) -> None:
    with pytest.raises(FileError, match="not a regular file"):
        read_regular(path, max_bytes=10)


def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f")
    with pytest.raises(FileError, match="not a regular file"):
        read_regular(str(tmp_path / "f"), max_bytes=10)


def test_a_link_to_a_secret_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "l").symlink_to("/etc/shadow")
    with pytest.raises(FileError, match=r"not everybody|Permission denied"):
        read_regular(str(tmp_path / "l"), max_bytes=1 << 20)


def test_text_that_cannot_be_read_is_empty(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"a\xffb")
    assert read_text(str(tmp_path / "f")) == "a\ufffdb"
    assert read_text(str(tmp_path / "f"), max_bytes=2) == read_text(str(tmp_path / "none")) == read_text("/") == ""
    assert read_text("/proc/sys/kernel/pid_max").strip().isdecimal()


def test_a_socket_is_found_through_a_link(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
    (tmp_path / "l").symlink_to("s")
    (tmp_path / "f").touch()
    assert [is_socket(str(tmp_path / name)) for name in ("s", "l", "f", "none")] == [True, True, False, False]


def test_a_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "f").symlink_to("f")
    with pytest.raises(FileError, match="symbolic links"):
        read_regular(str(tmp_path / "f"), max_bytes=10)


def test_writes_and_replaces(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("before")
    (tmp_path / "other").write_text("stays")
    umask = os.umask(0o077)
    try:
        write_all(str(tmp_path), {"old": "after\r\né", "new": ""})
    finally:
        os.umask(umask)
    assert {p.name: p.read_bytes().decode() for p in tmp_path.iterdir()} == {
        "old": "after\r\né",
        "new": "",
        "other": "stays",
    }
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o644


def test_a_reader_of_the_old_file_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("before")
    with (tmp_path / "f").open() as reader:
        write_all(str(tmp_path), {"f": "after"})
        assert reader.read() == "before"


def test_a_failed_write_changes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("before")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").touch()
    with pytest.raises(OSError, match=r"directory|exist"):
        write_all(str(tmp_path), {"b": "no file can be put here", "a": "after"})
    assert (tmp_path / "a").read_text() == "before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_a_text_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write_all(str(tmp_path), {"a": "fine", "b": "\udcff"})
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_file_of_a_killed_run_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("stays")
    (tmp_path / f"{TEMPORARY_PREFIX}0").symlink_to("precious")
    write_all(str(tmp_path), {"f": "new"})
    assert (tmp_path / "precious").read_text() == "stays"
    assert not (tmp_path / "f").is_symlink()
    assert (tmp_path / "f").read_text() == "new"


def test_remove_if_there(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    remove_if_there(str(tmp_path / "f"))
    remove_if_there(str(tmp_path / "f"))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match=r"directory|permitted"):
        remove_if_there(str(tmp_path))
