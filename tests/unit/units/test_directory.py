from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from bridge.diagnostics import BridgeError
from bridge.host.files import TEMPORARY_PREFIX
from bridge.model.unit import Ownership
from bridge.model.unit_names import TARGET, link_path
from bridge.state.lock import Lock
from bridge.units.directory import UnitDirectory, installed_vassals, is_candidate
from tests.unit.build import BOOT, BOOT_LINK, ROOT, as_is, common_texts, make_paths, make_resolved, texts_of

if TYPE_CHECKING:
    from pathlib import Path

VASSAL = make_resolved("a b.ini", "/run/a")
SERVICE, SOCKET = r"vassal-a\x20b.service", r"vassal-a\x20b.socket"


@pytest.fixture
def store(tmp_path: Path) -> UnitDirectory:
    for folder in ("units", "run", "lib"):
        (tmp_path / folder).mkdir()
    return UnitDirectory(make_paths(tmp_path))


def ownership(store: UnitDirectory) -> dict[str, Ownership]:
    return {name: file.ownership for name, file in store.files().items()}


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
    assert is_candidate(name) == ours


def test_what_was_written_is_ours(store: UnitDirectory) -> None:
    texts = {**texts_of(VASSAL), **common_texts()}
    store.write(texts)
    files = store.files()
    assert {name: file.text for name, file in files.items()} == texts
    assert set(ownership(store).values()) == {Ownership.OURS}
    (installed,) = installed_vassals(files, as_is).values()
    assert (installed.label, installed.name, installed.config) == (r"a\x20b", "a b.ini", "/v/a b.ini")
    assert (installed.address, installed.canonical_address, installed.monitor) == (
        VASSAL.address,
        VASSAL.address,
        "dir:///v",
    )
    assert set(installed.units) == {SERVICE, SOCKET} == {installed.service, installed.socket}


