"""Passwords of databases and brokers in every place that can hold one: they work, and nobody else sees them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import zmq

from .bridge import Bridge, config
from .database import Database
from .service import TOML, WATCH, Service
from .suite import COMMAND, PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .machine import Machine

CLIENTS = "/etc/emperor-bridge/curve.clients"
WEB = "/var/lib/web"
"""The home of the user as whom two of the databases are asked."""
PG = ("words", "url", "file", "credential", "passfile", "service")
"""What logs in to PostgreSQL, each with a password of its own, and has one site."""
PASSFILES = {"pgpass": "passfile", ".pgpass": "service"}
SECRETS = {name: f"hush{name.capitalize()}Of@Fleet" for name in (*PG, "amqp", "mongodb", "mongodb2")}
OWN, FRIEND, STRANGER = ([key.decode() for key in zmq.curve_keypair()] for _ in range(3))
"""Pairs of CURVE's keys, the public one first."""
TABLE = f"""\
CREATE TABLE vassals (
    name text, config text, ts timestamptz DEFAULT now(), uid integer, gid integer, socket text
);
{"".join(f"CREATE ROLE {name} LOGIN PASSWORD '{SECRETS[name]}'; GRANT SELECT ON vassals TO {name};" for name in PG)}
"""
SEND = """
import json, sys, zmq
server, public, secret, message = json.load(sys.stdin)
context = zmq.Context()
end = context.socket(zmq.PUSH)
end.curve_serverkey, end.curve_publickey, end.curve_secretkey = server.encode(), public.encode(), secret.encode()
end.connect("tcp://127.0.0.1:5252")
end.send_multipart([part.encode() for part in message])
context.destroy(linger=int(sys.argv[1]))
"""
AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
PLACES = ("/etc/systemd", "/run", "/var/lib", "/usr/local/lib/systemd")


def escaped(name: str) -> str:
    """Return a password as a URL has it in a bridge.toml, where ``%`` is written twice."""
    return SECRETS[name].replace("@", "%%40")


def settings() -> str:
    """Return a bridge.toml with a password, or where one is, in every way that there is."""
    query = {name: f"SELECT name, config, ts, uid, gid, socket FROM vassals WHERE name = '{name}.ini'" for name in PG}  # noqa: S608
    words = {name: f"pg://host=127.0.0.1 dbname=postgres user={name}" for name in PG}
    specs = [
        f"{words['words']} password={SECRETS['words']};{query['words']}",
        f"pg://postgresql://url:{escaped('url')}@127.0.0.1/postgres;{query['url']}",
        # Nothing listens there: what cannot be reached is told most about.
        f"amqp://web:{escaped('amqp')}@127.0.0.1:1/fleet",
        f"mongodb://web:{escaped('mongodb')}@127.0.0.1:1/sites",
        f"mongodb2://addr=127.0.0.1:1,coll=sites.vassals,username=web,password={SECRETS['mongodb2']}",
    ]
    tables = [
        ("file", f"{words['file']};{query['file']}", 'password-file = "/etc/emperor-bridge/file.secret"'),
        ("credential", f"{words['credential']};{query['credential']}", 'credential = "database"'),
        ("passfile", f"{words['passfile']} passfile={WEB}/pgpass;{query['passfile']}", 'user = "web"'),
        ("service", f"pg://service=fleet;{query['service']}", 'user = "web"'),
        ("curve", "zmq://tcp://127.0.0.1:5252", f'credential = "curve"\ncurve-client-keys = "{CLIENTS}"'),
    ]
    lines = [f"emperor = {json.dumps(specs)}"]
    for name, spec, more in tables:
        lines += ["[[monitor]]", f'name = "{name}"', f"spec = {json.dumps(spec)}", more]
    return "\n".join([*lines, ""])


@pytest.fixture
def service(machine: Machine, bridge: Bridge) -> Iterator[Service]:
    """The shipped daemon with all these monitors, not yet started."""
    machine.run("useradd", "--system", "--home-dir", WEB, "web")
    machine.cleanups.insert(0, lambda: machine.run("userdel", "web"))
    machine.write_many(
        {
            TOML: settings(),
            "/etc/emperor-bridge/file.secret": SECRETS["file"],
            "/etc/credentials/database": f"{SECRETS['credential']}\n",
            "/etc/credentials/curve": f"{OWN[1]}\n",
            CLIENTS: f"{FRIEND[0]} a friend\n",
        },
        mode=0o600,
    )
    machine.write("/etc/postgresql-common/pg_service.conf", "[fleet]\nhost=127.0.0.1\ndbname=postgres\nuser=service\n")
    logins = {f"{WEB}/{file}": f"*:*:*:{name}:{SECRETS[name]}\n" for file, name in PASSFILES.items()}
    machine.write_many(logins, mode=0o600, owner="web")
    made = Service(bridge)
    made.install()
    lines = [f"LoadCredential={name}:/etc/credentials/{name}" for name in ("database", "curve")]
    made.drop_in(WATCH, "credentials", "\n".join(["[Service]", *lines, ""]))
    machine.run("systemctl", "daemon-reload")
    bridge.options = []
    yield made
    gone = ("/etc/credentials", WEB, "/etc/postgresql-common/pg_service.conf", "/var/lib/emperor-bridge")
    machine.cleanups.insert(0, lambda: machine.remove(*gone))


