"""When a vassal starts, how it ends, and that it comes back: after idling, a crash, a reboot, and by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from .bridge import APP, VASSALS, config
from .container import HERE
from .machine import message
from .soak import times
from .suite import PYTHON

if TYPE_CHECKING:
    from collections import Counter

    from .bridge import Bridge
    from .machine import Machine

ON_DEMAND = {"unix": "/run/unix.sock", "tcp": "127.0.0.1:9001", "abstract": "@abstract"}
ALWAYS = {"master": "127.0.0.1:9101", "single": "127.0.0.1:9102"}

# Tells its pid, then ends uWSGI: SIGINT is what systemd sends, too.
ENDING = "/srv/app/ending.py"
ENDING_TEXT = """\
import json, os, signal

class Answer:
    def __iter__(self):
        yield json.dumps(os.getpid()).encode()

    def close(self):
        os.kill(os.getpid(), signal.SIGINT)

def application(environ, start_response):
    start_response("200 OK", [])
    return Answer()
"""
ASK_OFTEN = f"""
import json, sys
sys.path.insert(0, {str(HERE)!r})
from client import request
print(json.dumps([request("uwsgi", sys.argv[1], "/", 60.0) for _ in range(int(sys.argv[2]))]))
"""

# Ends at once with success, its connection unanswered; the last time it becomes the real uWSGI.
HASTY = "/usr/local/bin/hasty"
HASTY_WAKES = times(60)
HASTY_TEXT = f"""\
#!/bin/sh
echo >>/run/hasty
test $(wc -l </run/hasty) -le {HASTY_WAKES} && exec systemd-notify --ready
exec uwsgi "$@"
"""


def running(machine: Machine) -> set[str]:
    """Return the vassals that have a process anywhere, by the end of its command line."""
    lines = machine.run("pgrep", "--exact", "--list-full", "uwsgi", check=False).stdout.splitlines()
    return {line.rpartition(" ")[2].removesuffix(".ini") for line in lines}


def assert_untouched(machine: Machine) -> None:
    """Every socket listens, and no service behind one was started since the boot."""
    for vassal in ON_DEMAND:
        assert machine.show(f"vassal-{vassal}.socket", "SubState") == "listening"
        assert machine.show(f"vassal-{vassal}.service", "InvocationID") == ""
    assert running(machine).isdisjoint(ON_DEMAND)


def add_on_demand(bridge: Bridge) -> None:
    for vassal, address in ON_DEMAND.items():
        bridge.vassal(f"{vassal}.ini", address=address)


def add_always(bridge: Bridge) -> None:
    for vassal, address in ALWAYS.items():
        bridge.vassal(f"{vassal}.ini", config(f"socket = {address}", master=vassal == "master"))


def main_pid(machine: Machine, vassal: str) -> str:
    return machine.show(f"vassal-{vassal}.service", "MainPID")


def test_nothing_of_a_vassal_runs_before_its_first_connection(machine: Machine, bridge: Bridge) -> None:
    add_on_demand(bridge)
    bridge.sync()
    assert_untouched(machine)

    bridge.vassal("unix.ini", config("chmod-socket = 666"))
    bridge.vassal("tcp.ini", config("idle = 60"))
    bridge.sync()
    assert_untouched(machine)

    for address in ON_DEMAND.values():
        bridge.app("uwsgi", address)
    assert running(machine) == set(ON_DEMAND)


def test_a_reboot_brings_everything_back_without_the_bridge(machine: Machine, bridge: Bridge) -> None:
    add_on_demand(bridge)
    add_always(bridge)
    bridge.sync()
    bridge.app("uwsgi", ON_DEMAND["unix"])
    machine.reboot()
    for vassal, address in ALWAYS.items():
        bridge.wait(vassal, "running")
        bridge.app("uwsgi", address)
    for vassal in ON_DEMAND:
        bridge.wait(vassal, "listening")
    assert_untouched(machine)
    for address in ON_DEMAND.values():
        bridge.app("uwsgi", address)
    # All that the units start: the bridge and its Python are not among it.
    lines = machine.run("sh", "-c", "grep -h ^Exec /etc/systemd/system/vassal*.service").stdout.splitlines()
    programs = {line.partition("=")[2].lstrip("-+").split()[0] for line in lines}
    assert programs == {"/usr/bin/uwsgi", "kill", "/bin/sh"}


def test_idle_ends_a_vassal_with_die_on_idle_and_the_workers_of_another(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("idle.ini", config("idle = 1", "die-on-idle = true"), address="/run/idle.sock")
    bridge.vassal("cheap.ini", config("idle = 1"), address="/run/cheap.sock")
    bridge.sync()
    cursor = machine.journal_cursor()
    first, first_cheap = bridge.app("uwsgi", "/run/idle.sock"), bridge.app("uwsgi", "/run/cheap.sock")

    bridge.wait("idle", "dead")
    assert machine.show("vassal-idle.service", "ActiveState") == "inactive"
    assert machine.show("vassal-idle.socket", "SubState") == "listening"
    assert bridge.processes("idle") == []
    second = bridge.app("uwsgi", "/run/idle.sock")
    assert {first["pid"], first["ppid"]}.isdisjoint({second["pid"], second["ppid"]})

    machine.wait_journal("cheap mode enabled", unit="vassal-cheap.service", since_cursor=cursor)
    assert [process.pid for process in bridge.processes("cheap")] == [first_cheap["ppid"]]
    second_cheap = bridge.app("uwsgi", "/run/cheap.sock")
    assert second_cheap["ppid"] == first_cheap["ppid"]
    assert second_cheap["pid"] != first_cheap["pid"]


def test_a_vassal_that_ends_after_every_answer_is_woken_by_every_request(machine: Machine, bridge: Bridge) -> None:
    machine.write(ENDING, ENDING_TEXT)
    machine.cleanups.append(lambda: machine.remove(ENDING))
    text = config(master=False).replace(APP, ENDING)
    bridge.vassal("ending.ini", text, address="/run/ending.sock")
    bridge.sync()
    asked = machine.run(PYTHON, "-c", ASK_OFTEN, "/run/ending.sock", "12").stdout
    answers: list[dict[str, Any]] = json.loads(asked)
    assert {answer["status"] for answer in answers} == {200}, answers
    assert len({json.loads(answer["body"]) for answer in answers}) == 12
    # On a slow machine the twelve are too far apart for systemd to count them: five starts in ten seconds.
    assert machine.show("vassal-ending.service", "StartLimitIntervalUSec") == "0"
    bridge.wait("ending", "dead")
    assert machine.show("vassal-ending.socket", "SubState") == "listening"


@pytest.mark.soak
def test_no_rate_of_wakes_kills_the_socket(machine: Machine, bridge: Bridge, counts: Counter[str]) -> None:
    machine.write(HASTY, HASTY_TEXT, mode=0o755)
    machine.cleanups.append(lambda: machine.remove(HASTY, "/run/hasty"))
    bridge.options += ["--binary-path", HASTY]
    bridge.vassal("hasty.ini", address="/run/hasty.sock")
    bridge.sync()
    cursor = machine.journal_cursor()
    bridge.app("uwsgi", "/run/hasty.sock", timeout=times(60))
    counts["wakes in quick succession"] += HASTY_WAKES
    entries = [entry for entry in machine.journal(cursor) if message(entry).startswith("Started vassal-hasty.service")]
    assert len(entries) == HASTY_WAKES + 1
    # A short run ends with a sleep: the two wakes that systemd allows take longer than this.
    assert machine.show("vassal-hasty.socket", "TriggerLimitIntervalUSec") == "500ms"
    assert machine.show("vassal-hasty.socket", "TriggerLimitBurst") == "2"
    at = [int(entry["_SOURCE_REALTIME_TIMESTAMP"]) for entry in entries]
    assert min(third - first for first, third in zip(at, at[2:], strict=False)) > 600_000
    assert machine.show("vassal-hasty.socket", "ActiveState") == "active"


def test_a_vassal_without_a_rule_runs_and_returns_after_a_crash(machine: Machine, bridge: Bridge) -> None:
    add_always(bridge)
    bridge.sync()
    before = {vassal: main_pid(machine, vassal) for vassal in ALWAYS}
    for address in ALWAYS.values():
        bridge.app("uwsgi", address)
    machine.run("kill", "-KILL", *before.values())
    for vassal, address in ALWAYS.items():
        machine.wait_unit(f"vassal-{vassal}.service", "NRestarts", "1")
        bridge.wait(vassal, "running")
        bridge.app("uwsgi", address)
        assert main_pid(machine, vassal) != before[vassal]


def test_the_target_stops_and_starts_all(machine: Machine, bridge: Bridge) -> None:
    add_always(bridge)
    bridge.vassal("early.ini", address="/run/early.sock")
    bridge.vassal("unasked.ini", address="/run/unasked.sock")
    bridge.sync()
    cursor = machine.journal_cursor()
    bridge.vassal("late.ini", address="/run/late.sock")
    bridge.vassal("later.ini", config("socket = 127.0.0.1:9103"))
    bridge.sync()
    assert [entry for entry in machine.journal(cursor) if "Reloading" in message(entry)] == []
    sockets, services = ("early", "late", "unasked"), ("master", "single", "later")
    for vassal in ("early", "late"):
        bridge.app("uwsgi", f"/run/{vassal}.sock")

    machine.run("systemctl", "stop", "vassals.target")
    for unit in (*(f"{name}.socket" for name in sockets), *(f"{name}.service" for name in (*sockets, *services))):
        machine.wait_unit(f"vassal-{unit}", "ActiveState", "inactive")
    assert running(machine) == set()
    assert "refused" in str(machine.request("uwsgi", ALWAYS["master"]).error)
    assert "No such file" in str(machine.request("uwsgi", "/run/late.sock").error)

    machine.run("systemctl", "start", "vassals.target")
    for name in sockets:
        assert machine.show(f"vassal-{name}.socket", "SubState") == "listening"
        bridge.app("uwsgi", f"/run/{name}.sock")
    for name, address in (*ALWAYS.items(), ("later", "127.0.0.1:9103")):
        bridge.wait(name, "running")
        bridge.app("uwsgi", address)


@pytest.mark.soak
def test_a_vassal_that_watches_its_own_config_is_not_reloaded_to_death(
    machine: Machine, bridge: Bridge, counts: Counter[str]
) -> None:
    lines = (f"touch-reload = {VASSALS}/self.ini", "exec-pre-app = true")
    path = bridge.vassal("self.ini", config(*lines), address="/run/self.sock")
    bridge.sync()
    master = bridge.app("uwsgi", "/run/self.sock")["ppid"]
    invocation = machine.show("vassal-self.service", "InvocationID")
    for _ in range(times(5)):
        counts["reloads of a vassal that reloads itself"] += 1
        cursor = machine.journal_cursor()
        machine.run("touch", path)
        # uWSGI looks at the file once a second: its own reload and the bridge's meet.
        bridge.sync()
        machine.wait_journal(r"\(RE\)spawned uWSGI master", unit="vassal-self.service", since_cursor=cursor, timeout=90)
        assert bridge.app("uwsgi", "/run/self.sock")["ppid"] == master
    assert machine.show("vassal-self.service", "InvocationID") == invocation
    assert machine.show("vassal-self.service", "ActiveState") == "active"
