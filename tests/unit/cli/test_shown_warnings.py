"""A warning is printed when it is new; errors are always printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.cli import shown_warnings
from bridge.cli.shown_warnings import ShownWarnings
from bridge.diagnostics import Diagnostic, Severity

if TYPE_CHECKING:
    from pathlib import Path


def warning(message: str) -> Diagnostic:
    return Diagnostic(code="x", message=message, severity=Severity.WARNING)


ERROR = Diagnostic(code="x", message="failed")
ONE, TWO, THREE = warning("one"), warning("two"), warning("t\udcffhree")


def sync(folder: Path, *diagnostics: Diagnostic) -> tuple[Diagnostic, ...]:
    """Return what one sync with these problems prints."""
    shown = ShownWarnings(f"{folder}/last-run")
    shown.write(diagnostics)
    return shown.new(diagnostics)


def test_a_warning_is_printed_once_as_long_as_it_stays(tmp_path: Path) -> None:
    assert sync(tmp_path, ERROR, ONE, TWO) == (ERROR, ONE, TWO)
    assert sync(tmp_path, ERROR, ONE, THREE, TWO) == (ERROR, THREE)
    assert sync(tmp_path, ONE, TWO, THREE) == ()


def test_a_warning_that_comes_back_is_new(tmp_path: Path) -> None:
    sync(tmp_path, ONE)
    assert sync(tmp_path) == ()
    assert list(tmp_path.iterdir()) == []
    assert sync(tmp_path, ONE) == (ONE,)


def test_nothing_is_written_where_nothing_changed(tmp_path: Path) -> None:
    sync(tmp_path, ONE, TWO)
    (path,) = tmp_path.iterdir()
    assert path.name == "last-run-warnings"
    before = path.stat()
    sync(tmp_path, TWO, ONE, ERROR)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_dry_run_neither_repeats_nor_remembers(tmp_path: Path) -> None:
    sync(tmp_path, ONE)
    assert ShownWarnings(f"{tmp_path}/last-run").new([ONE, TWO]) == (TWO,)
    assert sync(tmp_path, ONE, TWO) == (TWO,)


@pytest.mark.parametrize("damage", [b"\xff\xff", b"x" * 1_000_000, b"", None])
def test_a_lost_or_damaged_file_only_repeats_them(tmp_path: Path, damage: bytes | None) -> None:
    sync(tmp_path, ONE)
    path = tmp_path / "last-run-warnings"
    if damage is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(damage)
    assert sync(tmp_path, ERROR, ONE) == (ERROR, ONE)


def test_a_folder_that_cannot_be_written_stops_no_sync(tmp_path: Path) -> None:
    assert sync(tmp_path / "none", ONE) == (ONE,)


def test_it_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown_warnings, "_MAX", 3)
    many = [warning(str(number)) for number in range(5)]
    for _ in range(2):
        sync(tmp_path, *many)
        assert sync(tmp_path, *many) == tuple(many[3:])
    assert (tmp_path / "last-run-warnings").stat().st_size < 3 * 17


def test_it_can_be_forgotten(tmp_path: Path) -> None:
    sync(tmp_path, ONE)
    for _ in range(2):
        ShownWarnings(f"{tmp_path}/last-run").forget()
        assert list(tmp_path.iterdir()) == []
