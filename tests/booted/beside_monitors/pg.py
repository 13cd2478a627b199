"""Rows of PostgreSQL that both the Emperor and the bridge are given."""

from __future__ import annotations

from typing import Any

from .model import (
    IDLE,
    LONG,
    MONGO_PORT,
    MOVED,
    MUTE_PORT,
    NEVER,
    OWN,
    PG,
    PG_FOLDER,
    PG_PORT,
    RUN,
    RUNS,
    SOCKET,
    TOP,
    UP,
    Case,
    Delete,
    Event,
    Imperial,
    Kill,
    Put,
    Server,
    Sql,
    Step,
    World,
    Write,
    config,
    ts,
)

SECRET = "oak-door-of-the-database"  # noqa: S105 - it is searched for
DIR = f"{TOP}/dir"
TABLE = "name text, config text, ts double precision, uid integer, gid integer, socket text"
COLUMNS = "name, config, ts, uid, gid, socket"
SCHEMA = f"""
CREATE TABLE main ({TABLE});
CREATE TABLE many ({TABLE});
CREATE TABLE beside ({TABLE});
CREATE TABLE tyrant ({TABLE});
CREATE TABLE lab_rows ({TABLE});
CREATE VIEW lab AS SELECT {COLUMNS}, 'more' AS more FROM lab_rows;
CREATE TABLE vassals (name text, config text, ts timestamptz);
CREATE TABLE environment (name text, config text, ts double precision);
CREATE TABLE stamps (name text, config text, ts timestamptz);
CREATE TABLE django (
    name varchar(255), config text, ts double precision, uid smallint, gid smallint, enabled boolean
);
CREATE ROLE web LOGIN PASSWORD '{SECRET}';
GRANT SELECT ON django TO web;
CREATE DATABASE semicolon;
"""
DJANGO = (
    f"pg://postgresql://web:{SECRET}@127.0.0.1:{PG_PORT}/postgres;"
    "SELECT name,config,ts FROM django WHERE enabled = True"
)
"""The query that django-uwsgi names, with its table."""
LOGIN_URI = f"mongodb://web:{SECRET}@127.0.0.1:{MONGO_PORT}/uwsgi?collection=nobody"
"""A URI with a password, which the Emperor takes for an address."""
MANY = 12


def row(
    mark: str = "one", *lines: str, seconds: float = 0, socket: str | None = SOCKET, **more: object
) -> dict[str, object]:
    """Return a row of the case."""
    return {"name": "NAME.ini", "config": config(mark, *lines), "ts": ts(seconds), "socket": socket, **more}


def put(mark: str = "one", *lines: str, table: str = "main", seconds: float = 0, **more: Any) -> Put:
    """Put a row of the case into a table."""
    return Put(table=table, row=row(mark, *lines, seconds=seconds, **more))


def always(table: str, mark: str = "one", *lines: str, name: str = "NAME.ini", **more: object) -> Put:
    """Put a row without the column of sockets into a table; the vassal has its own."""
    return Put(table=table, row={"name": name, "config": config(mark, OWN, *lines), **more})


