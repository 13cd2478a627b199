"""Services that fail before their first program runs, or are never started: PID 1 and the journal stay quiet."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from .bridge import VASSALS, config
from .container import HERE
from .machine import message
from .process import kill
from .suite import PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import Popen

    from .bridge import Bridge
    from .machine import Entry, Machine

PLACE = "/srv/brake"
WINDOW = 30
"""Seconds in which a vassal that cannot start may cost little."""
ATTEMPTS, LINES, CPU = 10, 50, 0.1
"""What each vassal may cost in that time, and what share of a processor PID 1 may take for all twenty together."""
MANY = 100
"""Vassals with a false condition that are connected to at once."""
DROP_INS = {
    "assertion": f"[Unit]\nAssertPathExists={PLACE}/file\n",
    "binary": f"[Service]\nExecStart=\nExecStart={PLACE}/uwsgi --ini /srv/vassals/%s.ini\n",
    "condition": f"[Unit]\nConditionPathExists={PLACE}/file\n",
    "environment": f"[Service]\nEnvironmentFile={PLACE}/file\n",
    "folder": f"[Service]\nWorkingDirectory={PLACE}/folder\n",
    "masked": "[Unit]\nRequires=brake-masked.service\nAfter=brake-masked.service\n",
    "namespace": f"[Service]\nReadWritePaths={PLACE}/folder\n",
    "required": "[Unit]\nRequires=brake-required.service\nAfter=brake-required.service\n",
    "slow": "[Unit]\nRequires=brake-slow.service\nAfter=brake-slow.service\n",
    "user": "[Service]\nUser=brake\n",
}
"""A drop-in for each way in which a service cannot start."""
CLOSED = {"assertion", "condition", "masked", "required", "slow"}
"""systemd has to close the socket where no service fails, or where each attempt starts another unit."""
REQUIRED = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c '{}test -e /srv/brake/file'\n"
ATTEMPT = (
    r"Starting vassal-",
    r"Failed to run 'start' task",
    r"skipped because of an unmet condition",
    r"asserts failed",
    r"Dependency failed for vassal-",
    r"Failed to queue service startup job",
)
"""What the journal has of each attempt."""


@pytest.fixture
def broken(machine: Machine, bridge: Bridge) -> Iterator[Bridge]:
    """Vassals that cannot start, one of each kind, on demand and always, before the first sync."""
    units = "/etc/systemd/system"
    files = {
        f"{units}/brake-required.service": REQUIRED.format(""),
        f"{units}/brake-slow.service": REQUIRED.format("sleep 0.5; "),
        f"{units}/brake-masked.service": REQUIRED.format(""),
    }
    names = {f"{mode}-{kind}": kind for mode in ("wake", "always") for kind in DROP_INS}
    for name, kind in names.items():
        unit = machine.run("systemd-escape", name).stdout.strip()
        text = DROP_INS[kind].replace("%s", name)
        files[f"{units}/vassal-{unit}.service.d/brake.conf"] = text
    machine.write_many(files)
    machine.run("systemctl", "mask", "--runtime", "brake-masked.service")
    machine.remove(f"{units}/brake-masked.service")
    machine.run("systemctl", "daemon-reload")
    for name in names:
        on_demand = name.startswith("wake")
        text = config() if on_demand else config(f"socket = @{name}")
        bridge.vassal(f"{name}.ini", text, address=f"/run/{name}.sock" if on_demand else None)
    yield bridge
    bridge.run("remove", "--yes")
    machine.run("userdel", "brake", check=False)
    machine.run("systemctl", "unmask", "--runtime", "brake-masked.service")
    machine.run("systemctl", "stop", "brake-required.service", "brake-slow.service", check=False)
    machine.remove(PLACE, *(path if "vassal-" not in path else path.rpartition("/")[0] for path in files))
    machine.run("systemctl", "daemon-reload")


def mend(machine: Machine) -> None:
    """Put there what the vassals lack."""
    machine.run("useradd", "--system", "brake")
    machine.run("systemctl", "unmask", "--runtime", "brake-masked.service")
    machine.write("/etc/systemd/system/brake-masked.service", REQUIRED.format(""))
    machine.cleanups.append(lambda: machine.remove("/etc/systemd/system/brake-masked.service"))
    machine.run("mkdir", PLACE)
    machine.run("ln", "-s", VASSALS, f"{PLACE}/folder")
    machine.run("ln", "-s", "/usr/bin/uwsgi", f"{PLACE}/uwsgi")
    machine.run("systemctl", "daemon-reload")
    machine.write(f"{PLACE}/file", "")


def pid1_seconds(machine: Machine) -> float:
    """Return the processor time that PID 1 has used."""
    fields = machine.read("/proc/1/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ask(machine: Machine, name: str, timeout: int) -> Popen[bytes]:
    """Send a request to a vassal that is on demand."""
    address = f"/run/{name}.sock"
    client = machine.popen(PYTHON, str(HERE / "client.py"), f"--timeout={timeout}", "uwsgi", address)
    machine.cleanups.append(lambda: kill(client))
    return client


def costs(machine: Machine, entries: list[Entry]) -> tuple[Counter[str], Counter[str]]:
    """Return how many attempts and how many lines the journal has of each vassal, its pauses and its needs included."""
    attempts, lines = Counter[str](), Counter[str]()
    for entry in entries:
        unit = str(entry.get("UNIT") or entry.get("_SYSTEMD_UNIT"))
        label = unit.removeprefix("pause-").removeprefix("vassal-").rpartition(".")[0]
        name = machine.run("systemd-escape", "--unescape", label).stdout.strip() if "\\" in label else label
        lines[name] += 1
        attempts[name] += any(part in message(entry) for part in ATTEMPT)
    return attempts, lines


def watch_costs(machine: Machine) -> tuple[float, Counter[str], Counter[str]]:
    """Return the seconds that PID 1 used in a while, and each vassal's attempts and lines in the journal."""
    cursor, before = machine.journal_cursor(), pid1_seconds(machine)
    machine.run("sleep", str(WINDOW), timeout=WINDOW + 30)
    used = pid1_seconds(machine) - before
    return used, *costs(machine, machine.journal(cursor))


