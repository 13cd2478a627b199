from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from bridge.diagnostics import BridgeError
from bridge.state.lock import Lock, Pending
from tests.unit.build import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def open_lock(path: str) -> Lock:
    """Return the lock of a run under the usual bridge.toml: its note is in the same file."""
    return Lock(path, path)


def restarting(*units: str) -> Pending:
    return Pending(restart=frozenset(units))


def never() -> None:
    pytest.fail("nobody else holds the lock")


def test_what_is_pending(tmp_path: Path) -> None:
    path = f"{tmp_path}/d/lock"
    with open_lock(path).hold(never) as _:
        pass
    lock = open_lock(path)
    with lock.hold(never):
        assert (lock.pending(), lock.stamp()) == (Pending(), 0)
        lock.begin(restarting("vassal-long-name.service", "vassal-b.socket"))
    with lock.hold(never):
        assert lock.pending() == restarting("vassal-long-name.service", "vassal-b.socket")
        assert lock.stamp() == 0
        lock.begin(restarting("x"))
        assert lock.pending() == restarting("x")
        lock.finish(12345)
    with lock.hold(never):
        assert (lock.pending(), lock.stamp()) == (Pending(), 12345)
        # A run that has only services to reload notes no unit, but it is not done yet.
        lock.begin(restarting())
    with lock.hold(never):
        assert (lock.pending(), lock.stamp()) == (Pending(), 0)


def test_both_kinds_of_units_are_noted(tmp_path: Path) -> None:
    lock = open_lock(f"{tmp_path}/lock")
    pending = Pending(restart=frozenset({"vassal-a.service"}), reread=frozenset({"vassal-b.service", "vassals.slice"}))
    with lock.hold(never):
        lock.begin(pending)
    with lock.hold(never):
        assert (lock.pending(), lock.stamp()) == (pending, 0)
        lock.begin(Pending(reread=frozenset({"vassals.slice"})))
        assert lock.pending() == Pending(reread=frozenset({"vassals.slice"}))


@pytest.mark.parametrize(
    ("note", "pending"),
    [
        ('["vassal-a.service"]', restarting("vassal-a.service")),  # as version 0.1.0 wrote it
        ("[]", Pending()),
        ("{}", Pending()),
        ('{"restart": null}', Pending()),
        ("done", Pending()),
        ("", Pending()),
    ],
)
def test_notes_of_other_runs(tmp_path: Path, note: str, pending: Pending) -> None:
    (tmp_path / "lock").write_text(note)
    lock = open_lock(f"{tmp_path}/lock")
    with lock.hold(never):
        assert lock.pending() == pending


def test_each_configuration_has_a_note_of_its_own_under_one_lock(tmp_path: Path) -> None:
    usual = open_lock(f"{tmp_path}/d/lock")
    other = Lock(f"{tmp_path}/d/lock", f"{tmp_path}/d/run-x")
    with usual.hold(never):
        usual.begin(restarting("vassal-a.service"))
    assert not other.exists
    with other.hold(never):
        assert (other.pending(), other.stamp()) == (Pending(), 0)
        other.begin(restarting("vassal-b.service"))
        other.finish(7)
    with usual.hold(never):
        assert (usual.pending(), usual.stamp()) == (restarting("vassal-a.service"), 0)
    with other.hold(never):
        assert (other.pending(), other.stamp()) == (Pending(), 7)


def test_whether_other_configurations_have_left_notes(tmp_path: Path) -> None:
    usual = open_lock(f"{tmp_path}/d/lock")
    other = Lock(f"{tmp_path}/d/lock", f"{tmp_path}/d/run-x")
    with usual.hold(never):
        assert not usual.is_shared
        usual.finish(7)
        assert not usual.is_shared
        (tmp_path / "d" / "last-run-x").touch()
        assert not usual.is_shared
    with other.hold(never):
        assert other.is_shared
        (tmp_path / "d" / "lock").write_text("")
        assert not other.is_shared
        (tmp_path / "d" / "run-y").touch()
        assert other.is_shared
    with usual.hold(never):
        assert usual.is_shared


def test_who_works_under_another_configuration_waits_too(tmp_path: Path) -> None:
    path = f"{tmp_path}/d/lock"
    got = threading.Event()
    with Lock(path, f"{tmp_path}/d/run-x").hold(never):
        thread, waiting = wait_in_thread(path, got)
        assert waiting.wait(10)
        assert not got.is_set()
    thread.join(10)
    assert got.is_set()