@pytest.fixture
def database(machine: Machine) -> Database:
    made = Database(machine)
    made.make()
    machine.cleanups.insert(0, made.remove)
    made.sql(TABLE + machine.run(COMMAND, "pg-trigger").stdout)
    return made


def test_sites_of_every_kind_of_secret_wake_and_none_is_seen(
    machine: Machine, bridge: Bridge, service: Service, database: Database
) -> None:
    cursor = machine.journal_cursor()
    service.start()
    for name in PG:
        database.put(f"{name}.ini", f"/run/{name}.sock")
    for name in PG:
        machine.wait_journal(rf"^{name}\.ini: added", unit=WATCH, since_cursor=cursor)
        bridge.app("uwsgi", f"/run/{name}.sock")
    send(machine, STRANGER, "stranger", seconds=2)
    send(machine, FRIEND, "curve", seconds=60)
    machine.wait_journal(r"^curve\.ini: added", unit=WATCH, since_cursor=cursor)
    bridge.app("uwsgi", "/run/curve.sock")
    assert "stranger.ini" not in bridge.status()
    for scheme in ("amqp", "mongodb", "mongodb2"):
        machine.wait_journal(f"^{scheme}://.*cannot be asked since", unit=WATCH, since_cursor=cursor)
    see_nothing(machine, printed(bridge))

    # What does not work is told at length: a server that is down, a login that is refused, no daemon.
    database.control("stop", "-m", "immediate")
    for name in PG[2:]:
        machine.wait_journal(f"^pg:{name}: error: as of .*; cannot be asked since", unit=WATCH, since_cursor=cursor)
    database.control("start")
    database.sql("".join(f"ALTER ROLE {name} PASSWORD 'other';" for name in PG))
    machine.run("systemctl", "restart", WATCH)
    for name in PG[2:]:
        machine.wait_journal(f'^pg:{name}: .*authentication failed for user "{name}"', unit=WATCH, since_cursor=cursor)
    see_nothing(machine, printed(bridge))
    machine.run("systemctl", "stop", WATCH)
    told = bridge.sync(status=1).stderr
    assert "there is no credential database" in told
    see_nothing(machine, told)


def send(machine: Machine, keys: list[str], name: str, seconds: int) -> None:
    """Have a client with these keys send a site, and try for so long."""
    message = ["touch", f"{name}.ini", config(), "0", "0", f"/run/{name}.sock"]
    data = json.dumps([OWN[0], *keys, message]).encode()
    machine.run(PYTHON, "-c", SEND, str(seconds * 1000), input=data, timeout=90)


def printed(bridge: Bridge) -> str:
    """Return what the commands print."""
    commands: list[tuple[str, list[str]]] = [
        *((name, []) for name in ("status", "check", "sync")),
        *((name, ["--json"]) for name in ("status", "check", "sync")),
        ("sync", ["--dry-run"]),
        ("render", ["words.ini"]),
    ]
    results = [bridge.run(name, *arguments, status=None) for name, arguments in commands]
    return "".join(one.stdout + one.stderr for one in results)


def see_nothing(machine: Machine, told: str) -> None:
    """Fail if a secret is in a unit, in a file of another user's, with a process, in the journal, or in ``told``."""
    forms = {form for name in SECRETS for form in (SECRETS[name], escaped(name), escaped(name).replace("%%", "%"))}
    secrets = "\n".join({*forms, OWN[1]}).encode()

    def grep(*places: str, before: tuple[str, ...] = (), more: tuple[str, ...] = ()) -> str:
        # What is searched for comes through a pipe: nobody sees it among the processes.
        options = ("-rlsF", "-f", "-", "--devices=skip", *more)
        return machine.run(*before, "grep", *options, *places, input=secrets, check=False).stdout

    assert grep(*PLACES, before=AS_NOBODY) == ""
    # Not even root finds it, but where systemd keeps the credentials themselves.
    assert grep("/etc/systemd", "/run", "/var/lib/emperor-bridge", more=("--exclude-dir=credentials",)) == ""
    assert machine.run(*AS_NOBODY, "ls", f"/run/credentials/{WATCH}", check=False).returncode
    shell = "journalctl --no-pager -o export; systemctl show '*'; systemctl cat '*'; ps axwwe -o pid,args"
    shown = machine.run("sh", "-c", shell, check=False).stdout
    assert [form for form in secrets.decode().splitlines() if form in shown or form in told] == []
