"""A vassal that cannot start: connections wait, attempts are spaced out, and mending it is all there is to do."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

from bridge.units.render import DEFAULT_THROTTLE

from .bridge import APP, VASSALS, config
from .container import HERE
from .machine import message
from .process import kill
from .suite import PYTHON

if TYPE_CHECKING:
    from subprocess import Popen

    from .bridge import Bridge
    from .machine import Machine

ADDRESSES = {"unix": "/run/broken.sock", "tcp": "127.0.0.1:9301"}
MENDED = config("need-app = true")
NO_FILE = MENDED.replace(APP, "/srv/app/missing.py")
NO_MODULE = MENDED.replace(f"wsgi-file = {APP}", "pythonpath = /srv/app\nmodule = missing")


def starts(machine: Machine, cursor: str, vassal: str) -> list[float]:
    """Return when systemd started a vassal since then, in seconds."""
    begin = f"Starting vassal-{vassal}.service"
    entries = [entry for entry in machine.journal(cursor) if message(entry).startswith(begin)]
    return [int(entry["_SOURCE_REALTIME_TIMESTAMP"]) / 1e6 for entry in entries]


def are_spaced_out(times: list[float]) -> bool:
    """Tell whether each attempt came later after the one before than that after its own."""
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return all(gap >= number * DEFAULT_THROTTLE.step for number, gap in enumerate(gaps, start=1))


def ask(machine: Machine, address: str) -> Popen[bytes]:
    """Send a request that waits minutes for its answer."""
    client = machine.popen(PYTHON, str(HERE / "client.py"), "--timeout=300", "uwsgi", address)
    machine.cleanups.append(lambda: kill(client))
    return client


def test_a_connection_waits_until_the_vassal_is_mended(machine: Machine, bridge: Bridge) -> None:
    cursor = machine.journal_cursor()
    paths = [
        bridge.vassal("unix.ini", NO_FILE, address=ADDRESSES["unix"]),
        bridge.vassal("tcp.ini", NO_MODULE, address=ADDRESSES["tcp"]),
    ]
    bridge.sync()
    clients = {vassal: ask(machine, address) for vassal, address in ADDRESSES.items()}
    for vassal, client in clients.items():
        latest = cursor
        for _ in range(3):
            entry = machine.wait_journal("GAME OVER", unit=f"vassal-{vassal}.service", since_cursor=latest)
            latest = entry["__CURSOR"]
        attempts = starts(machine, cursor, vassal)
        assert len(attempts) >= 3
        assert are_spaced_out(attempts), attempts
        assert machine.show(f"vassal-{vassal}.socket", "ActiveState") == "active"
        assert client.poll() is None

    machine.write_many(dict.fromkeys(paths, MENDED))
    for vassal, client in clients.items():
        answer = json.loads(client.communicate(timeout=120)[0])
        assert answer["status"] == 200, answer
        assert machine.show(f"vassal-{vassal}.socket", "ActiveState") == "active"
        attempts = starts(machine, cursor, vassal)
        assert are_spaced_out(attempts), attempts


def test_a_changed_config_and_retry_end_the_pause(machine: Machine, bridge: Bridge) -> None:
    bridge.options += ["--emperor-throttle", "170000"]
    paths = {vassal: bridge.vassal(f"{vassal}.ini", NO_FILE, address=at) for vassal, at in ADDRESSES.items()}
    bridge.sync()
    clients = {vassal: ask(machine, address) for vassal, address in ADDRESSES.items()}
    for vassal in ADDRESSES:
        machine.wait_unit(f"pause-vassal-{vassal}.service", "ActiveState", "active")
    assert {row["state"] for row in bridge.status().values()} == {"failed"}

    machine.write(paths["unix"], MENDED)
    bridge.sync()
    assert json.loads(clients["unix"].communicate(timeout=60)[0])["status"] == 200
    # What it includes was mended, so its config is as old as before.
    machine.write(APP.replace("app.py", "missing.py"), machine.read(APP))
    machine.write("/srv/app/missing/__init__.py", machine.read(APP))
    machine.cleanups.append(lambda: machine.remove("/srv/app/missing.py", "/srv/app/missing"))
    assert bridge.run("retry", "tcp").stdout == "tcp.ini: retried\n"
    assert json.loads(clients["tcp"].communicate(timeout=60)[0])["status"] == 200


def test_a_pause_delays_no_stop(machine: Machine, bridge: Bridge) -> None:
    bridge.options += ["--emperor-throttle", "170000"]
    bridge.vassal("unix.ini", NO_FILE, address=ADDRESSES["unix"])
    bridge.sync()
    ask(machine, ADDRESSES["unix"])
    machine.wait_unit("pause-vassal-unix.service", "ActiveState", "active")
    machine.run("systemctl", "stop", "vassals.target", timeout=60)
    assert machine.show("vassal-unix.service", "ActiveState") in {"failed", "inactive"}
    assert machine.show("pause-vassal-unix.service", "ActiveState") == "inactive"


def test_without_a_connection_there_is_no_attempt(machine: Machine, bridge: Bridge) -> None:
    cursor = machine.journal_cursor()
    path = bridge.vassal("unix.ini", NO_FILE, address=ADDRESSES["unix"])
    bridge.sync()
    assert starts(machine, cursor, "unix") == []
    machine.run("systemctl", "start", "vassal-unix.service", check=False)
    # From here on nothing is pending: only a connection could start it again.
    machine.wait_unit("vassal-unix.service", "ActiveState", "failed")
    assert machine.show("vassal-unix.service", "Job") == ""
    assert machine.show("vassal-unix.socket", "SubState") == "listening"
    assert len(starts(machine, cursor, "unix")) == 1

    machine.write(path, MENDED)
    bridge.app("uwsgi", ADDRESSES["unix"])


def test_an_emperors_ini_says_how_long_the_pauses_are(machine: Machine, bridge: Bridge) -> None:
    ini = "/srv/throttle.ini"
    lines = ("emperor-on-demand-ext = .socket", "emperor-throttle = 60000", "emperor-max-throttle = 45000")
    machine.write(ini, "\n".join(["[uwsgi]", f"emperor = {VASSALS}", *lines, ""]))
    # The bridge is told to take everything away before, and reads it for that.
    machine.cleanups.insert(0, lambda: machine.remove(ini))
    bridge.options = ["--emperor-ini", ini]
    bridge.vassal("unix.ini", NO_FILE, address=ADDRESSES["unix"])
    bridge.sync()
    ask(machine, ADDRESSES["unix"])
    machine.wait_unit("pause-vassal-unix.service", "ActiveState", "active")
    assert [one.command for one in machine.processes("pause-vassal-unix.service")] == ["/usr/bin/sleep 45"]