def test_one_configuration_forgets_its_note_and_leaves_the_lock_to_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    usual = open_lock(f"{folder}/lock")
    other = Lock(f"{folder}/lock", f"{folder}/run-x")
    for lock in (usual, other):
        with lock.hold(never):
            lock.finish(7)
    with other.hold(never):
        other.forget()
    assert [path.name for path in folder.iterdir()] == ["lock"]
    with usual.hold(never):
        assert usual.stamp() == 7
        usual.forget()
    assert not folder.exists()


def test_a_lock_that_is_nobodys_note_goes_with_the_last_configuration(tmp_path: Path) -> None:
    other = Lock(f"{tmp_path}/d/lock", f"{tmp_path}/d/run-x")
    with other.hold(never):
        other.finish(7)
        other.forget()
    assert list(tmp_path.iterdir()) == []


def test_a_shorter_note_over_a_longer_one_can_be_read_before_the_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = open_lock(f"{tmp_path}/lock")
    with lock.hold(never):
        lock.begin(restarting("vassal-a-long-name.service"))
        monkeypatch.setattr(os, "ftruncate", lambda _fd, _length: None)
        lock.begin(restarting("b"))
        assert lock.pending() == restarting("b")
        lock.finish(1)
        assert lock.pending() == Pending()


def test_what_a_killed_process_had_begun(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from bridge.state.lock import Lock, Pending\n"
        "lock = Lock(sys.argv[1], sys.argv[1])\n"
        "with lock.hold(lambda: None):\n"
        "    lock.begin(Pending(frozenset({'vassal-a.service'})))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, f"{tmp_path}/lock"], cwd=ROOT, check=False, timeout=30)
    assert run.returncode == -signal.SIGKILL
    lock = open_lock(f"{tmp_path}/lock")
    with lock.hold(never):
        assert lock.pending() == restarting("vassal-a.service")


def wait_in_thread(path: str, got: threading.Event) -> tuple[threading.Thread, threading.Event]:
    """Have a second holder come; return its thread and what is set once it says that it waits."""
    waiting = threading.Event()

    def second() -> None:
        with open_lock(path).hold(waiting.set):
            got.set()

    thread = threading.Thread(target=second)
    thread.start()
    return thread, waiting


def test_the_second_waits_and_says_so(tmp_path: Path) -> None:
    path = f"{tmp_path}/d/lock"
    got = threading.Event()
    with open_lock(path).hold(never):
        thread, waiting = wait_in_thread(path, got)
        assert waiting.wait(10)
        assert not got.is_set()
    thread.join(10)
    assert got.is_set()


def test_the_second_gets_the_lock_after_a_removal(tmp_path: Path) -> None:
    """A removal takes the lock's file and folder with it; who waited for it starts anew."""
    path = f"{tmp_path}/d/lock"
    got = threading.Event()
    lock = open_lock(path)
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
        with pytest.raises(BridgeError, match="cannot take the lock"), open_lock(path).hold(never):
            pytest.fail("this must not be held")


def test_whether_a_run_has_taken_the_lock(tmp_path: Path) -> None:
    lock = open_lock(f"{tmp_path}/d/lock")
    assert not lock.exists
    with lock.hold(never):
        assert lock.exists
        lock.forget()
    assert not lock.exists


def test_what_a_run_leaves_is_noted_with_its_stamp(tmp_path: Path) -> None:
    lock = open_lock(f"{tmp_path}/lock")
    left = Pending(frozenset({"vassal-a.service"}), frozenset({"vassal-a.socket"}), frozenset({"vassal-b.service"}))
    with lock.hold(never):
        lock.begin(restarting("vassal-a.service", "vassal-with-a-long-name.service"))
        lock.finish(12345, left)
    with lock.hold(never):
        assert (lock.pending(), lock.stamp()) == (left, 12345)
        lock.begin(left)
        assert lock.stamp() == 0
        lock.finish(23456)
        assert (lock.pending(), lock.stamp()) == (Pending(), 23456)


def test_who_waits_for_the_lock_tells_that_he_lives(tmp_path: Path) -> None:
    first, second = open_lock(f"{tmp_path}/lock"), open_lock(f"{tmp_path}/lock")
    told: list[str] = []

    def alive() -> None:
        told.append("alive")
        if len(told) == 4:
            holder.close()

    holder = ExitStack()
    holder.enter_context(first.hold(never))
    with second.hold(lambda: told.append("waits"), alive):
        assert told == ["waits", "alive", "alive", "alive"]
