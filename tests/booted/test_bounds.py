"""What one vassal may cost the others: an app that does not end, is never ready, or notifies systemd in a loop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from .bridge import VASSALS, config
from .machine import message

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

PROMPT = 5.0
"""Seconds within which the change of one vassal must be in force, whatever another does."""
STUBBORN = "/srv/app/stubborn.py"
STUBBORN_TEXT = """\
import os, signal, socket, threading, time

def tell(text):
    name = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.connect("\\0" + name[1:] if name.startswith("@") else name)
        client.send(text.encode())

def extend():
    while True:
        tell("EXTEND_TIMEOUT_USEC=600000000")
        time.sleep(1)

def reload():
    while True:
        tell("RELOADING=1")
        tell("READY=1")
        # Faster still, the PID 1 of a slow machine reads only these messages, and answers nobody.
        time.sleep(0.002)

def status():
    while True:
        tell("STATUS=" + str(time.monotonic()))
        time.sleep(0.002)

def application(environ, start_response):
    kind = environ["PATH_INFO"].strip("/")
    if kind in ("extend", "reload", "status"):
        threading.Thread(target=globals()[kind], daemon=True).start()
    if kind in ("ignore", "extend"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [kind.encode()]
"""
NEVER_READY = "/srv/app/never.py"


@pytest.fixture(autouse=True)
def apps(machine: Machine) -> None:
    machine.write(STUBBORN, STUBBORN_TEXT)
    machine.write(NEVER_READY, "import time\ntime.sleep(1000)\n")
    machine.cleanups.append(lambda: machine.remove(STUBBORN, NEVER_READY))


def stubborn(bridge: Bridge, address: str) -> str:
    text = config("enable-threads = true", master=False).replace("/srv/app/app.py", STUBBORN)
    return bridge.vassal("stubborn.ini", text, address=address)


def move(bridge: Bridge, *moves: tuple[str, str]) -> float:
    """Give vassals other addresses, and return when."""
    bridge.machine.write_many({f"{VASSALS}/{name}.ini.socket": f"{address}\n" for name, address in moves})
    return time.monotonic()


def wait_for_answer(bridge: Bridge, address: str, since: float, within: float) -> None:
    """Ask until the app answers, which must be soon."""
    while True:
        response = bridge.machine.request("uwsgi", address, timeout=within)
        if response.status == 200:
            break
        assert time.monotonic() - since < within, response
    assert time.monotonic() - since < within


@pytest.mark.parametrize("how", ["ignore", "extend"])
def test_nobody_waits_for_an_app_that_does_not_end(machine: Machine, watch: Bridge, how: str) -> None:
    stubborn(watch, "/run/s1.sock")
    watch.vassal("victim.ini", address="/run/v1.sock")
    watch.wait("stubborn", "listening")
    watch.wait("victim", "listening")
    assert machine.request("uwsgi", "/run/s1.sock", f"/{how}").status == 200
    pid = machine.show("vassal-stubborn.service", "MainPID")
    watch.app("uwsgi", "/run/v1.sock")
    cursor = machine.journal_cursor()
    # In the same burst, then while the other is waited for.
    wait_for_answer(
        watch, "/run/v2.sock", move(watch, ("stubborn", "/run/s2.sock"), ("victim", "/run/v2.sock")), PROMPT
    )
    assert machine.show("vassal-stubborn.service", "MainPID") == pid
    # systemd can run what follows a stop only while the socket is open.
    assert not [one for one in map(message, machine.journal(cursor)) if "Got no socket" in one]
    wait_for_answer(watch, "/run/v3.sock", move(watch, ("victim", "/run/v3.sock")), PROMPT)
    # It is killed, and answers at its new address.
    watch.wait("stubborn", "listening")
    wait_for_answer(watch, "/run/s2.sock", time.monotonic(), 30)
    assert machine.show("vassal-stubborn.service", "MainPID") != pid
    # Its removal keeps nobody waiting either.
    assert machine.request("uwsgi", "/run/s2.sock", f"/{how}").status == 200
    machine.remove(f"{VASSALS}/stubborn.ini", f"{VASSALS}/stubborn.ini.socket")
    wait_for_answer(watch, "/run/v4.sock", move(watch, ("victim", "/run/v4.sock")), PROMPT)
    watch.told("stubborn.ini: removed")
    machine.wait_unit("vassal-stubborn.service", "ActiveState", "inactive", 30)
    watch.unwatch()
    assert "nothing to do" in watch.sync().stdout


def test_sync_kills_what_does_not_end_and_does_all_else_first(machine: Machine, bridge: Bridge) -> None:
    stubborn(bridge, "/run/s1.sock")
    bridge.vassal("victim.ini", address="/run/v1.sock")
    bridge.sync()
    assert machine.request("uwsgi", "/run/s1.sock", "/extend").status == 200
    began = move(bridge, ("stubborn", "/run/s2.sock"), ("victim", "/run/v2.sock"))
    process = bridge.start("sync")
    wait_for_answer(bridge, "/run/v2.sock", began, PROMPT)
    assert process.wait(timeout=60) == 0
    assert time.monotonic() - began < 30
    assert machine.request("uwsgi", "/run/s2.sock").status == 200
    assert "nothing to do" in bridge.sync().stdout


def test_an_app_that_is_never_ready_keeps_nobody_waiting(machine: Machine, watch: Bridge) -> None:
    watch.vassal("victim.ini", address="/run/v1.sock")
    watch.wait("victim", "listening")
    for number in range(2):
        watch.vassal(f"never{number}.ini", config(f"socket = @never{number}").replace("/srv/app/app.py", NEVER_READY))
        wait_for_answer(watch, f"/run/n{number}.sock", move(watch, ("victim", f"/run/n{number}.sock")), PROMPT)
    machine.wait_unit("vassal-never1.service", "ActiveState", "activating")


@pytest.mark.parametrize("how", ["reload", "status"])
def test_an_app_that_notifies_in_a_loop_costs_little(machine: Machine, watch: Bridge, how: str) -> None:
    stubborn(watch, "/run/s1.sock")
    watch.vassal("victim.ini", address="/run/v1.sock")
    watch.wait("stubborn", "listening")
    watch.wait("victim", "listening")
    cursor = machine.journal_cursor()
    assert machine.request("uwsgi", "/run/s1.sock", f"/{how}").status == 200
    if how == "reload":
        watch.told(r"stubborn.ini: reloaded: .* \(at least \d+ times\)", cursor)
    pid = machine.show("bridge-watch.service", "MainPID")
    before, began = ticks(machine, pid), time.monotonic()
    wait_for_answer(watch, "/run/v2.sock", move(watch, ("victim", "/run/v2.sock")), PROMPT)
    # A span to measure in, not to wait for anything.
    machine.run("sleep", "5")
    elapsed = time.monotonic() - began
    assert ticks(machine, pid) - before < 100 * elapsed / 2
    told = [e for e in machine.journal(cursor, "bridge-watch.service") if "stubborn.ini: reloaded" in str(e["MESSAGE"])]
    assert len(told) < 15 + 2 * elapsed
    machine.run("systemctl", "kill", "--signal=KILL", "vassal-stubborn.service")
    watch.told("stubborn.ini: (crashed|waiting)", cursor)


def ticks(machine: Machine, pid: str) -> int:
    fields = machine.read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_what_runs_note_is_roots_alone_and_a_user_sees_the_status_all_the_same(
    machine: Machine, bridge: Bridge, tenants: None
) -> None:
    del tenants
    bridge.vassal("victim.ini", address="/run/v1.sock")
    bridge.sync()
    assert machine.run("stat", "-c", "%a %U", "/run/emperor-bridge").stdout == "700 root\n"
    shown = machine.run(*bridge.command("status"), user="alice")
    assert "/run/v1.sock" in shown.stdout
    assert "listening" in shown.stdout