def expect_little(machine: Machine) -> None:
    """Check what the vassals cost for a while."""
    used, attempts, lines = watch_costs(machine)
    assert used < CPU * WINDOW
    assert {name: count for name, count in attempts.items() if count >= ATTEMPTS} == {}
    assert {name: count for name, count in lines.items() if count >= LINES} == {}


def test_a_vassal_that_cannot_be_started_costs_little(machine: Machine, broken: Bridge) -> None:
    broken.sync(status=1)
    clients = {kind: ask(machine, f"wake-{kind}", WINDOW) for kind in DROP_INS}
    expect_little(machine)
    closed = {kind for kind, client in clients.items() if json.loads(client.communicate()[0])["elapsed"] < WINDOW / 2}
    assert closed <= CLOSED
    # The clients are gone, but a queue still has their connections.
    expect_little(machine)

    waiting = {kind: ask(machine, f"wake-{kind}", 120) for kind in DROP_INS if kind not in CLOSED}
    mend(machine)
    for kind, client in waiting.items():
        answer = json.loads(client.communicate(timeout=150)[0])
        assert answer["status"] == 200, (kind, answer)
    for kind in CLOSED:
        machine.wait_unit(f"vassal-wake\\x2d{kind}.socket", "ActiveState", "active")
        broken.app("uwsgi", f"/run/wake-{kind}.sock")
    for kind in DROP_INS.keys() - {"assertion", "condition", "masked"}:
        machine.wait_unit(f"vassal-always\\x2d{kind}.service", "ActiveState", "active")


def test_many_conditions_that_are_false_cost_little(machine: Machine, bridge: Bridge) -> None:
    names = [f"many{number}" for number in range(MANY)]
    files = {f"/etc/systemd/system/vassal-{name}.service.d/brake.conf": DROP_INS["condition"] for name in names}
    machine.write_many(files)
    machine.cleanups.append(lambda: machine.remove(*(path.rpartition("/")[0] for path in files)))
    for name in names:
        bridge.vassal(f"{name}.ini", address=f"/run/{name}.sock")
    bridge.sync()
    # All at once: while systemd tries one, it does not try the others.
    connect = "import socket, sys, time\nopened = [socket.socket(socket.AF_UNIX) for _ in sys.argv[2:]]\n"
    connect += "for one, path in zip(opened, sys.argv[2:]):\n    one.connect(path)\ntime.sleep(float(sys.argv[1]))\n"
    addresses = [f"/run/{name}.sock" for name in names]
    client = machine.popen(PYTHON, "-c", connect, str(WINDOW), *addresses)
    machine.cleanups.append(lambda: kill(client))
    used, attempts, _ = watch_costs(machine)
    assert used < WINDOW / 3
    assert {name: count for name, count in attempts.items() if count >= ATTEMPTS} == {}


def test_status_check_and_the_journal_say_why(machine: Machine, watch: Bridge) -> None:
    folder = "/etc/systemd/system/vassal-a.service.d"
    machine.write(f"{folder}/env.conf", "[Service]\nEnvironmentFile=/srv/missing\n")
    machine.cleanups.append(lambda: machine.remove(folder))
    machine.run("systemctl", "daemon-reload")
    watch.vassal("a.ini", address="/run/a.sock")
    watch.wait("a", "listening")
    ask(machine, "a", 60)
    reason = f"its EnvironmentFile /srv/missing is missing, from drop-in {folder}/env.conf:2"
    watch.told(rf"a\.ini: throttled: next attempt in 4 s: {reason}")
    assert watch.status()["a.ini"]["problem"] == f"systemd cannot start it: {reason}"
    checked = watch.run("check", status=1).stdout
    assert (
        f"{folder}/env.conf:2: error: systemd cannot start it: its EnvironmentFile /srv/missing is missing" in checked
    )
