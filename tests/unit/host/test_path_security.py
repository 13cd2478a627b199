"""Which folders only root can replace, on real folders with real owners, modes, ACLs and mounts."""

from __future__ import annotations

import os
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.host import path_security
from bridge.host.links import MAX_LINKS, link_owners, link_targets
from bridge.host.path_security import PathSecurity, Trust
from tests.unit.root import needs_root

if TYPE_CHECKING:
    from collections.abc import Iterator

TENANT = 4001
SERVICE = 901


@pytest.fixture
def way() -> Iterator[Path]:
    """Three folders that only root can change."""
    with tempfile.TemporaryDirectory(dir="/var/lib") as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "a" / "b").mkdir(parents=True)
        yield Path(folder)


def unsafe(path: Path | str, trust: Trust = Trust(), *, sticky_is_safe: bool = False) -> str | None:  # noqa: B008
    step = PathSecurity().unsafe_step(str(path), trust=trust, sticky_is_safe=sticky_is_safe)
    return step.path if step else None


@needs_root
def test_a_way_that_is_roots(way: Path) -> None:
    assert unsafe(way / "a" / "b") is None
    assert unsafe(way / "a" / "b" / "not" / "yet") is None


@needs_root
def test_a_step_of_a_tenants(way: Path) -> None:
    os.chown(way / "a", TENANT, TENANT)
    assert unsafe(way / "a" / "b") == str(way / "a")
    assert unsafe(way / "a" / "not" / "yet") == str(way / "a")


@needs_root
@pytest.mark.parametrize(
    ("mode", "gid", "is_unsafe"),
    [(0o777, 0, True), (0o775, TENANT, True), (0o775, 0, False), (0o1777, 0, True), (0o755, TENANT, False)],
)
def test_who_may_write(way: Path, mode: int, gid: int, is_unsafe: bool) -> None:
    os.chown(way / "a", 0, gid)
    (way / "a").chmod(mode)
    assert unsafe(way / "a" / "b") == (str(way / "a") if is_unsafe else None)


@needs_root
def test_in_a_sticky_folder_only_what_exists_is_safe_and_only_if_the_caller_says_so(way: Path) -> None:
    (way / "a").chmod(0o1777)
    assert unsafe(way / "a" / "b", sticky_is_safe=True) is None
    assert unsafe(way / "a" / "not-yet", sticky_is_safe=True) == str(way / "a")
    assert unsafe(way / "a" / "b") == str(way / "a")


@needs_root
def test_symlinks_are_judged_by_where_they_lead_and_whose_they_are(way: Path) -> None:
    (way / "link").symlink_to("a/b")
    assert unsafe(way / "link") is None
    os.chown(way / "a" / "b", TENANT, TENANT)
    assert unsafe(way / "link") == str(way / "a" / "b")
    os.chown(way / "link", TENANT, TENANT, follow_symlinks=False)
    assert unsafe(way / "link") == str(way / "link")


@needs_root
def test_a_way_up_is_judged_where_it_leads(way: Path) -> None:
    (way / "c").mkdir(mode=0o777)
    (way / "c").chmod(0o777)
    (way / "a" / "up").symlink_to("../c")
    assert unsafe(way / "a" / "up") == str(way / "c")
    assert unsafe(way / "a" / ".." / "c") == str(way / "c")


@needs_root
def test_a_circle_of_symlinks_is_unsafe(way: Path) -> None:
    (way / "x").symlink_to("y")
    (way / "y").symlink_to("x")
    assert unsafe(way / "x") in {str(way / "x"), str(way / "y")}


@needs_root
def test_symlinks_that_fan_out_end_with_the_kernels_number(way: Path) -> None:
    (way / "l0").mkdir()
    (way / "l0" / "l0").symlink_to("..")
    for number in range(1, MAX_LINKS):
        (way / f"l{number}").symlink_to(f"l{number - 1}/l0/l{number - 1}")
    assert unsafe(way / f"l{MAX_LINKS - 1}") is not None
    assert len(link_targets(str(way / "l30"))) <= MAX_LINKS


@pytest.mark.parametrize("path", ["/run/user/4001/z", "/proc/1/cwd/x", "/proc/self/fd", "/sys/x", "/dev/shm/x"])
def test_places_that_change_hands(path: str) -> None:
    assert unsafe(path) is not None


@needs_root
@pytest.mark.parametrize("kind", ["autofs", "fuse.sshfs", "nfs4", "9p"])
def test_a_mount_whose_contents_are_somebody_elses(way: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path_security, "_read_mounts", lambda: {str(way / "a"): kind})
    assert unsafe(way / "a" / "b") == str(way / "a")


def test_mount_points_are_read() -> None:
    assert path_security._read_mounts()["/proc"] == "proc"


def acl(tag: int, permissions: int, who: int = TENANT, *, mask: int = 7) -> bytes:
    entries = [(1, 7, 0xFFFFFFFF), (tag, permissions, who), (4, 5, 0xFFFFFFFF), (16, mask, 0xFFFFFFFF)]
    entries.append((32, 5, 0xFFFFFFFF))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in sorted(entries))


@needs_root
@pytest.mark.parametrize(
    ("raw", "is_unsafe"),
    [(acl(2, 7), True), (acl(8, 7), True), (acl(2, 5), False), (acl(2, 7, mask=5), False)],
    ids=["user", "group", "reads only", "masked"],
)
def test_acls_count(way: Path, raw: bytes, is_unsafe: bool) -> None:
    try:
        os.setxattr(way / "a", "system.posix_acl_access", raw)
    except OSError as error:
        pytest.fail(f"/var/lib is on a file system without ACLs: {error}")
    assert unsafe(way / "a" / "b") == (str(way / "a") if is_unsafe else None)


@needs_root
def test_a_default_acl_would_give_a_new_folder_away(way: Path) -> None:
    os.setxattr(way / "a" / "b", "system.posix_acl_default", acl(2, 7))
    assert unsafe(way / "a" / "b") is None
    assert unsafe(way / "a" / "b" / "new") == str(way / "a" / "b")


@needs_root
def test_whom_the_admin_trusts(way: Path) -> None:
    os.chown(way / "a", SERVICE, SERVICE)
    (way / "a").chmod(0o775)
    assert unsafe(way / "a" / "b") == str(way / "a")
    assert unsafe(way / "a" / "b", Trust(SERVICE, SERVICE)) is None
    assert unsafe(way / "a" / "b", Trust(SERVICE)) == str(way / "a")


@needs_root
def test_the_owners_of_all_links_on_the_way(way: Path) -> None:
    (way / "folder").symlink_to("a")
    (way / "a" / "link").symlink_to("b")
    os.chown(way / "folder", TENANT, TENANT, follow_symlinks=False)
    assert link_owners(str(way / "folder" / "link")) == {TENANT, 0}
    assert link_owners(str(way / "a" / "b")) == frozenset()
    assert link_targets(str(way / "a" / "link")) == (str(way / "a" / "b"),)
