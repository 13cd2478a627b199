"""make demo-pg: a fleet of one on a private systemd. Its vassals are the rows of a table in a real PostgreSQL.

One site is inserted, woken, idles and waits again; one that runs always is changed; one is deleted.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .booted.bridge import Bridge
from .booted.database import Database
from .booted.service import TOML, WATCH, Service
from .demo import APP, COMMAND, ask, bridge, main, output, run, say_command, tell

if TYPE_CHECKING:
    from .booted.machine import Machine

SECRET_FILE = "/etc/emperor-bridge/fleet.secret"  # noqa: S105
PASSWORD = "letmein"  # noqa: S105
SETTINGS = f"""\
[[monitor]]
name = "fleet"
spec = "pg://host=127.0.0.1 dbname=postgres user=bridge;SELECT name, config, ts, uid, gid, socket FROM vassals"
password-file = "{SECRET_FILE}"
"""  # noqa: S608 - no statement is made here
TABLE = f"""\
CREATE TABLE vassals (
    name text PRIMARY KEY, config text, ts timestamptz DEFAULT now(), uid integer, gid integer, socket text);
CREATE ROLE bridge LOGIN PASSWORD '{PASSWORD}';
GRANT SELECT ON vassals TO bridge;
"""
BLOG = """\
INSERT INTO vassals (name, config, socket) VALUES ('blog.ini', '[uwsgi]
plugin = python3
wsgi-file = /srv/app.py
env = APP=blog
master = true
idle = 3
die-on-idle = true
', '/run/sites/blog.sock');
"""
SHOP = """\
INSERT INTO vassals (name, config, socket) VALUES ('shop.ini', '[uwsgi]
plugin = python3
wsgi-file = /srv/app.py
env = APP=shop
master = true
http-socket = 127.0.0.1:8080
', NULL);
"""
RENAME = "UPDATE vassals SET config = replace(config, 'APP=shop', 'APP=new-shop') WHERE name = 'shop.ini';\n"
DELETE = "DELETE FROM vassals WHERE name = 'blog.ini';\n"


def show(machine: Machine) -> None:
    service = Service(Bridge(machine))
    machine.write("/srv/app.py", APP)
    Database(machine).make()
    version = machine.run("psql", "--version").stdout.split()[2]
    tell(f"A private systemd is booted, with PostgreSQL {version}. One table is the fleet, and one role may read it:")
    sql(machine, TABLE)
    tell("A trigger tells of changes, so nobody has to ask every few seconds:")
    say_command("emperor-bridge pg-trigger vassals | psql")
    psql(machine, machine.run(COMMAND, "pg-trigger", "vassals").stdout)

    tell("The bridge is told where the table is. The password is in a file of root's.")
    machine.write(TOML, SETTINGS)
    machine.write(SECRET_FILE, PASSWORD, mode=0o600)
    run(machine, "cat", TOML)
    service.install()
    run(machine, "systemctl", "start", WATCH)
    machine.wait_unit("emperor-bridge-monitor-fleet.service", "ActiveState", "active")
    run(machine, "systemctl", "list-units", "--no-legend", "emperor-bridge*")

    tell("An INSERT is a site. This one has a socket, so it waits there, and no process of it runs:")
    sql(machine, BLOG)
    told(machine, "blog.ini: added")
    bridge(machine, "status")
    tell("A request wakes it:")
    ask(machine, "uwsgi", "/run/sites/blog.sock")
    bridge(machine, "status")
    tell("Now it idles: idle = 3 and die-on-idle end it, and systemd listens again.")
    machine.wait_unit("vassal-blog.service", "SubState", "dead", 30)
    bridge(machine, "status")
    tell("The next request is answered by a new process:")
    ask(machine, "uwsgi", "/run/sites/blog.sock")

    tell("A site without a socket in its row runs always. An UPDATE of its config reloads it:")
    sql(machine, SHOP)
    told(machine, "shop.ini: added")
    machine.wait_unit("vassal-shop.service", "SubState", "running")
    ask(machine, "http", "127.0.0.1:8080")
    sql(machine, RENAME)
    told(machine, "shop.ini: reloaded: read its config again")
    ask(machine, "http", "127.0.0.1:8080")

    tell("A DELETE removes it:")
    sql(machine, DELETE)
    told(machine, "blog.ini: removed")
    bridge(machine, "status")
    tell("And the way back: everything the bridge made goes, the table stays.")
    run(machine, "systemctl", "stop", WATCH)
    bridge(machine, "remove", "--yes")


def sql(machine: Machine, text: str) -> None:
    say_command("psql")
    output(text)
    psql(machine, text)


def psql(machine: Machine, text: str) -> None:
    output(machine.run("psql", "-v", "ON_ERROR_STOP=1", input=text.encode(), user="postgres").stdout)


def told(machine: Machine, words: str) -> None:
    """Wait until the daemon says this, and show it."""
    machine.wait_journal(words, unit=WATCH)
    run(machine, "journalctl", "-u", WATCH, "-o", "cat", "-g", words)


if __name__ == "__main__":
    sys.exit(main(show))
