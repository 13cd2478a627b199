"""What `status` tells of the past, from the journal alone, and `status --follow` of the present; no daemon runs."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bridge import APP, VASSALS, config
from .process import Lines, kill
from .suite import PYTHON

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

IDLE = config("idle = 1", "die-on-idle = true")
BROKEN = config("need-app = true").replace(APP, "/srv/app/missing.py")
EXILE = "/srv/app/exile.py"
EXILE_TEXT = "import os\n\ndef application(environ, start_response):\n    os._exit(26)\n"
HISTORY = ("last_wake", "last_idle_exit", "wakes", "last_failure", "failure")
HOSTILE = 'a b%d"$(x)=\\\nMESSAGE=forged\n\té.ini'
ROOT = Path(__file__).resolve().parents[2]
TELL = """
import json, sys
from bridge.lifecycle.journal import tell
from bridge.lifecycle.events import Event, LifecycleEvent
for name in json.loads(sys.argv[1]):
    fields = {"EXIT_STATUS": "9"}
    event = LifecycleEvent(label="x", unit="vassal-x.service", event=Event.CRASHED, text="why %s %n", fields=fields)
    tell(event, vassal=name, user_manager=False)
"""
FORGE = """
import socket
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for name in ("39f53479d3a045ac8e11786248231fbf", "d9b373ed55a64feb8242e02dbe79a49c"):
    fields = f"MESSAGE=forged MESSAGE_ID={name} UNIT=vassal-quiet.service UNIT_RESULT=signal _PID=1"
    journal.sendto(fields.replace(" ", "\\n").encode() + b"\\n", "/run/systemd/journal/socket")
