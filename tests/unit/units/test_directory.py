from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bridge.diagnostics import BridgeError
from bridge.host.files import TEMPORARY_PREFIX
from bridge.model.unit import Ownership
from bridge.model.unit_names import TARGET, is_bridge_name, link_path
from bridge.units.directory import STAGING, UnitDirectory, installed_vassals
from tests.unit.build import BOOT, BOOT_LINK, as_is, common_texts, make_paths, make_resolved, texts_of

if TYPE_CHECKING:
    from pathlib import Path

VASSAL = make_resolved("a b.ini", "/run/a")
SERVICE, SOCKET = r"vassal-a\x20b.service", r"vassal-a\x20b.socket"


@pytest.fixture
def directory(tmp_path: Path) -> UnitDirectory:
    for folder in ("units", "run", "lib"):
        (tmp_path / folder).mkdir()
    return UnitDirectory(make_paths(tmp_path))


def ownership(directory: UnitDirectory) -> dict[str, Ownership]:
    return {name: file.ownership for name, file in directory.files().items()}


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("vassal-a.service", True),
        ("vassal-a.socket", True),
        (TARGET, True),
        ("vassal-a.timer", False),
        ("vassal-.service", False),
        ("vassal-a.service.d", False),
        ("vassals-x.target", False),
        ("ssh.service", False),
    ],
)
def test_names_the_bridge_might_use(name: str, ours: bool) -> None:
    assert is_bridge_name(name) == ours


def test_what_was_written_is_ours(directory: UnitDirectory) -> None:
    texts = {**texts_of(VASSAL), **common_texts()}
    directory.write(texts)
    files = directory.files()
    assert {name: file.text for name, file in files.items()} == texts
    assert set(ownership(directory).values()) == {Ownership.OURS}
    (installed,) = installed_vassals(files, as_is).values()
    assert (installed.label, installed.name, installed.config) == (r"a\x20b", "a b.ini", "/v/a b.ini")
    assert (installed.addresses, installed.canonical_addresses, installed.monitor) == (
        VASSAL.addresses,
        VASSAL.addresses,
        "dir:///v",
    )
    assert set(installed.units) == {SERVICE, SOCKET} == {installed.service, installed.socket}


def test_whose_files_they_are(directory: UnitDirectory, tmp_path: Path) -> None:
    units = tmp_path / "units"
    ours = texts_of(VASSAL)[SERVICE]
    (units / SERVICE).write_text(ours)
    (units / "vassal-copy.service").write_text(ours)
    (units / "vassal-foreign.service").write_text("[Unit]\n")
    (units / "vassal-latin.service").write_bytes(b"\xff")
    (units / "vassal-large.service").write_bytes(b"#" * (1 << 20) + b"\n")
    (units / "vassal-link.service").symlink_to(SERVICE)
    (units / "vassal-dir.service").mkdir()
    os.mkfifo(units / "vassal-fifo.service")
    (units / "vassal-masked.socket").symlink_to("/dev/null")
    (units / "vassal-masked-too.socket").symlink_to("vassal-masked.socket")
    (units / "vassal-empty.socket").touch()
    (units / "ssh.service").touch()
    (units / "vassal-a.service.d").mkdir()
    assert ownership(directory) == {
        SERVICE: Ownership.OURS,
        "vassal-copy.service": Ownership.FOREIGN,
        "vassal-foreign.service": Ownership.FOREIGN,
        "vassal-latin.service": Ownership.FOREIGN,
        "vassal-large.service": Ownership.FOREIGN,
        "vassal-link.service": Ownership.FOREIGN,
        "vassal-dir.service": Ownership.FOREIGN,
        "vassal-fifo.service": Ownership.FOREIGN,
        "vassal-masked.socket": Ownership.MASKED,
        "vassal-masked-too.socket": Ownership.MASKED,
        "vassal-empty.socket": Ownership.MASKED,
    }
    assert list(installed_vassals(directory.files(), as_is)) == [r"a\x20b"]


def test_an_address_in_a_mark_that_is_none_is_no_address(directory: UnitDirectory, tmp_path: Path) -> None:
    text = texts_of(VASSAL)[SERVICE].replace('Address="/run/a"', 'Address="nonsense:"')
    (tmp_path / "units" / SERVICE).write_text(text)
    (installed,) = installed_vassals(directory.files(), as_is).values()
    assert installed.addresses == ()


