"""The watch daemon tells each vassal's life, heals what breaks, and may itself go and come back at any time."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from .bridge import APP, VASSALS, WATCH, config
from .container import HERE
from .machine import PATIENCE, message
from .process import Lines, kill
from .suite import PYTHON
from .test_lives import ASK_OFTEN, ENDING, ENDING_TEXT

if TYPE_CHECKING:
    import subprocess

    from .bridge import Bridge
    from .machine import Entry, Machine

DYING = config("idle = 1", "die-on-idle = true")
EXILING = "/srv/app/exiling.py"
EXILING_TEXT = "import os\nos._exit(26)\n"

# Each puts a listening socket of its own in the place of another, and keeps it.
MOVED_IN = """
import os, socket, sys
path = sys.argv[1]
stranger = socket.socket(socket.AF_UNIX)
stranger.bind(path + ".new")
stranger.listen()
os.rename(path + ".new", path)
print("there", flush=True)
sys.stdin.readline()
"""
# As a uWSGI does that has this address in its own config.
BOUND_AGAIN = """
import os, socket, sys
os.unlink(sys.argv[1])
stranger = socket.socket(socket.AF_UNIX)
stranger.bind(sys.argv[1])
stranger.listen()
print("there", flush=True)
sys.stdin.readline()
"""
GONE = "import os, sys; os.unlink(sys.argv[1]); print('there', flush=True)"
# It has a file like a vassal's, but nobody answers there.
DEAD = """
import os, socket, sys
os.unlink(sys.argv[1])
socket.socket(socket.AF_UNIX).bind(sys.argv[1])
print("there", flush=True)
"""
WAYS = {"moved in": MOVED_IN, "bound again": BOUND_AGAIN, "gone": GONE, "dead": DEAD}


def ask(machine: Machine, address: str, timeout: int = 60) -> subprocess.Popen[bytes]:
    """Start a request without waiting for its answer."""
    client = str(HERE / "client.py")
    return machine.popen(PYTHON, client, f"--timeout={timeout}", "--", "uwsgi", address)


def story(watch: Bridge, vassal: str) -> list[Entry]:
    """Return what ``journalctl VASSAL=…`` tells since the daemon was started."""
    watch.machine.run("journalctl", "--sync")
    argv = ("journalctl", f"VASSAL={vassal}", f"--cursor={watch.cursor}", "--output=json", "--no-pager")
    lines = watch.machine.run(*argv).stdout.splitlines()
    return [json.loads(line) for line in lines]


def next_line(process: subprocess.Popen[bytes]) -> str | None:
    return Lines(process.stdout).next(time.monotonic() + PATIENCE)


def main_pid(machine: Machine, unit: str) -> str:
    return machine.show(unit, "MainPID")


def inode(machine: Machine, path: str) -> str:
    return machine.run("stat", "-c", "%d:%i", path).stdout.strip()


def test_the_journal_tells_a_vassals_story(machine: Machine, watch: Bridge) -> None:
    watch.vassal("told.ini", DYING, address="/run/told.sock")
    watch.told(r"^told\.ini: waiting")
    cursor = machine.journal_cursor()
    watch.app("uwsgi", "/run/told.sock")
    watch.told(r"^told\.ini: waiting", cursor)
    entries = story(watch, "told.ini")
    assert [entry["VASSAL_EVENT"] for entry in entries] == [
        *("added", "waiting"),
        *("starting", "running", "idle-exit", "waiting"),
    ]
    assert len({entry["MESSAGE_ID"] for entry in entries}) == 5
    for entry in entries[1:]:
        assert entry["UNIT"] in {"vassal-told.service", "vassal-told.socket"}
        same = machine.run("journalctl", "--quiet", f"MESSAGE_ID={entry['MESSAGE_ID']}", "VASSAL=told.ini", "-ocat")
        assert message(entry) in same.stdout.splitlines()
    row = watch.status()["told.ini"]
    assert (row["wakes"], row["state"]) == (1, "listening")
    assert row["last_idle_exit"] >= row["last_wake"]

    machine.remove(f"{VASSALS}/told.ini")
    watch.told(r"^told\.ini: closed", cursor)
    assert [entry["VASSAL_EVENT"] for entry in story(watch, "told.ini")][6:] == ["removed", "closed"]


def test_the_story_of_a_vassal_that_is_removed_while_it_runs_ends_with_that(machine: Machine, watch: Bridge) -> None:
    watch.vassal("goes.ini", address="/run/goes.sock")
    watch.told(r"^goes\.ini: waiting")
    watch.app("uwsgi", "/run/goes.sock")
    watch.told(r"^goes\.ini: running")
    machine.remove(f"{VASSALS}/goes.ini")
    watch.told(r"^goes\.ini: removed")
    watch.vassal("other.ini", address="/run/other.sock")
    watch.told(r"^other\.ini: waiting")
    events = [entry["VASSAL_EVENT"] for entry in story(watch, "goes.ini")]
    assert events[:4] == ["added", "waiting", "starting", "running"]
    assert {"stopped", "removed"} <= set(events[4:]) <= {"stopped", "removed", "closed"}


def test_a_crash_is_told_and_throttled_and_the_next_try_waits_for_a_connection(machine: Machine, watch: Bridge) -> None:
    watch.vassal("crash.ini", address="/run/crash.sock")
    watch.told(r"^crash\.ini: waiting")
    watch.app("uwsgi", "/run/crash.sock")
    cursor = machine.journal_cursor()
    machine.run("kill", "-KILL", main_pid(machine, "vassal-crash.service"))
    watch.told(r"^crash\.ini: waiting", cursor)
    told = [entry for entry in story(watch, "crash.ini") if entry["VASSAL_EVENT"] != "waiting"][1:]
    assert [entry["VASSAL_EVENT"] for entry in told] == ["starting", "running", "crashed", "throttled"]
    assert (told[2]["EXIT_CODE"], told[2]["EXIT_STATUS"]) == ("killed", "9")
    assert machine.show("vassal-crash.socket", "SubState") == "listening"
    row = watch.status()["crash.ini"]
    assert "SIGKILL" in row["failure"]
    watch.app("uwsgi", "/run/crash.sock")


@pytest.mark.parametrize("way", ["changed config", "retry"])
def test_an_exiled_vassal_stays_down_until_it_is_wanted_again(machine: Machine, watch: Bridge, way: str) -> None:
    machine.cleanups.append(lambda: machine.remove(EXILING))
    machine.write(EXILING, EXILING_TEXT)
    path = watch.vassal("exile.ini", config().replace(APP, EXILING), address="/run/exile.sock")
    watch.told(r"^exile\.ini: waiting")
    cursor = machine.journal_cursor()
    machine.request("uwsgi", "/run/exile.sock")
    watch.told(r"^exile\.ini: exiled", cursor)
    machine.wait_unit("vassal-exile.socket", "ActiveState", "inactive")

    watch.vassal("other.ini", address="/run/other.sock")
    watch.told(r"^other\.ini: added", cursor)
    watch.sync(status=0)
    assert machine.show("vassal-exile.socket", "ActiveState") == "inactive"
    assert machine.show("vassal-exile.service", "ActiveState") in {"inactive", "failed"}
    assert not machine.exists("/run/exile.sock")

    cursor = machine.journal_cursor()
    if way == "retry":
        machine.write(EXILING, machine.read(APP))
        watch.run("retry", "exile.ini")
    else:
        machine.write(path, config())
    watch.told(r"^exile\.ini: waiting", cursor)
    watch.app("uwsgi", "/run/exile.sock")


def test_a_lost_socket_file_is_made_again(machine: Machine, watch: Bridge) -> None:
    watch.vassal("heal.ini", address="/run/heal.sock")
    watch.told(r"^heal\.ini: waiting")
    cursor = machine.journal_cursor()
    machine.remove("/run/heal.sock")
    watch.told(r"^heal\.ini: mended, its socket /run/heal\.sock was gone", cursor)
    before = watch.app("uwsgi", "/run/heal.sock")
    cursor = machine.journal_cursor()
    machine.remove("/run/heal.sock")
    watch.told(r"^heal\.ini: mended", cursor)
    assert watch.app("uwsgi", "/run/heal.sock")["ppid"] != before["ppid"]


def test_a_strangers_socket_in_the_place_of_a_vassals_is_replaced(machine: Machine, watch: Bridge) -> None:
    watch.vassal("heal.ini", address="/run/heal.sock")
    watch.told(r"^heal\.ini: waiting")
    cursor = machine.journal_cursor()
    stranger = machine.popen(PYTHON, "-c", MOVED_IN, "/run/heal.sock")
    watch.told(r"^heal\.ini: mended, its socket /run/heal\.sock was gone or not its own", cursor)
    assert stranger.poll() is None
    watch.app("uwsgi", "/run/heal.sock")
    stranger.communicate(b"\n", timeout=PATIENCE)


@pytest.mark.parametrize("folder", ["/run", "/srv"], ids=["on tmpfs", "on an overlay"])
@pytest.mark.parametrize("way", WAYS)
def test_a_socket_replaced_while_the_bridge_was_away_is_mended_once(
    machine: Machine, watch: Bridge, folder: str, way: str
) -> None:
    path = f"{folder}/heal.sock"
    machine.cleanups.append(lambda: machine.remove(path))
    watch.vassal("heal.ini", address=path)
    watch.vassal("well.ini", address=f"{folder}/well.sock")
    watch.told(r"^heal\.ini: waiting")
    before, well = watch.app("uwsgi", path), watch.app("uwsgi", f"{folder}/well.sock")
    machine.run("systemctl", "stop", WATCH)
    stranger = machine.popen(PYTHON, "-c", WAYS[way], path)
    machine.cleanups.append(lambda: kill(stranger))
    assert next_line(stranger) == "there"

    cursor = machine.journal_cursor()
    machine.run("systemctl", "start", WATCH)
    watch.told(rf"^heal\.ini: mended, its socket {path} was gone or not its own", cursor)
    after = watch.app("uwsgi", path)
    assert after["ppid"] != before["ppid"]

    # The stranger is still there, and bound to the same path: that is no reason to mend again.
    cursor = machine.journal_cursor()
    machine.run("systemctl", "restart", WATCH)
    watch.sync()
    assert watch.app("uwsgi", path) == after
    assert watch.app("uwsgi", f"{folder}/well.sock") == well
    assert [text for entry in machine.journal(cursor) if "mended" in (text := message(entry))] == []


def test_a_socket_unit_that_failed_listens_again(machine: Machine, watch: Bridge) -> None:
    drop_in = "/etc/systemd/system/vassal-heal.socket.d"
    machine.cleanups.append(lambda: machine.remove(drop_in, ENDING))
    machine.write(f"{drop_in}/limit.conf", "[Socket]\nTriggerLimitIntervalSec=10s\nTriggerLimitBurst=1\n")
    machine.write(ENDING, ENDING_TEXT)
    watch.vassal("heal.ini", config(master=False).replace(APP, ENDING), address="/run/heal.sock")
    watch.told(r"^heal\.ini: waiting")
    cursor = machine.journal_cursor()
    asking = machine.popen(PYTHON, "-c", ASK_OFTEN, "/run/heal.sock", "5")
    entry = watch.told(r"^heal\.ini: socket-failed", cursor)
    assert (entry["UNIT_RESULT"], entry["PRIORITY"]) == ("trigger-limit-hit", "3")
    asking.communicate(timeout=300)
    watch.told(r"^heal\.ini: started, on demand at /run/heal\.sock", cursor)
    watch.wait("heal", "listening")


def test_an_always_on_vassal_that_was_killed_runs_again(machine: Machine, watch: Bridge) -> None:
    watch.vassal("always.ini", config("socket = 127.0.0.1:9202"))
    watch.told(r"^always\.ini: running")
    cursor = machine.journal_cursor()
    machine.run("kill", "-KILL", main_pid(machine, "vassal-always.service"))
    watch.told(r"^always\.ini: running", cursor)
    events = [entry["VASSAL_EVENT"] for entry in story(watch, "always.ini")]
    assert events == ["added", "starting", "running", "crashed", "throttled", "starting", "running"]
    watch.app("uwsgi", "127.0.0.1:9202")


def test_what_an_admin_stopped_stays_so_when_something_else_changes(machine: Machine, watch: Bridge) -> None:
    watch.vassal("one.ini", address="/run/one.sock")
    watch.vassal("always.ini", config("socket = 127.0.0.1:9202"))
    watch.told(r"^one\.ini: waiting")
    watch.told(r"^always\.ini: running")
    cursor = machine.journal_cursor()
    machine.run("systemctl", "stop", "vassals.target")
    machine.wait_unit("vassal-always.service", "ActiveState", "inactive")
    watch.told(r"^one\.ini: closed", cursor)
    watch.vassal("other.ini", address="/run/other.sock")
    watch.told(r"^other\.ini: added", cursor)
    assert machine.show("vassals.target", "ActiveState") == "inactive"
    assert machine.show("vassal-one.socket", "ActiveState") == "inactive"
    assert machine.show("vassal-always.service", "ActiveState") == "inactive"
    machine.run("systemctl", "start", "vassals.target")
    watch.app("uwsgi", "/run/one.sock")


@pytest.mark.parametrize("end", ["stop", "kill --signal=KILL"])
def test_the_end_of_the_bridge_touches_nothing_and_on_return_it_catches_up(
    machine: Machine, watch: Bridge, end: str
) -> None:
    changed = watch.vassal("changed.ini", address="/run/changed.sock")
    for name in ("runs", "waits", "goes"):
        watch.vassal(f"{name}.ini", address=f"/run/{name}.sock")
    for name in ("runs", "waits", "goes", "changed"):
        watch.told(rf"^{name}\.ini: waiting")
    runs, before = watch.app("uwsgi", "/run/runs.sock"), watch.app("uwsgi", "/run/changed.sock")
    waits = inode(machine, "/run/waits.sock")

    machine.run("systemctl", *end.split(), WATCH)
    machine.wait_unit(WATCH, "MainPID", "0")
    assert watch.app("uwsgi", "/run/runs.sock") == runs
    assert inode(machine, "/run/waits.sock") == waits
    watch.app("uwsgi", "/run/goes.sock")
    machine.remove(f"{VASSALS}/goes.ini")
    machine.write(changed, config())
    watch.vassal("comes.ini", address="/run/comes.sock")

    cursor = machine.journal_cursor()
    machine.run("systemctl", "restart", WATCH)
    watch.told(r"^comes\.ini: added", cursor)
    watch.told(r"^goes\.ini: removed", cursor)
    watch.told(r"^changed\.ini: reloaded", cursor)
    assert watch.processes("goes") == []
    assert watch.app("uwsgi", "/run/runs.sock") == runs
    assert watch.app("uwsgi", "/run/changed.sock")["ppid"] == before["ppid"]
    assert inode(machine, "/run/waits.sock") == waits
    assert machine.show("vassal-waits.service", "InvocationID") == ""
    told = [message(entry) for entry in machine.journal(cursor, WATCH)]
    assert [text for text in told if text.startswith(("runs.ini", "waits.ini"))] == []