CHANGES = (
    Case(
        name="pg-plain",
        steps=(
            Step((put(),), {"state": "waits", "path": "there", "answer": "one"}),
            Step((Delete(table="main"),), {"state": "none", "path": "gone", "answer": "no path"}),
        ),
    ),
    Case(
        name="pg-reload",
        steps=(Step((put(),), UP), Step((put("two", seconds=1),), {"answer": "two", "process": "reloaded"})),
    ),
    Case(
        name="pg-newer",
        steps=(Step((put(),), UP), Step((put(seconds=1),), {"answer": "one", "process": "reloaded"})),
    ),
    Case(name="pg-textonly", steps=(Step((put(),), UP), Step((put("two"),), {"answer": "two", "process": "reloaded"}))),
    Case(
        name="pg-textback",
        steps=(Step((put(),), UP), Step((put("two", seconds=-5),), {"answer": "two", "process": "reloaded"})),
    ),
    Case(
        name="pg-back",
        steps=(Step((put(),), UP), Step((put(seconds=-5),), {"answer": "one", "process": "same"})),
    ),
    Case(
        name="pg-fraction",
        steps=(
            Step((put(seconds=0.25),), UP),
            Step((put(seconds=0.75),), {"answer": "one", "process": "reloaded"}),
        ),
    ),
    Case(
        name="pg-nots",
        logs=("no time|timestamp", "no time of the last change"),
        steps=(
            Step((put(ts=None),), {**UP, "log": "told"}),
            Step((put("two", ts=None),), {"answer": "two"}),
        ),
    ),
    Case(
        name="pg-waiting",
        steps=(Step((put(),), {"state": "waits"}), Step((put("two", seconds=1),), {"state": "waits", "answer": "two"})),
    ),
    Case(
        name="pg-moved",
        steps=(
            Step((put(),), UP),
            Step((put("two", seconds=1, socket=MOVED),), {"answer": "no path", "moved": "two"}),
        ),
    ),
    Case(
        name="pg-movedonly",
        steps=(Step((put(),), UP), Step((put(socket=MOVED),), {"answer": "no path", "moved": "one"})),
    ),
    Case(
        name="pg-emptied",
        steps=(
            Step((put(),), UP),
            Step(
                (put("two", f"socket = {MOVED}", seconds=1, socket=""),),
                {"state": "runs", "answer": "no path", "moved": "two"},
            ),
        ),
    ),
    Case(name="pg-idle", steps=(Step((put("one", *IDLE),), UP), Step((), UP))),
    Case(name="pg-killed", steps=(Step((put(),), UP), Step((Kill(),), {"answer": "one", "process": "other"}))),
    Case(
        name="pg-owner",
        shows=("mark", "uid", "gid"),
        steps=(
            Step((put(uid=33, gid=33),), {"answer": "one 0 0"}),
            Step((put(uid=1, gid=1),), {"answer": "one 0 0", "process": "same"}),
        ),
    ),
)
"""What becomes of a row that changes."""

ROWS = (
    Case(name="pg-nullsocket", steps=(Step((put("one", OWN, socket=None),), RUNS),)),
    Case(name="pg-emptysocket", steps=(Step((put("one", OWN, socket=""),), RUNS),)),
    Case(
        name="pg-nullconfig",
        logs=("invalid config", r"pg-nullconfig\.ini.*row-text"),
        steps=(Step((put(config=None),), NEVER),),
    ),
    Case(
        name="pg-long",
        logs=("too (long|big)", r"pg-long\.ini.*row-long"),
        steps=(Step((put("one", *LONG, "env = MARK=two"),), {"answer": "two", "log": "told"}),),
    ),
    Case(name="pg-magic", steps=(Step((put("%n-%s-%e"),), {"answer": "pg-magic-pg-magic.ini-ini"}),)),
    Case(name="pg-magicpath", steps=(Step((put("%o"),), {"answer": "/MIRROR/configs/pg-magicpath.ini"}),)),
    Case(
        name="pg-magicfolder",
        steps=(Step((put("%d-%p"),), {"answer": "/MIRROR/configs/-/MIRROR/configs/pg-magicfolder.ini"}),),
    ),
    Case(
        name="pg-duplicate",
        logs=("several rows|same name|twice", r"pg-duplicate\.ini.*row-duplicate"),
        steps=(
            Step(
                (put(), Put(table="main", row=row("two", seconds=1, socket=MOVED), adds=True)),
                {"state": "waits", "answer": "two", "moved": "no path", "log": "told"},
            ),
        ),
    ),
    Case(name="pg-space", vassal="a NAME.ini", steps=(Step((put(name="a NAME.ini"),), UP),)),
    *(
        Case(
            name=f"pg-{name}",
            vassal=vassal,
            logs=(rf"(invalid|bad|skip|name).*pg-{name}", rf"pg-{name}.*row-name"),
            steps=(Step((put(name=vassal),), NEVER),),
        )
        for name, vassal in {
            "slash": "spa ce/../NAME.ini",
            "colon": "NAME:on.ini",
            "hidden": ".NAME.ini",
            "noext": "NAME",
            "otherext": "NAME.conf",
            "backup": "NAME.ini~",
            "uppercase": "NAME.INI",
            "toolong": f"NAME{'x' * 250}.ini",
        }.items()
    ),
    Case(
        name="pg-json",
        vassal="NAME.json",
        steps=(
            Step(
                (
                    put(
                        name="NAME.json",
                        config=f'{{"uwsgi": {{"plugin": "python3", "wsgi-file": "{TOP}/app.py", "env": "MARK=one"}}}}',
                    ),
                ),
                UP,
            ),
        ),
    ),
    Case(
        name="pg-yaml",
        vassal="NAME.yml",
        steps=(
            Step(
                (
                    put(
                        name="NAME.yml",
                        config=f"uwsgi:\n  plugin: python3\n  wsgi-file: {TOP}/app.py\n  env: MARK=one\n",
                    ),
                ),
                UP,
            ),
        ),
    ),
    Case(
        name="pg-xml",
        vassal="NAME.xml",
        steps=(
            Step(
                (
                    put(
                        name="NAME.xml",
                        config=f"<uwsgi>\n<plugin>python3</plugin>\n<wsgi-file>{TOP}/app.py</wsgi-file>\n"
                        "<env>MARK=one</env>\n</uwsgi>\n",
                    ),
                ),
                UP,
            ),
        ),
    ),
)
"""What a row may hold."""

