"""Limits: a crawler that wakes all sites at once starts a few of them, and the rest wait in their queues."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import pytest

from .bridge import config
from .container import HERE
from .machine import message
from .process import kill
from .suite import PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterable
    from subprocess import Popen

    from .bridge import Bridge
    from .machine import Entry, Machine

SITES = 12
MOST = 3
DIES = ("idle = 1", "die-on-idle = true")


def ask_all(machine: Machine, names: Iterable[str], timeout: int = 120) -> dict[str, Popen[bytes]]:
    """Send each vassal a request at the same time."""
    clients = {}
    for name in names:
        argv = (str(HERE / "client.py"), f"--timeout={timeout}", "uwsgi", f"/run/{name}.sock")
        clients[name] = machine.popen(PYTHON, *argv)
        machine.cleanups.append(partial(kill, clients[name]))
    return clients


def answered(client: Popen[bytes]) -> bool:
    answer = json.loads(client.communicate(timeout=150)[0])
    return bool(answer["status"] == 200)


def most_at_once(entries: list[Entry], begin: str, ends: tuple[str, ...]) -> int:
    """Return how many vassals were between two messages at the same time."""
    now: set[str] = set()
    most = 0
    for entry in entries:
        text, unit = message(entry), str(entry.get("UNIT") or entry.get("_SYSTEMD_UNIT"))
        if begin in text:
            now.add(unit)
        elif any(end in text for end in ends):
            now.discard(unit)
        most = max(most, len(now))
    return most


def sites(bridge: Bridge) -> list[str]:
    names = [f"site{number}" for number in range(SITES)]
    for name in names:
        bridge.vassal(f"{name}.ini", config(*DIES), address=f"/run/{name}.sock")
    return names


def test_no_more_vassals_run_than_may(machine: Machine, bridge: Bridge) -> None:
    bridge.options += ["--max-running", str(MOST)]
    names = sites(bridge)
    bridge.sync()
    cursor = machine.journal_cursor()
    clients = ask_all(machine, names)
    assert all(answered(client) for client in clients.values())
    entries = machine.journal(cursor)
    assert most_at_once(entries, "*** Starting uWSGI", ("goodbye to uWSGI",)) <= MOST
    assert sum("*** Starting uWSGI" in message(entry) for entry in entries) == SITES
    bridge.run("remove", "--yes")
    assert not machine.exists("/run/emperor-bridge")


def test_no_more_vassals_start_than_may(machine: Machine, bridge: Bridge) -> None:
    bridge.options += ["--max-starting", str(MOST)]
    names = sites(bridge)
    bridge.sync()
    cursor = machine.journal_cursor()
    clients = ask_all(machine, names)
    assert all(answered(client) for client in clients.values())
    # The next may start before systemd tells that this one has.
    assert most_at_once(machine.journal(cursor), "*** Starting uWSGI", ("WSGI app 0",)) <= MOST


def test_a_vassal_that_waits_can_be_stopped_and_a_killed_one_leaves_its_place(machine: Machine, bridge: Bridge) -> None:
    bridge.options += ["--max-running", "1"]
    for name in ("first", "second", "third"):
        bridge.vassal(f"{name}.ini", address=f"/run/{name}.sock")
    bridge.sync()
    bridge.app("uwsgi", "/run/first.sock")
    ask_all(machine, ["second"])
    machine.wait_unit("vassal-second.service", "SubState", "start-pre")
    waiting = ask_all(machine, ["third"])["third"]
    machine.wait_unit("vassal-third.service", "SubState", "start-pre")
    assert bridge.status()["third.ini"]["state"] == "starting"
    machine.run("systemctl", "stop", "vassal-second.socket", "vassal-second.service", timeout=30)
    assert waiting.poll() is None
    machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "vassal-first.service")
    assert answered(waiting)
    assert machine.show("vassal-second.service", "ActiveState") in {"inactive", "failed"}


@pytest.mark.usefixtures("tenants")
def test_one_tenant_leaves_half_of_the_places(machine: Machine, bridge: Bridge) -> None:
    bridge.options += ["--emperor-tyrant", "--max-running", "2"]
    for name, owner in {"a1": "alice", "a2": "alice", "b1": "bob"}.items():
        path = bridge.vassal(f"{name}.ini", address=f"@{name}")
        machine.run("chown", f"{owner}:{owner}", path, f"{path}.socket")
    bridge.sync()
    bridge.app("uwsgi", "@a1")
    client = machine.popen(PYTHON, str(HERE / "client.py"), "--timeout=120", "uwsgi", "@a2")
    machine.cleanups.append(partial(kill, client))
    machine.wait_unit("vassal-a2.service", "SubState", "start-pre")
    bridge.app("uwsgi", "@b1")
    assert client.poll() is None
    machine.run("systemctl", "stop", "vassal-a1.service")
    assert answered(client)