def test_whose_files_they_are(store: UnitDirectory, tmp_path: Path) -> None:
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
    assert ownership(store) == {
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
    assert list(installed_vassals(store.files(), as_is)) == [r"a\x20b"]


def test_an_address_in_a_mark_that_is_none_is_no_address(store: UnitDirectory, tmp_path: Path) -> None:
    text = texts_of(VASSAL)[SERVICE].replace('Address="/run/a"', 'Address="nonsense:"')
    (tmp_path / "units" / SERVICE).write_text(text)
    (installed,) = installed_vassals(store.files(), as_is).values()
    assert installed.address is None


def test_no_unit_directory_is_no_unit(tmp_path: Path) -> None:
    store = UnitDirectory(make_paths(tmp_path))
    assert (store.files(), store.elsewhere(), store.links(BOOT)) == ({}, {}, {})
    store.clean()
    store.remove(["vassal-a.service"])
    store.unlink([BOOT_LINK])
    assert list(tmp_path.iterdir()) == []


def test_units_of_other_directories(store: UnitDirectory, tmp_path: Path) -> None:
    (tmp_path / "units" / "vassal-own.service").touch()
    for folder in ("run", "lib"):
        (tmp_path / folder / "vassal-a.service").touch()
        (tmp_path / folder / "ssh.service").touch()
    (tmp_path / "lib" / TARGET).touch()
    assert store.elsewhere() == {
        "vassal-a.service": f"{tmp_path}/run/vassal-a.service",
        TARGET: f"{tmp_path}/lib/{TARGET}",
    }


def test_links(store: UnitDirectory, tmp_path: Path) -> None:
    link = link_path(SOCKET)
    store.link({link: f"../{SOCKET}", BOOT_LINK: f"../{TARGET}"})
    assert store.links(BOOT) == {link: f"../{SOCKET}", BOOT_LINK: f"../{TARGET}"}
    store.link({link: "../elsewhere"})
    assert store.links(BOOT)[link] == "../elsewhere"
    (tmp_path / "units" / f"{BOOT}.wants" / "ssh.service").symlink_to("../ssh.service")
    assert set(store.links(BOOT)) == {link, BOOT_LINK}
    store.unlink([link, BOOT_LINK])
    assert store.links(BOOT) == {}
    # The folder went with its last link; the other has somebody else's.
    assert sorted(p.name for p in (tmp_path / "units").iterdir()) == [f"{BOOT}.wants"]


def test_what_a_killed_run_left_is_cleaned_away(store: UnitDirectory, tmp_path: Path) -> None:
    (tmp_path / "units" / f"{TEMPORARY_PREFIX}7").touch()
    (tmp_path / "run" / "vassals-batch-120000.target").touch()
    (tmp_path / "run" / "vassals-batch-mine.target").touch()
    store.write(texts_of(VASSAL))
    store.clean()
    assert {p.name for p in (tmp_path / "units").iterdir()} == {SERVICE, SOCKET}
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["vassals-batch-mine.target"]


def test_what_cannot_be_cleaned_away(store: UnitDirectory, tmp_path: Path) -> None:
    (tmp_path / "units" / f"{TEMPORARY_PREFIX}7").mkdir()
    with pytest.raises(BridgeError, match=r"what a killed run left cannot be removed") as caught:
        store.clean()
    assert caught.value.diagnostic.path == f"{tmp_path}/units/{TEMPORARY_PREFIX}7"


def test_removes_files(store: UnitDirectory) -> None:
    store.write(texts_of(VASSAL))
    store.remove([SERVICE, "vassal-gone.service"])
    assert list(store.files()) == [SOCKET]


# The lock.


def never() -> None:
    pytest.fail("nobody else holds the lock")


def test_what_is_pending(tmp_path: Path) -> None:
    path = f"{tmp_path}/d/lock"
    with Lock(path).hold(never) as _:
        pass
    lock = Lock(path)
    with lock.hold(never):
        assert (lock.pending(), lock.stamp()) == (frozenset(), 0)
        lock.begin(["vassal-long-name.service", "vassal-b.socket"])
    with lock.hold(never):
        assert lock.pending() == {"vassal-long-name.service", "vassal-b.socket"}
        assert lock.stamp() == 0
        lock.begin(["x"])
        assert lock.pending() == {"x"}
        lock.finish(12345)
    with lock.hold(never):
        assert (lock.pending(), lock.stamp()) == (frozenset(), 12345)
        # A run that has only services to reload notes no unit, but it is not done yet.
        lock.begin([])
    with lock.hold(never):
        assert (lock.pending(), lock.stamp()) == (frozenset(), 0)


def test_a_shorter_note_over_a_longer_one_can_be_read_before_the_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Lock(f"{tmp_path}/lock")
    with lock.hold(never):
        lock.begin(["vassal-a-long-name.service"])
        monkeypatch.setattr(os, "ftruncate", lambda _fd, _length: None)
        lock.begin(["b"])
        assert lock.pending() == {"b"}
        lock.finish(1)
        assert lock.pending() == frozenset()


def test_what_a_killed_process_had_begun(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from bridge.state.lock import Lock\n"
        "lock = Lock(sys.argv[1])\n"
        "with lock.hold(lambda: None):\n"
        "    lock.begin(['vassal-a.service'])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, f"{tmp_path}/lock"], cwd=ROOT, check=False, timeout=30)
    assert run.returncode == -signal.SIGKILL
    lock = Lock(f"{tmp_path}/lock")
    with lock.hold(never):
        assert lock.pending() == {"vassal-a.service"}


def wait_in_thread(path: str, got: threading.Event) -> tuple[threading.Thread, threading.Event]:
    """Have a second holder come; return its thread and what is set once it says that it waits."""
    waiting = threading.Event()

    def second() -> None:
        with Lock(path).hold(waiting.set):
            got.set()

    thread = threading.Thread(target=second)
    thread.start()
    return thread, waiting


def test_the_second_waits_and_says_so(tmp_path: Path) -> None:
    path = f"{tmp_path}/d/lock"
    got = threading.Event()
    with Lock(path).hold(never):
        thread, waiting = wait_in_thread(path, got)
        assert waiting.wait(10)
        assert not got.is_set()
    thread.join(10)
    assert got.is_set()


def test_the_second_gets_the_lock_after_a_removal(tmp_path: Path) -> None:
    """A removal takes the lock's file and folder with it; who waited for it starts anew."""
    path = f"{tmp_path}/d/lock"
    got = threading.Event()
    lock = Lock(path)
    with lock.hold(never):
        thread, waiting = wait_in_thread(path, got)
        assert waiting.wait(10)
        lock.forget()
        assert not (tmp_path / "d").exists()
    thread.join(10)
    assert got.is_set()


def test_a_lock_that_cannot_be_taken(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    for path in (f"{tmp_path}/file/lock", f"{tmp_path}/link"):
        with pytest.raises(BridgeError, match="cannot take the lock"), Lock(path).hold(never):
            pytest.fail("this must not be held")


def test_whether_a_run_has_taken_the_lock(tmp_path: Path) -> None:
    lock = Lock(f"{tmp_path}/d/lock")
    assert not lock.is_there
    with lock.hold(never):
        assert lock.is_there
        lock.forget()
    assert not lock.is_there