"""


def status(machine: Machine, bridge: Bridge) -> dict[str, dict[str, Any]]:
    """Return the rows of ``status --json``, all that was logged so far being in the journal."""
    machine.run("journalctl", "--sync")
    return bridge.status()


def event(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_wakes_and_idle_exits(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("idle.ini", IDLE, address="/run/idle.sock")
    bridge.vassal("quiet.ini", IDLE, address="/run/quiet.sock")
    bridge.vassal("stopped.ini", address="/run/stopped.sock")
    bridge.sync()
    before = status(machine, bridge)
    assert [before["quiet.ini"][key] for key in HISTORY] == [None, None, 0, None, None]
    wakes, began = before["idle.ini"]["wakes"], time.time()

    bridge.app("uwsgi", "/run/idle.sock")
    bridge.wait("idle", "dead")
    first = status(machine, bridge)["idle.ini"]
    assert first["wakes"] == wakes + 1
    assert int(began) <= event(first["last_wake"]) <= event(first["last_idle_exit"]) <= time.time()

    # It must not be gone again before it is looked at.
    bridge.vassal("idle.ini")
    bridge.app("uwsgi", "/run/idle.sock")
    bridge.app("uwsgi", "/run/stopped.sock")
    bridge.wait("idle", "running")
    bridge.wait("stopped", "running")
    machine.run("systemctl", "stop", "vassal-stopped.service")
    rows = status(machine, bridge)
    assert rows["idle.ini"]["wakes"] == wakes + 2
    assert event(rows["idle.ini"]["last_wake"]) > event(first["last_wake"])
    assert rows["idle.ini"]["last_idle_exit"] == first["last_idle_exit"]
    # Who is told to stop does not idle.
    assert (rows["stopped.ini"]["last_idle_exit"], rows["stopped.ini"]["failure"]) == (None, None)
    assert "NOTE" not in bridge.run("status").stdout


def test_failures_and_their_reasons(machine: Machine, bridge: Bridge) -> None:
    machine.write(EXILE, EXILE_TEXT)
    machine.cleanups.append(lambda: machine.remove(EXILE))
    bridge.vassal("crash.ini", address="/run/crash.sock")
    bridge.vassal("broken.ini", BROKEN, address="/run/broken.sock")
    bridge.vassal("exiled.ini", config(master=False).replace(APP, EXILE), address="/run/exiled.sock")
    bridge.sync()
    cursor, began = machine.journal_cursor(), int(time.time())
    bridge.app("uwsgi", "/run/crash.sock")
    bridge.wait("crash", "running")
    machine.run("kill", "-KILL", machine.show("vassal-crash.service", "MainPID"))
    machine.request("uwsgi", "/run/exiled.sock")
    machine.run("systemctl", "start", "vassal-broken.service", check=False)
    for vassal in ("crash", "broken", "exiled"):
        # What fails is paused first; what is said of it there must be enough.
        machine.wait_journal(f"vassal-{vassal}.service: Main process exited", since_cursor=cursor)
    rows = status(machine, bridge)
    assert rows["crash.ini"]["failure"] == "killed by SIGKILL"
    assert rows["crash.ini"]["wakes"] >= 1
    assert rows["broken.ini"]["failure"] == "exited with status 22 before it was ready"
    assert (rows["broken.ini"]["last_wake"], rows["broken.ini"]["wakes"]) == (None, 0)
    assert rows["exiled.ini"]["failure"] == "asked not to be started again: exited with status 26"
    for name in ("crash.ini", "broken.ini", "exiled.ini"):
        assert began <= event(rows[name]["last_failure"]) <= time.time()
    shown = bridge.run("status").stdout
    assert "NOTE" in shown
    assert "exited with status 22 before it was ready" in shown

    bridge.wait("crash", "failed")
    bridge.app("uwsgi", "/run/crash.sock")
    bridge.wait("crash", "running")
    mended = status(machine, bridge)["crash.ini"]
    assert mended["failure"] == "killed by SIGKILL"
    # A wake makes good what was before: the table tells it no more.
    if event(mended["last_wake"]) > event(mended["last_failure"]):
        assert "SIGKILL" not in bridge.run("status").stdout


def test_nobody_but_systemd_writes_history(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("quiet.ini", IDLE, address="/run/quiet.sock")
    bridge.sync()
    before = status(machine, bridge)["quiet.ini"]
    for user in (None, "nobody"):
        argv = ["setpriv", "--reuid=nobody", "--clear-groups"] if user else []
        machine.run(*argv, PYTHON, "-c", FORGE)
    machine.wait_journal("^forged$")
    assert status(machine, bridge)["quiet.ini"] == before


def test_a_name_may_hold_anything(machine: Machine) -> None:
    cursor = machine.journal_cursor()
    names = [HOSTILE, "%s%n%99999s", "x" * 200, "caf\udce9.ini", "VASSAL=other"]
    machine.run(PYTHON, "-c", TELL, json.dumps(names), cwd=str(ROOT))
    entries = [e for e in machine.journal(cursor) if e.get("SYSLOG_IDENTIFIER") == "emperor-bridge"]
    assert [text(entry["VASSAL"]) for entry in entries] == [
        HOSTILE,
        "%s%n%99999s",
        "x" * 200,
        "caf\\udce9.ini",
        "VASSAL=other",
    ]
    for entry in entries:
        assert text(entry["MESSAGE"]) == f"{text(entry['VASSAL'])}: crashed: why %s %n"
        assert (entry["VASSAL_EVENT"], entry["UNIT"], entry["PRIORITY"]) == ("crashed", "vassal-x.service", "4")
        assert entry["EXIT_STATUS"] == "9"


def text(value: str | list[int]) -> str:
    """Return a field's value; journalctl writes one that cannot be printed as a list of bytes."""
    return value if isinstance(value, str) else bytes(value).decode()