QUERIES = (
    Case(
        name="pg-default",
        steps=(
            Step((always("vassals", ts="2026-01-01"),), RUNS),
            Step((always("vassals", "two", ts="2026-01-02"),), {"answer": "two", "process": "reloaded"}),
            Step((Delete(table="vassals"),), {"state": "none"}),
        ),
    ),
    Case(
        name="pg-alwaysidle",
        steps=(
            Step((always("vassals", "one", *IDLE, ts="2026-01-01"),), {"lives": "restarts"}),
            Step((Delete(table="vassals"),), {"state": "none"}),
        ),
    ),
    Case(
        name="pg-stamps",
        steps=(
            Step((always("stamps", ts="2026-01-01 10:00:00.5"),), RUNS),
            Step((always("stamps", "two", ts="2026-01-01 10:00:01.5"),), {"answer": "two", "process": "reloaded"}),
        ),
    ),
    Case(
        name="pg-django",
        steps=(
            Step(
                (always("django", ts=ts(0.5), enabled=True),), {"state": "runs", "answer": "one", "secret": "nowhere"}
            ),
            Step((always("django", "two", ts=ts(9.5), enabled=True),), {"answer": "two", "process": "reloaded"}),
            Step((always("django", "two", ts=ts(9.5), enabled=False),), {"state": "none"}),
        ),
    ),
    Case(
        name="pg-spoken",
        emperor="spoken",
        steps=(
            Step(
                (always("django", ts=ts(0.5), enabled=True),), {"state": "runs", "answer": "one", "secret": "nowhere"}
            ),
        ),
    ),
    Case(
        name="pg-environment",
        emperor="environment",
        logs=("libpq-error", "FROM environment.*cannot be asked since"),
        steps=(Step((always("environment", ts=ts(0)),), {"state": "none", "answer": "no path", "log": "told"}),),
    ),
    Case(
        name="pg-both",
        start=3,
        logs=("twice|same name", "pg-both.*name-conflict"),
        steps=(
            Step((put(),), UP),
            Step((put("two", table="many", seconds=1),), {"answer": "one", "process": "same", "log": "told"}),
        ),
    ),
    Case(
        name="pg-semicolon",
        logs=("libpq-error", "semicolon.*cannot be asked since"),
        steps=(
            Step((always("semicolon/vassals", ts="2026-01-01"),), {"state": "runs", "answer": "one", "log": "silent"}),
        ),
    ),
    Case(name="pg-cwd", shows=("mark", "cwd"), steps=(Step((put(),), {"answer": f"one {TOP}/cwd"}),)),
)
"""What is asked, and how."""

