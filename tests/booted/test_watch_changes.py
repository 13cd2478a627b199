"""The watch daemon follows what happens to configs, rules and settings, however they are saved."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import pytest

from bridge.watch.timing import IMPATIENCE

from .bridge import APP, VASSALS, WATCH, config
from .container import HERE
from .machine import message
from .suite import PYTHON
from .test_load import wait_entries

if TYPE_CHECKING:
    import subprocess

    from .bridge import Bridge
    from .machine import Machine

# Is asked what its config says, and takes its time to load.
SLOW_APP = """
import os, sys, time
print("slow app: loading", file=sys.stderr, flush=True)
time.sleep(int(os.environ["LOADS"]))
def application(environ, start_response):
    start_response("200 OK", [])
    return [os.environ["ANSWER"].encode()]
"""
LOADS_LONG = 14
"""Seconds; more than a command waits until a service that starts can be told to reload."""
FILES = 1_000
APPLIES = 6
LOCK = "/run/emperor-bridge/lock"

# Each saves $2 as $1.
SAVES = {
    "truncate and write": 'printf %s "$2" >"$1"',
    "rename over": 'printf %s "$2" >"$1.new" && mv "$1.new" "$1"',
    "swap files": """
        cd "${1%/*}"; name=${1##*/}
        : >".$name.swp"; : >4913; rm 4913
        mv "$name" "$name~"; printf %s "$2" >"$name"; chmod 644 "$name"
        rm "$name~" ".$name.swp"
    """,
    "rename away, then write": 'mv "$1" "$1.old" && printf %s "$2" >"$1" && rm "$1.old"',
    "remove, and write a moment later": 'rm "$1" && sleep 0.05 && printf %s "$2" >"$1"',
    "touch": 'touch "$1"',
}
# Writes a file without a pause between its lines until it is told to go on with the rest and to close it.
SLOW_WRITER = """
import select, sys
with open(sys.argv[1], "w") as file:
    print("[uwsgi]", file=file, flush=True)
    print("open", flush=True)
    while not select.select([sys.stdin], [], [], 0.1)[0]:
        print("# more is to come", file=file, flush=True)
    file.write(sys.argv[2])
"""
# Counts how often the bridge has held its lock, which is once for each apply.
COUNTER = """
import sys
from inotify_simple import INotify, flags
inotify = INotify()
inotify.add_watch(sys.argv[1], flags.CLOSE_WRITE)
print("counting", flush=True)
sys.stdin.readline()
print(len(inotify.read(timeout=0)))
"""


def next_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


def write_slowly(machine: Machine, path: str, text: str) -> subprocess.Popen[bytes]:
    """Write half a config; the rest follows when the process is given a line."""
    writer = machine.popen(PYTHON, "-c", SLOW_WRITER, path, text.removeprefix("[uwsgi]\n"))
    assert next_line(writer) == "open"
    return writer


def wait_for_respawn(machine: Machine, vassal: str, cursor: str) -> None:
    machine.wait_journal("spawned uWSGI worker 1", unit=f"vassal-{vassal}.service", since_cursor=cursor)


def told_of(watch: Bridge, cursor: str) -> list[str]:
    """Return what the bridge has told since."""
    return [message(entry) for entry in watch.machine.journal(cursor, WATCH)]


def test_a_new_vassal_listens_a_changed_one_is_noted_and_a_removed_one_goes(machine: Machine, watch: Bridge) -> None:
    cursor = machine.journal_cursor()
    watch.vassal("new.ini", address="/run/new.sock")
    watch.told(r"^new\.ini: added, on demand at /run/new\.sock", cursor)
    assert machine.show("vassal-new.socket", "SubState") == "listening"

    watch.vassal("new.ini", config("procname-master = changed"))
    watch.vassal("later.ini", address="/run/later.sock")
    watch.told(r"^later\.ini: added", cursor)
    assert machine.show("vassal-new.service", "InvocationID") == ""
    assert [text for text in told_of(watch, cursor) if text.startswith("new.ini: reload")] == []
    watch.app("uwsgi", "/run/new.sock")
    assert "changed" in [process.command for process in watch.processes("new")]

    machine.remove(f"{VASSALS}/new.ini")
    watch.told(r"^new\.ini: removed", cursor)
    assert watch.processes("new") == []
    assert not machine.exists("/run/new.sock")
    assert not machine.exists("/etc/systemd/system/vassal-new.service")


@pytest.mark.parametrize("way", SAVES)
def test_a_running_vassal_reloads_gracefully_however_its_config_is_saved(
    machine: Machine, watch: Bridge, way: str
) -> None:
    path = watch.vassal("app.ini", address="/run/app.sock")
    watch.told(r"^app\.ini: added")
    before = watch.app("uwsgi", "/run/app.sock")
    cursor = machine.journal_cursor()
    machine.run("sh", "-ec", SAVES[way], "sh", path, config("procname-master = changed"))
    watch.told(r"^app\.ini: reloaded", cursor)
    wait_for_respawn(machine, "app", cursor)
    after = watch.app("uwsgi", "/run/app.sock")
    assert after["ppid"] == before["ppid"]
    assert after["pid"] != before["pid"]
    commands = {process.pid: process.command for process in watch.processes("app")}
    assert (commands[before["ppid"]] == "changed") == (way != "touch")
    assert [text for text in told_of(watch, cursor) if "removed" in text or "added" in text] == []


@pytest.mark.parametrize(("by", "loads"), [("watch", 2), ("watch", LOADS_LONG), ("sync", LOADS_LONG)])
def test_a_config_that_changes_while_the_vassal_starts_is_in_force_soon(
    machine: Machine, bridge: Bridge, by: str, loads: int
) -> None:
    """While uWSGI loads the app, it ignores SIGHUP."""
    app = "/srv/app/slow.py"
    machine.write(app, SLOW_APP)
    machine.cleanups.append(lambda: machine.remove(app))
    text = config("env = ANSWER={}", f"env = LOADS={loads}").replace(APP, app)
    bridge.vassal("slow.ini", text.format("old"), address="/run/slow.sock")
    bridge.sync()
    if by == "watch":
        bridge.watch()
    cursor = machine.journal_cursor()
    client = machine.popen(PYTHON, str(HERE / "client.py"), "--timeout=60", "uwsgi", "/run/slow.sock")
    machine.wait_journal("slow app: loading", unit="vassal-slow.service", since_cursor=cursor)
    cursor = machine.journal_cursor()
    machine.write(f"{VASSALS}/slow.ini", text.format("new"))
    if by == "sync":
        assert "slow.ini: warning: it ignores the signal to reload" in bridge.sync().stderr
    assert json.loads(client.communicate(timeout=90)[0])["status"] == 200
    if by == "sync":
        assert bridge.sync().stdout.splitlines()[0] == "slow.ini: reloaded, its config changed"
    else:
        bridge.told(r"^slow\.ini: reloaded", cursor)
    machine.wait_journal("slow app: loading", unit="vassal-slow.service", since_cursor=cursor)
    assert machine.request("uwsgi", "/run/slow.sock", timeout=60).body == "new"
    assert machine.show("vassal-slow.service", "NRestarts") == "0"


@pytest.mark.parametrize("by", ["watch", "sync"])
def test_a_config_that_changes_while_the_vassal_executes_itself_ends_nothing(
    machine: Machine, bridge: Bridge, by: str
) -> None:
    """At a reload uWSGI starts anew in the same process. SIGHUP kills it then, or is ignored."""
    again = "exec-asap = echo executes itself; sleep 1"
    bridge.vassal("app.ini", config(again), address="/run/app.sock")
    bridge.sync()
    if by == "watch":
        bridge.watch()
    before = bridge.app("uwsgi", "/run/app.sock")
    cursor = machine.journal_cursor()
    for name in ("first", "second"):
        machine.write(f"{VASSALS}/app.ini", config(again, f"procname-master = {name}"))
        if by == "sync":
            assert bridge.sync().stdout.splitlines()[0] == "app.ini: reloaded, its config changed"
        machine.wait_journal("executes itself", unit="vassal-app.service", since_cursor=cursor)
        cursor = machine.journal_cursor()
    wait_for_respawn(machine, "app", cursor)
    after = bridge.app("uwsgi", "/run/app.sock")
    assert after["ppid"] == before["ppid"]
    commands = {process.pid: process.command for process in bridge.processes("app")}
    assert commands[before["ppid"]] == "second"
    assert machine.show("vassal-app.service", "NRestarts") == "0"


def test_a_config_that_is_being_written_starts_nothing_until_it_is_closed(machine: Machine, watch: Bridge) -> None:
    cursor = machine.journal_cursor()
    writer = write_slowly(machine, f"{VASSALS}/slow.ini", config("socket = 127.0.0.1:9201"))
    watch.vassal("other.ini", address="/run/other.sock")
    watch.told(r"^other\.ini: added", cursor)
    assert not machine.exists("/etc/systemd/system/vassal-slow.service")
    assert [text for text in told_of(watch, cursor) if "slow.ini" in text] == []
    writer.communicate(b"\n", timeout=60)
    watch.told(r"^slow\.ini: added, runs always", cursor)
    watch.wait("slow", "running")
    watch.app("uwsgi", "127.0.0.1:9201")
    assert machine.show("vassal-slow.service", "NRestarts") == "0"


def test_a_running_vassal_does_not_reload_while_its_config_is_being_written(machine: Machine, watch: Bridge) -> None:
    path = watch.vassal("app.ini", config("socket = 127.0.0.1:9201"))
    watch.told(r"^app\.ini: running")
    before = watch.app("uwsgi", "127.0.0.1:9201")
    cursor = machine.journal_cursor()
    writer = write_slowly(machine, path, config("socket = 127.0.0.1:9201"))
    watch.vassal("other.ini", address="/run/other.sock")
    watch.told(r"^other\.ini: added", cursor)
    assert watch.app("uwsgi", "127.0.0.1:9201") == before
    assert [text for text in told_of(watch, cursor) if "app.ini" in text] == []
    writer.communicate(b"\n", timeout=60)
    watch.told(r"^app\.ini: reloaded", cursor)
    wait_for_respawn(machine, "app", cursor)
    after = watch.app("uwsgi", "127.0.0.1:9201")
    assert after["ppid"] == before["ppid"]
    assert after["pid"] != before["pid"]


def test_a_burst_of_a_thousand_files_is_a_few_applies(machine: Machine, watch: Bridge) -> None:
    cursor = machine.journal_cursor()
    names = [f"v{number}.ini" for number in range(FILES // 2)]
    began = time.monotonic()
    counter = machine.popen(PYTHON, "-c", COUNTER, LOCK)
    assert next_line(counter) == "counting"
    # The rule first: without it a vassal would be taken to run always.
    machine.write_many(
        {f"{VASSALS}/{name}.socket": f"/run/{name}.sock" for name in names}
        | {f"{VASSALS}/{name}": config() for name in names}
    )
    written = time.monotonic() - began
    # Whose file is open at the moment is left for the next apply, and need not be the last one.
    wait_entries(machine, cursor, ": added, on demand", len(names), f"--unit={WATCH}", timeout=180)
    applies = int(counter.communicate(b"\n", timeout=60)[0])
    # It looks now and then how far a burst is that does not end, as on a slow machine.
    assert 1 <= applies <= APPLIES + written / IMPATIENCE
    listening = machine.run("systemctl", "list-units", "--plain", "--no-legend", "vassal-v*.socket").stdout
    assert sum("listening" in line for line in listening.splitlines()) == len(names)
    assert len([text for text in told_of(watch, cursor) if ": added, on demand" in text]) == len(names)
    sys.stdout.write(f"{FILES} files: {applies} applies\n")


def test_a_rule_that_comes_changes_and_goes_is_followed(machine: Machine, watch: Bridge) -> None:
    cursor = machine.journal_cursor()
    path = watch.vassal("app.ini", config("socket = 127.0.0.1:9201"))
    watch.told(r"^app\.ini: added, runs always", cursor)
    watch.wait("app", "running")

    machine.write(f"{path}.socket", "/run/first.sock\n")
    watch.told(r"^app\.ini: changed, on demand at /run/first\.sock", cursor)
    assert watch.processes("app") == []
    watch.app("uwsgi", "/run/first.sock")

    machine.write(f"{path}.socket", "/run/second.sock\n")
    watch.told(r"^app\.ini: changed, on demand at /run/second\.sock", cursor)
    watch.app("uwsgi", "/run/second.sock")
    assert not machine.exists("/run/first.sock")

    machine.remove(f"{path}.socket")
    watch.told(r"^app\.ini: changed, runs always", cursor)
    watch.wait("app", "running")
    assert not machine.exists("/run/second.sock")


def test_a_changed_script_of_the_exec_rule_moves_the_vassals(machine: Machine, bridge: Bridge) -> None:
    script = "/srv/rule"
    machine.cleanups.append(lambda: machine.remove(script))
    machine.write(script, "#!/bin/sh\necho /run/first.sock\n", mode=0o755)
    bridge.options[2:] = ["--emperor-on-demand-exec", script]
    bridge.watch()
    bridge.vassal("app.ini")
    bridge.told(r"^app\.ini: added, on demand at /run/first\.sock")
    machine.write(script, "#!/bin/sh\necho /run/second.sock\n", mode=0o755)
    bridge.told(r"^app\.ini: changed, on demand at /run/second\.sock")
    bridge.app("uwsgi", "/run/second.sock")


def test_a_changed_configuration_is_in_force_after_a_reload(machine: Machine, bridge: Bridge) -> None:
    toml = "/etc/emperor-bridge/bridge.toml"
    text = f'emperor = "{VASSALS}"\nemperor-on-demand-extension = ".%s"\n'
    machine.cleanups.append(lambda: machine.remove(toml))
    machine.write(toml, text % "socket")
    bridge.options.clear()
    path = bridge.vassal("app.ini", address="/run/first.sock")
    machine.write(f"{path}.other", "/run/second.sock")
    bridge.watch()
    assert machine.show("vassal-app.socket", "SubState") == "listening"
    pid = machine.show(WATCH, "MainPID")

    cursor = machine.journal_cursor()
    machine.write(toml, 'emperor = "unfinished\n')
    machine.run("systemctl", "reload", WATCH)
    bridge.told(r"bridge\.toml.*error", cursor)
    bridge.app("uwsgi", "/run/first.sock")

    machine.write(toml, text % "other")
    machine.run("systemctl", "reload", WATCH)
    bridge.told(r"^app\.ini: changed, on demand at /run/second\.sock", cursor)
    bridge.app("uwsgi", "/run/second.sock")
    assert machine.show(WATCH, "MainPID") == pid
    machine.wait_unit(WATCH, "ActiveState", "active")


def test_what_ran_goes_on_when_its_config_turns_bad(machine: Machine, watch: Bridge) -> None:
    path = watch.vassal("app.ini", address="/run/app.sock")
    watch.told(r"^app\.ini: added")
    before = watch.app("uwsgi", "/run/app.sock")
    cursor = machine.journal_cursor()
    machine.write(path, config("socket = //run/app.sock"))
    entry = watch.told(r"app\.ini:\d+: error: socket = //run/app\.sock is the address", cursor)
    assert (entry["VASSAL"], entry["VASSAL_EVENT"], entry["EMPEROR_BRIDGE_CODE"]) == (
        "app.ini",
        "refused",
        "socket-is-rules",
    )
    row = watch.status()["app.ini"]
    assert row["state"] == "running"
    assert "socket = //run/app.sock" in row["problem"]
    assert watch.app("uwsgi", "/run/app.sock") == before

    machine.write(path, config())
    watch.told(r"^app\.ini: reloaded", cursor)
    assert watch.status()["app.ini"]["problem"] is None
    assert watch.app("uwsgi", "/run/app.sock")["ppid"] == before["ppid"]