def test_follow_tells_every_change_and_ends_when_interrupted(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("idle.ini", IDLE, address="/run/idle.sock")
    bridge.sync()
    script = 'echo $$; exec "$@"'
    process = machine.popen("sh", "-c", script, "sh", *bridge.command("status", "--follow"))
    machine.cleanups.append(lambda: kill(process))
    lines = Lines(process.stdout)
    deadline = time.monotonic() + 180
    pid = lines.next(deadline)
    assert pid

    def expect(*words: str) -> None:
        while (line := lines.next(deadline)) is not None:
            if all(word in line for word in words):
                return
        raise AssertionError(f"it ended before it told {words}")

    expect("idle.ini", "listening", "/run/idle.sock")
    bridge.app("uwsgi", "/run/idle.sock")
    expect("idle.ini: starting, woken by a connection")
    expect("idle.ini: running, ready")
    expect("idle.ini: idle-exit")
    expect("idle.ini: waiting")
    bridge.vassal("late.ini", IDLE, address="/run/late.sock")
    bridge.sync()
    expect("waiting, waits for a connection")
    bridge.app("uwsgi", "/run/late.sock")
    expect("late.ini: running")
    machine.run("rm", f"{VASSALS}/idle.ini", f"{VASSALS}/idle.ini.socket")
    bridge.sync()
    expect("idle.ini: closed")
    machine.run("kill", "-INT", pid.strip())
    while lines.next(deadline) is not None:
        pass
    assert process.wait(timeout=60) == 0
    assert process.stderr is None or b"Traceback" not in process.stderr.read()


def test_follow_redraws_on_a_terminal(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("idle.ini", address="/run/idle.sock")
    bridge.sync()
    follow = " ".join(bridge.command("status", "--follow"))
    inner = f"stty cols 100 rows 20; echo pid $$; exec {follow}"
    process = machine.popen("script", "--quiet", "--return", "--command", inner, "/dev/null")
    machine.cleanups.append(lambda: kill(process))
    assert process.stdout is not None
    seen = b""

    def read_until(word: bytes) -> bytes:
        nonlocal seen
        while word not in seen:
            chunk = process.stdout.read1(65536) if process.stdout else b""  # type: ignore[attr-defined]
            assert chunk, seen
            seen += chunk
        before, _, seen = seen.partition(word)
        return before

    read_until(b"pid ")
    pid = read_until(b"\n").decode().strip()
    read_until(b"listening")
    bridge.app("uwsgi", "/run/idle.sock")
    read_until(b"running")
    machine.run("systemctl", "stop", "vassal-idle.service")
    read_until(b"listening")
    machine.run("kill", "-INT", pid)
    rest = seen + (process.communicate(timeout=60)[0] or b"")
    assert b"Traceback" not in rest
    assert process.returncode == 0


def test_what_the_commands_do_is_in_the_journal(machine: Machine, bridge: Bridge) -> None:
    path = bridge.vassal("told.ini", IDLE, address="/run/told.sock")
    cursor = machine.journal_cursor()
    bridge.sync("--dry-run")
    bridge.sync()
    bridge.sync()
    machine.write(f"{path}.socket", "/run/other.sock\n")
    bridge.sync()
    machine.write(f"{path}.socket", ":0\n")
    bridge.sync(status=1)
    bridge.run("retry", "told.ini")
    bridge.run("remove", "--yes")
    machine.run("journalctl", "--sync")
    argv = ("journalctl", "VASSAL=told.ini", f"--cursor={cursor}", "--output=json", "--no-pager")
    entries = [json.loads(line) for line in machine.run(*argv).stdout.splitlines()]
    assert [(entry["VASSAL_EVENT"], entry.get("UNIT")) for entry in entries] == [
        ("added", "vassal-told.service"),
        ("changed", "vassal-told.service"),
        ("refused", None),
        ("retried", "vassal-told.service"),
        ("removed", "vassal-told.service"),
    ]


def test_a_journal_too_long_to_read_says_so(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("idle.ini", IDLE, address="/run/idle.sock")
    bridge.sync()
    bridge.app("uwsgi", "/run/idle.sock")
    bridge.wait("idle", "dead")
    few = "import sys; from bridge.lifecycle import history; "
    few += "history.NEWEST = int(sys.argv[1]); from bridge.cli import main; "
    for newest, is_known in ((10_000, True), (1, False)):
        script = f"{few} sys.argv[1:] = sys.argv[2:]; main()"
        machine.run("journalctl", "--sync")
        command = bridge.command("status", "--json")[1:]
        shown = machine.run(PYTHON, "-c", script, str(newest), *command, cwd=str(ROOT)).stdout
        (row,) = json.loads(shown)["vassals"]
        assert (row["history_since"] is None) is is_known
        assert (row["wakes"] > 0) is is_known
