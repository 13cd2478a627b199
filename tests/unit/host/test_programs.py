from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from bridge.host.programs import find_program

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["sh", "env", "no-such-program", "folder", "text", "tool", "", "\0", "sh\0"])
def test_programs_are_found_as_by_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder / "folder").mkdir(parents=True)
        (tmp_path / folder / "text").touch(mode=0o644)
        (tmp_path / folder / "tool").touch(mode=0o755)
    (tmp_path / "one" / "tool").chmod(0o644)
    monkeypatch.setenv("PATH", f"{tmp_path}/nowhere:{tmp_path}/one:{tmp_path}/two:/usr/bin:/bin")
    assert find_program(name) == (shutil.which(name) or "")
