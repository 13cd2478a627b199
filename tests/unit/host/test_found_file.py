from __future__ import annotations

import contextlib
import os
import stat
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bridge.host import found_file
from bridge.host.files import FileError, read_foreign
from bridge.host.found_file import FoundFile, NotAFileError
from tests.unit.root import needs_root

if TYPE_CHECKING:
    from collections.abc import Iterator

ANN = 4001
BOB = 4002


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of root's that everybody can reach, as the ones pytest makes are not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are opened and not only found."""
    real_open, paths = os.open, []

    def noted(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if not flags & os.O_PATH:
            paths.append(str(path))
        return real_open(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", noted)
    return paths


def make(path: Path, owner: int, mode: int = 0o644, text: str = "text") -> Path:
    path.write_text(text)
    os.chown(path, owner, owner)
    path.chmod(mode)
    return path


def status_as(path: Path | str, user: int) -> os.stat_result:
    with FoundFile(str(path), user=user) as found:
        return found.status


@pytest.mark.parametrize(
    "path",
    [
        "/dev/zero",
        "/dev/full",
        "/proc/self/environ",
        "/proc/version",
        "/proc/kmsg",
        "/sys/kernel/notes",
        "/",
        "/proc/self/cwd",
    ],
)
def test_what_is_no_file_is_never_opened(place: Path, opened: list[str], path: str) -> None:
    (place / "link").symlink_to(path)
    for way in (path, str(place / "link")):
        if os.path.lexists(path):
            with FoundFile(way) as found, pytest.raises(NotAFileError):
                found.read(100)
            with pytest.raises(FileError):
                read_foreign(way, max_bytes=100)
    assert opened == []


def test_a_fifo_and_a_socket_are_never_opened(place: Path, opened: list[str]) -> None:
    os.mkfifo(place / "fifo")
    os.mknod(place / "socket", stat.S_IFSOCK | 0o600)
    for name in ("fifo", "socket"):
        with FoundFile(str(place / name)) as found, pytest.raises(NotAFileError):
            found.read(100)
    assert opened == []


@needs_root
def test_a_file_is_read_with_a_bound(place: Path) -> None:
    path = make(place / "a", ANN, text="12345")
    for bound, data in ((10, b"12345"), (5, b"12345"), (4, b"12345"), (3, b"1234"), (0, b"1")):
        with FoundFile(str(path)) as found:
            assert found.read(bound) == data
            assert found.real == str(path)


@needs_root
def test_what_is_judged_is_what_is_read(place: Path) -> None:
    path = make(place / "a", ANN, text="mine")
    with FoundFile(str(path)) as found:
        path.rename(place / "b")
        make(place / "a", BOB, text="other")
        assert (found.status.st_uid, found.read(10), found.real) == (ANN, b"mine", str(place / "b"))


@needs_root
@pytest.mark.parametrize(
    ("owner", "mode", "may"),
    [
        (ANN, 0o700, True),
        (ANN, 0o077, False),
        (BOB, 0o755, True),
        (BOB, 0o750, False),
        (0, 0o711, True),
        (0, 0o700, False),
    ],
)
def test_whom_a_folder_lets_through(place: Path, owner: int, mode: int, may: bool) -> None:
    folder = place / "folder"
    folder.mkdir()
    make(folder / "a", ANN)
    os.chown(folder, owner, owner)
    folder.chmod(mode)
    if may:
        assert status_as(folder / "a", ANN).st_uid == ANN
        with pytest.raises(FileNotFoundError):
            status_as(folder / "none", ANN)
    else:
        # Whether something is there is not said.
        for name in ("a", "none", "a/b"):
            with pytest.raises(PermissionError):
                status_as(folder / name, ANN)
    assert status_as(folder / "a", 0).st_uid == ANN


@needs_root
def test_links_on_the_way(place: Path) -> None:
    closed, open_ = place / "closed", place / "open"
    closed.mkdir(mode=0o700)
    open_.mkdir()
    make(open_ / "a", BOB)
    (closed / "link").symlink_to(open_ / "a")
    (open_ / "in").symlink_to("../closed/link")
    (open_ / "absolute").symlink_to(f"{open_}/../open/./a")
    (open_ / "up").symlink_to("..")
    assert status_as(open_ / "absolute", ANN).st_uid == BOB
    assert status_as(open_ / "up/open/up/open/absolute", ANN).st_uid == BOB
    for path in (closed / "link", open_ / "in"):
        with pytest.raises(PermissionError):
            status_as(path, ANN)


def test_links_without_end(place: Path) -> None:
    (place / "loop").symlink_to("loop")
    (place / "l0").symlink_to(".")
    for number in range(1, 30):
        (place / f"l{number}").symlink_to(f"l{number - 1}/l{number - 1}")
    (place / "long").symlink_to("./" * 1000 + "x/.." * 300)
    for name in ("loop", "l29", "a/" * 3000):
        with pytest.raises(OSError, match=r"Too many|too long"):
            status_as(place / name, ANN)


def test_the_kernels_links_lead_nowhere() -> None:
    for path in ("/proc/self/root/etc/passwd", "/proc/self/cwd", "/proc/self/exe", "/proc/self/fd/0", "/dev/fd/0"):
        with pytest.raises(PermissionError):
            status_as(path, ANN)


@needs_root
def test_an_acl_may_decide_otherwise(place: Path) -> None:
    folder = place / "folder"
    folder.mkdir()
    make(folder / "a", ANN)
    assert status_as(folder / "a", ANN)
    entries = [(0x01, 7, -1), (0x02, 0, ANN), (0x04, 5, -1), (0x10, 5, -1), (0x20, 5, -1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(folder, "system.posix_acl_access", acl)
    except OSError:
        pytest.skip("this file system has no ACLs")
    with pytest.raises(PermissionError):
        status_as(folder / "a", ANN)


@needs_root
def test_members_of_a_group(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(found_file, "groups_of", lambda user: {BOB} if user == ANN else set())
    path = make(place / "a", BOB, 0o640)
    with FoundFile(str(path)) as found:
        assert (found.may_be_read_by(ANN), found.may_be_read_by(4003)) == (True, False)
    path.chmod(0o604)
    with FoundFile(str(path)) as found:
        assert (found.may_be_read_by(ANN), found.may_be_read_by(4003)) == (False, True)


def test_no_descriptor_is_left_open(place: Path) -> None:
    (place / "link").symlink_to("..")
    before = os.listdir("/proc/self/fd")
    for path in (place, place / "none", place / "link/none", "/proc/self/cwd", "/root/x"):
        with contextlib.suppress(OSError):
            status_as(path, ANN)
    assert len(os.listdir("/proc/self/fd")) == len(before)
