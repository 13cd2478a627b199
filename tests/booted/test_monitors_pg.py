"""Vassals in a real PostgreSQL, the whole way: a table, a trigger, and sites that wake."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from .database import Database
from .suite import COMMAND

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

TOML = "/etc/fleet.toml"
SECRET = "hushOfTheFleet"  # noqa: S105
IDLE = ("idle = 1", "die-on-idle = true", "cheap = true")
MONITOR = """\
[[monitor]]
name = "fleet"
spec = "pg://host=127.0.0.1 dbname=postgres user=web;\
SELECT name, config, EXTRACT(epoch FROM ts), uid, gid, socket FROM vassals"
password-file = "/etc/fleet.secret"
"""
TABLE = f"""\
CREATE TABLE vassals (
    name text, config text, ts timestamptz DEFAULT now(), uid integer, gid integer, socket text
);
CREATE ROLE web LOGIN PASSWORD '{SECRET}';
GRANT SELECT ON vassals TO web;
"""
SOON = 5.0
"""Seconds in which a change must be in force; the manual says half a second for the notification alone."""


@pytest.fixture
def database(machine: Machine, bridge: Bridge) -> Database:
    """A table of vassals that tells of its changes, and a bridge.toml that names it."""
    machine.write_many({"/etc/fleet.secret": f"{SECRET}\n", TOML: MONITOR}, mode=0o600)
    machine.cleanups.insert(0, lambda: machine.remove(TOML, "/etc/fleet.secret", "/var/lib/emperor-bridge"))
    made = Database(machine)
    made.make()
    machine.cleanups.insert(0, made.remove)
    made.sql(TABLE + machine.run(COMMAND, "pg-trigger").stdout)
    bridge.options = ["--config", TOML]
    return made


def test_a_row_is_a_site_that_wakes_moves_and_goes(machine: Machine, bridge: Bridge, database: Database) -> None:
    database.put("always.ini", None, "socket = 127.0.0.1:9321")
    bridge.watch()
    bridge.wait("always", "running")
    bridge.app("uwsgi", "127.0.0.1:9321")

    database.put("a.ini", "/run/a.sock", *IDLE)
    bridge.told(r"^a\.ini: added", timeout=SOON)
    first = bridge.app("uwsgi", "/run/a.sock")
    bridge.wait("a", "dead")
    assert machine.show("vassal-a.socket", "SubState") == "listening"
    assert bridge.app("uwsgi", "/run/a.sock")["ppid"] != first["ppid"]

    database.sql("UPDATE vassals SET socket = '/run/b.sock' WHERE name = 'a.ini';")
    machine.wait_unit("vassal-a.socket", "Listen", "[('Stream', '/run/b.sock')]")
    bridge.app("uwsgi", "/run/b.sock")

    database.sql("DELETE FROM vassals WHERE name = 'a.ini';")
    bridge.told(r"^a\.ini: removed")
    bridge.app("uwsgi", "127.0.0.1:9321")


def test_sites_go_on_without_their_database(machine: Machine, bridge: Bridge, database: Database) -> None:
    database.put("a.ini", "/run/a.sock")
    database.put("b.ini", "/run/b.sock")
    bridge.watch()
    bridge.wait("b", "listening")
    running = bridge.app("uwsgi", "/run/a.sock")
    database.control("stop", "-m", "immediate")
    bridge.told("fleet: error: as of .*; cannot be asked since ")
    assert bridge.app("uwsgi", "/run/a.sock")["pid"] == running["pid"]
    bridge.app("uwsgi", "/run/b.sock")
    assert "cannot be asked since" in bridge.run("status").stdout

    began = time.monotonic()
    database.control("start")
    database.sql("DELETE FROM vassals WHERE name = 'b.ini';")
    bridge.told(r"^b\.ini: removed", timeout=30)
    assert time.monotonic() - began < 30

    bridge.unwatch()
    database.control("stop", "-m", "immediate")
    assert "cannot be asked" in bridge.sync(status=1).stderr
    bridge.app("uwsgi", "/run/a.sock")
    everything = machine.run(
        "sh", "-c", "journalctl --no-pager; systemctl show '*'; cat /etc/systemd/system/vassal*; ps axww", check=False
    ).stdout
    assert SECRET not in everything
