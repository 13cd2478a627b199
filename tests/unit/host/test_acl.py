"""Access control lists: what the kernel makes of them, and what the bridge reads in them."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from bridge.host import acl
from bridge.host.found_file import FoundFile
from tests.unit.root import needs_root

if TYPE_CHECKING:
    from pathlib import Path

USER, OTHER = 33, 34
AS_USER = (
    "import os, sys; os.setgroups([]); os.setresgid(*[int(sys.argv[1])] * 3); os.setresuid(*[int(sys.argv[1])] * 3)"
)
READ = f"{AS_USER}; print(open(sys.argv[2]).read(), end='')"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    for folder in (tmp_path, *list(tmp_path.parents)[:-2]):
        folder.chmod(0o711)
    path = tmp_path / "secret"
    path.write_text("text")
    path.chmod(0o600)
    return path


def let_read(path: Path, *readers: int) -> None:
    with path.open("r+b") as file:
        acl.let_read(file.fileno(), readers)


def reads(path: Path, uid: int) -> bool:
    result = subprocess.run(
        ["/usr/bin/python3", "-c", READ, str(uid), str(path)], capture_output=True, text=True, check=False, cwd="/"
    )
    return result.stdout == "text"


@needs_root
def test_only_the_named_users_can_read(secret: Path) -> None:
    assert not reads(secret, USER)
    let_read(secret, USER, 1001)
    assert reads(secret, USER)
    assert reads(secret, 1001)
    assert not reads(secret, OTHER)
    assert secret.stat().st_uid == 0


@needs_root
def test_the_kernels_answer_is_read_the_same_way(secret: Path) -> None:
    let_read(secret, USER)
    with FoundFile(str(secret)) as found:
        assert found.may_be_read_by(USER)
        assert not found.may_be_read_by(OTHER)


@needs_root
def test_without_lists_the_user_becomes_the_owner(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.setxattr", refuse)
    let_read(secret, USER)
    assert (secret.stat().st_uid, secret.stat().st_mode & 0o777) == (USER, 0o400)
    assert reads(secret, USER)
    assert not reads(secret, OTHER)


def test_no_list_where_nobody_else_is_to_read(secret: Path) -> None:
    let_read(secret, os.geteuid())
    assert secret.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("raw", [b"", b"\2\0\0\0", b"\1\0\0\0" + acl.encode([USER])[4:], acl.encode([USER])[:-1]])
def test_what_is_no_list_names_nobody(raw: bytes) -> None:
    assert not acl.names_reader(raw, USER)


def test_the_mask_counts() -> None:
    raw = acl.encode([USER])
    assert acl.names_reader(raw, USER)
    masked = raw.replace(acl._ENTRY.pack(0x10, 4, 0xFFFFFFFF), acl._ENTRY.pack(0x10, 0, 0xFFFFFFFF))
    assert masked != raw
    assert not acl.names_reader(masked, USER)
