"""The bridge with as many rows of a real PostgreSQL as there are files elsewhere."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from tests.booted.database import Database
from tests.booted.service import TOML, WATCH

from . import layout
from .contestants import REPEAT, UNHURRIED, change, install_watch
from .lap import LapError
from .measures import QUIET, Who

if TYPE_CHECKING:
    from .lap import Lap

FEEDER = "emperor-bridge-monitor-fleet.service"
MIRROR, ASIDE = "/var/lib/emperor-bridge/monitors", "/var/lib/monitors-aside"
SETTINGS = """\
[[monitor]]
name = "fleet"
spec = "pg://dbname=postgres;SELECT name, config, ts, uid, gid, socket FROM vassals"
user = "postgres"
"""
TABLE = "CREATE TABLE vassals (name text PRIMARY KEY, config text, ts timestamptz, uid int, gid int, socket text);"
PSQL = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "psql", "-qXd", "postgres", "-c")


def from_rows(lap: Lap) -> None:
    """Measure the daemon, run as its unit: the first fill, then with the mirror that it left, after a reboot."""
    database = Database(lap.machine)
    database.make()
    start = install_watch(lap)
    lap.machine.write(TOML, SETTINGS)
    bridge = lap.version.command
    database.sql(TABLE + lap.machine.run(bridge, "pg-trigger").stdout + rows(lap.task.size))
    bring_up(lap, "rows-first", start)
    # The mirror without the units that were made from it, and a PID 1 that has never had them.
    keep = [["cp", "-a", MIRROR, ASIDE], ["systemctl", "stop", WATCH], [bridge, "remove", "--yes"]]
    actions = [["run", argv] for argv in (*keep, ["rm", "-rf", MIRROR], ["mv", ASIDE, MIRROR])]
    lap.agent("do", actions=actions, timeout=lap.task.timeout)
    lap.machine.reboot()
    database.control("restart")
    bring_up(lap, "rows-up", start)
    pids = {Who.ROWS: int(lap.machine.show(WATCH, "MainPID")), Who.FEEDER: int(lap.machine.show(FEEDER, "MainPID"))}
    lap.daemon = pids[Who.ROWS]
    changes(lap)
    at_rest(lap, {**pids, Who.SYSTEMD: 1})


def rows(size: int) -> str:
    """Return SQL that inserts what :func:`layout.vassal` has in files."""
    columns = f"'v' || n || '.ini', $x${layout.config()}$x$, now(), '{layout.SOCKETS}/v' || n || '.sock'"
    insert = "INSERT INTO vassals (name, config, ts, socket)"
    return f"{insert} SELECT {columns} FROM generate_series(0, {size - 1}) AS n;"  # noqa: S608


def bring_up(lap: Lap, measure: str, start: list[str]) -> None:
    """Start the daemon and wait until all sockets listen."""
    lap.agent("populate", size=0, idle=layout.AWAKE, kind="")
    done = False
    with lap.taking(measure):
        times = lap.agent("bring_up", argv=start, size=lap.task.size, timeout=lap.task.timeout)
        lap.add(measure, times["done"])
        done = True
    if not done:
        raise LapError


def changes(lap: Lap) -> None:
    """Measure the time from the UPDATE of one row, psql's own start included, until its new address listens."""
    name = layout.name_of(0)
    addresses = [layout.address_of(name), *(layout.address_of(f"{name}-{number}") for number in range(REPEAT))]
    for old, new in pairwise(addresses):
        sql = f"UPDATE vassals SET socket = '{new}', ts = now() WHERE name = '{name}.ini'"  # noqa: S608
        with lap.taking("rows-change"):
            timed: list[object] = [["run", [*PSQL, sql]]]
            lap.add("rows-change", change(lap, timed=timed, listens=[new], gone=old, pause=UNHURRIED, seed=new))


def at_rest(lap: Lap, pids: dict[Who, int]) -> None:
    """Measure what the processes take: memory, and once the processor's time while nothing happens."""
    results, size = lap.task.results, lap.task.size
    with lap.taking("rows-memory"):
        for who, pid in pids.items():
            for kind, taken in lap.agent("memory", pid=pid).items():
                results.add(f"rows-{kind}", who, size, [taken])
    if lap.task.first:
        with lap.taking("rows-idle"):
            for who, ticks in zip(pids, lap.agent("ticks", pids=list(pids.values()), seconds=QUIET), strict=True):
                results.add("rows-idle", who, size, [ticks])