def test_no_unit_directory_is_no_unit(tmp_path: Path) -> None:
    directory = UnitDirectory(make_paths(tmp_path))
    assert (directory.files(), directory.elsewhere(), directory.links(BOOT)) == ({}, {}, {})
    directory.clean()
    directory.remove(["vassal-a.service"])
    directory.unlink([BOOT_LINK])
    assert list(tmp_path.iterdir()) == []


def test_units_of_other_directories(directory: UnitDirectory, tmp_path: Path) -> None:
    (tmp_path / "units" / "vassal-own.service").touch()
    for folder in ("run", "lib"):
        (tmp_path / folder / "vassal-a.service").touch()
        (tmp_path / folder / "ssh.service").touch()
    (tmp_path / "lib" / TARGET).touch()
    assert directory.elsewhere() == {
        "vassal-a.service": f"{tmp_path}/run/vassal-a.service",
        TARGET: f"{tmp_path}/lib/{TARGET}",
    }


def test_links(directory: UnitDirectory, tmp_path: Path) -> None:
    link = link_path(SOCKET)
    directory.link({link: f"../{SOCKET}", BOOT_LINK: f"../{TARGET}"})
    assert directory.links(BOOT) == {link: f"../{SOCKET}", BOOT_LINK: f"../{TARGET}"}
    directory.link({link: "../elsewhere"})
    assert directory.links(BOOT)[link] == "../elsewhere"
    (tmp_path / "units" / f"{BOOT}.wants" / "ssh.service").symlink_to("../ssh.service")
    assert set(directory.links(BOOT)) == {link, BOOT_LINK}
    directory.unlink([link, BOOT_LINK])
    assert directory.links(BOOT) == {}
    # The folder went with its last link; the other has somebody else's.
    assert sorted(p.name for p in (tmp_path / "units").iterdir()) == [f"{BOOT}.wants"]


def test_staged_units_are_not_there_until_they_are_put_in_place(directory: UnitDirectory, tmp_path: Path) -> None:
    directory.write({SERVICE: "old"})
    with directory.staged(texts_of(VASSAL)) as publish:
        directory.end_staging()
        os.utime(tmp_path / "units", (0, 0))
        before = (tmp_path / "units").stat().st_mtime_ns
        assert set(directory.files()) == {SERVICE}
        publish()
    assert (tmp_path / "units").stat().st_mtime_ns > before
    directory.end_staging()
    written = {path.name: path.read_text() for path in (tmp_path / "units").iterdir()}
    assert written == texts_of(VASSAL)


def test_staged_units_that_nothing_puts_in_place_are_removed(directory: UnitDirectory, tmp_path: Path) -> None:
    with pytest.raises(KeyError), directory.staged(texts_of(VASSAL)):
        raise KeyError
    directory.end_staging()
    assert os.listdir(tmp_path / "units") == []


def test_what_a_killed_run_left_is_cleaned_away(directory: UnitDirectory, tmp_path: Path) -> None:
    (tmp_path / "units" / f"{TEMPORARY_PREFIX}7").touch()
    (tmp_path / "units" / STAGING).mkdir()
    (tmp_path / "units" / STAGING / f"{TEMPORARY_PREFIX}7").touch()
    (tmp_path / "run" / "vassals-batch-120000.target").touch()
    (tmp_path / "run" / "vassals-batch-mine.target").touch()
    directory.write(texts_of(VASSAL))
    directory.clean()
    assert {p.name for p in (tmp_path / "units").iterdir()} == {SERVICE, SOCKET}
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["vassals-batch-mine.target"]


def test_what_cannot_be_cleaned_away(directory: UnitDirectory, tmp_path: Path) -> None:
    (tmp_path / "units" / f"{TEMPORARY_PREFIX}7").mkdir()
    with pytest.raises(BridgeError, match=r"what a killed run left cannot be removed") as caught:
        directory.clean()
    assert caught.value.diagnostic.path == f"{tmp_path}/units/{TEMPORARY_PREFIX}7"


def test_removes_files(directory: UnitDirectory) -> None:
    directory.write(texts_of(VASSAL))
    directory.remove([SERVICE, "vassal-gone.service"])
    assert list(directory.files()) == [SOCKET]


def test_several_addresses_are_read_back(directory: UnitDirectory) -> None:
    vassal = make_resolved("own.ini", "/run/a b", ":80", "@c")
    directory.write(texts_of(vassal))
    (installed,) = installed_vassals(directory.files(), as_is).values()
    assert installed.addresses == vassal.addresses
    assert installed.addresses == vassal.addresses
    assert installed.primary_unit == vassal.vassal.socket