LAB = (
    Case(
        name="pg-lab",
        logs=('relation "lab" does not exist', "lab.*cannot be asked since"),
        steps=(
            Step((put(table="lab_rows"),), UP),
            Step((Sql("ALTER VIEW lab RENAME TO away"),), {"log": "told", "answer": "one", "process": "same"}),
            Step((Sql("CREATE VIEW lab AS SELECT name, config FROM lab_rows"),), RUNS),
            Step((Sql("DROP VIEW lab; ALTER VIEW away RENAME TO lab"),), {"answer": "one"}),
            Step((Sql("DELETE FROM lab_rows"),), {"state": "none", "answer": "no path"}),
            Step((put(table="lab_rows"),), UP),
        ),
    ),
    Case(
        name="pg-labwaits",
        steps=(
            Step((put(table="lab_rows"),), {"state": "waits"}),
            Step((), {"state": "waits"}),
            Step((), {"state": "waits"}),
            Step((), UP),
        ),
    ),
    Case(
        name="pg-many",
        logs=("MUTINY", "mass-removal"),
        steps=(
            Step(
                tuple(
                    put(table="many", name=f"NAME{one}.ini", socket=f"{RUN}/NAME{one}.sock")
                    for one in ("", *range(1, MANY))
                ),
                UP,
            ),
            Step(
                (Sql("ALTER TABLE many RENAME TO kept; CREATE TABLE many (LIKE kept)"),),
                {"state": "runs", "log": "told"},
            ),
            Step((Sql("DROP TABLE many; ALTER TABLE kept RENAME TO many"),), {"answer": "one"}),
        ),
    ),
)
"""What becomes of all rows of a query; the two of the first are few, the others many."""

DOWN = (
    Case(
        name="pg-downwaits",
        start=5,
        logs=("libpq-error: connection to server on socket", "main.*cannot be asked since"),
        steps=(
            Step((put(),), {"state": "waits"}),
            Step((), {"answer": "one", "log": "told"}),
        ),
        last={"answer": "one"},
    ),
    Case(
        name="pg-downidle",
        start=5,
        steps=(Step((put("one", *IDLE),), UP), Step((), UP)),
        last=UP,
    ),
    Case(name="pg-downback", start=7, steps=(Step((put(),), UP),)),
)
"""The server is stopped in round 6, and back in round 7; it is down when the Emperor and the daemon start again."""

DIRECTORY = (
    Case(
        name="pg-dircwd",
        emperor="directory",
        shows=("mark", "cwd"),
        steps=(Step((put(table="beside"),), {"answer": f"one {TOP}/cwd"}),),
    ),
    Case(
        name="pg-dirsame",
        emperor="directory",
        steps=(
            Step((put(table="beside"),), UP),
            Step((Write(f"{DIR}/NAME.ini", config("two")),), {"answer": "one", "process": "same"}),
        ),
    ),
    Case(
        name="pg-mute",
        emperor="mute",
        steps=(
            Step(
                (Write(f"{TOP}/mute/NAME.ini.socket", SOCKET), Write(f"{TOP}/mute/NAME.ini", config("one"))),
                {"answer": "one"},
            ),
        ),
    ),
)
"""A monitor beside a folder."""

PG_WORLD = World(
    name="pg",
    emperors=(
        Imperial(
            name="pg",
            plugins=("emperor_pg",),
            monitors=(
                f"pg://{PG};SELECT * FROM lab",
                f"pg://{PG};SELECT {COLUMNS} FROM many",
                f"pg://{PG}",
                f"pg://{PG};SELECT name,config,ts FROM stamps",
                DJANGO,
                f"pg://{PG.replace('dbname=postgres', 'dbname=semicolon')};",
                f"pg://{PG};SELECT {COLUMNS} FROM main",
            ),
        ),
        Imperial(
            name="directory",
            plugins=("emperor_pg",),
            monitors=(f"dir://{DIR}", f"pg://{PG};SELECT {COLUMNS} FROM beside"),
        ),
        Imperial(
            name="spoken", plugins=("emperor_pg", "emperor_mongodb"), monitors=(DJANGO, LOGIN_URI), in_arguments=True
        ),
        Imperial(
            name="environment",
            plugins=("emperor_pg",),
            monitors=("pg://;SELECT name,config,ts FROM environment",),
            environment=(f"PGHOST={PG_FOLDER}", f"PGPORT={PG_PORT}", "PGUSER=postgres"),
        ),
        Imperial(
            name="mute",
            plugins=("emperor_pg",),
            monitors=(f"dir://{TOP}/mute", f"pg://host=127.0.0.1 port={MUTE_PORT}"),
        ),
    ),
    cases=(*CHANGES, *ROWS, *QUERIES, *LAB, *DOWN, *DIRECTORY),
    beacon=(put(),),
    events={
        6: Event(
            acts=(Server("pg", "stop"),),
            logs=("libpq-error: connection to server on socket", "main.*cannot be asked since"),
            beacon=(),
        ),
        7: Event(acts=(Server("pg", "start"),)),
    },
)
