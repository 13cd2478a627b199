"""A PostgreSQL of Debian's packages in a folder of its own: any number at once, without the machine's own cluster."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

USER = "postgres"
PASSWORD = "s3cret-of-the-database"  # noqa: S105 - searched for in all that is printed
WAIT = 30.0
SETTINGS = """
fsync = off
full_page_writes = off
shared_buffers = 16MB
max_connections = 40
listen_addresses = '127.0.0.1'
max_wal_senders = 4
wal_level = logical
"""
TABLE = """
CREATE TABLE vassals (
    name text, config text, ts double precision DEFAULT EXTRACT(epoch FROM now()), uid int, gid int, socket text)
"""

INSERT = "INSERT INTO vassals (name, config) VALUES"


def binaries() -> Path:
    """Return the folder of the newest server that Debian's packages have installed."""
    return max(Path("/usr/lib/postgresql").iterdir(), key=lambda path: int(path.name)) / "bin"


class Postgres:
    """One server: a cluster in ``folder``, on a unix socket there and on a port of 127.0.0.1."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.data = folder / "data"
        self.log = folder / "log"

    @property
    def conninfo(self) -> str:
        """A connection string for the unix socket; everybody there may be ``postgres``."""
        return f"host={self.folder} port={self.port} user={USER} dbname=postgres"

    @property
    def uri(self) -> str:
        """A connection string for TCP, which has a password."""
        return f"postgresql://feeder:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def create(self) -> None:
        """Make the cluster, start it, and make the table and the user ``feeder``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.chown(self.folder, USER)
        self._run("initdb", "-D", self.data, "-A", "trust", "-U", USER, "-E", "UTF8", "--no-sync", "--locale=C.UTF-8")
        with self.data.joinpath("postgresql.conf").open("a") as file:
            file.write(f"{SETTINGS}\nport = {self.port}\nunix_socket_directories = '{self.folder}'\n")
        rules = "local all all trust\nlocal replication all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        self.data.joinpath("pg_hba.conf").write_text(rules)
        self.start()
        self.sql(f"CREATE ROLE feeder LOGIN PASSWORD '{PASSWORD}'; {TABLE}; GRANT SELECT ON vassals TO feeder")

    def copy_to(self, standby: Postgres) -> None:
        """Make ``standby`` a running copy of this server that only answers."""
        standby.folder.mkdir(parents=True, exist_ok=True)
        shutil.chown(standby.folder, USER)
        self._run("pg_basebackup", "-D", standby.data, "-R", "-c", "fast", "-d", self.conninfo)
        with standby.data.joinpath("postgresql.conf").open("a") as file:
            file.write(f"\nport = {standby.port}\nunix_socket_directories = '{standby.folder}'\n")
        standby.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._run("pg_ctl", "-D", self.data, "-l", self.log, "-w", "-t", str(int(WAIT)), "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: ``fast`` tells its clients, ``immediate`` is as a crash."""
        if self.data.joinpath("postmaster.pid").exists():
            self._run("pg_ctl", "-D", self.data, "-w", "-m", mode, "stop")

    def freeze(self) -> None:
        """Stop all its processes by SIGSTOP: the kernel goes on to accept connections."""
        # The main process first: then no new ones come.
        os.kill(self.processes()[0], signal.SIGSTOP)
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them run again."""
        self._signal(signal.SIGCONT)

    def processes(self) -> list[int]:
        """Return the server's main process and its children."""
        main = int(self.data.joinpath("postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        return [main, *map(int, children)]

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def sql(self, text: str) -> str:
        """Run SQL as the administrator, each statement in a transaction of its own; return what it prints."""
        command = [str(binaries() / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.conninfo]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=WAIT, check=False)
        assert done.returncode == 0, done.stderr
        return str(done.stdout).strip()

    def put(self, *names: str) -> None:
        """Insert rows with these names, in one transaction, with a little config and no socket."""
        values = ", ".join(f"('{name}', '[uwsgi]')" for name in names)
        self.sql(f"{INSERT} {values}")

    def put_each(self, *names: str) -> None:
        """Insert such rows, each in a transaction of its own."""
        self.sql("".join(f"{INSERT} ('{name}', '[uwsgi]');\n" for name in names))

    def clients(self) -> int:
        """Return how many feeders are connected."""
        return int(self.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'emperor-bridge'"))

    def wait_for_clients(self, count: int = 1) -> None:
        """Wait until so many feeders are connected."""
        until = time.monotonic() + WAIT
        while self.clients() != count:
            assert time.monotonic() < until, f"there are {self.clients()} clients, not {count}"
            time.sleep(0.05)

    def _run(self, program: str, *arguments: str | Path) -> None:
        user = pwd.getpwnam(USER)
        # pg_ctl's child keeps the standard output open, so it must be a file.
        with open("/dev/null", "rb+", buffering=0) as null:
            done = subprocess.run(
                [binaries() / program, *arguments],
                stdin=null,
                stdout=null,
                stderr=subprocess.DEVNULL if program == "pg_ctl" else subprocess.PIPE,
                timeout=2 * WAIT,
                check=False,
                user=user.pw_uid,
                group=user.pw_gid,
                extra_groups=[],
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            )
        log = self.log.read_text() if self.log.exists() else ""
        assert done.returncode == 0, f"{program}: {done.stderr!r} {log[-2000:]}"


class Bouncer:
    """A pgbouncer in front of a server."""

    def __init__(self, folder: Path, server: Postgres, port: int, mode: str) -> None:
        self.conninfo = f"host=127.0.0.1 port={port} user={USER} dbname=postgres"
        self._configuration = folder / "pgbouncer.ini"
        users = folder / "users"
        users.write_text(f'"{USER}" ""\n')
        self._configuration.write_text(
            f"[databases]\n* = host={server.folder} port={server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nauth_type = trust\nauth_file = {users}\npool_mode = {mode}\nunix_socket_dir =\n"
        )
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        command = ["/usr/sbin/pgbouncer", "-q", str(self._configuration)]
        self._process = subprocess.Popen(command, user=USER, group=USER, extra_groups=[], stderr=subprocess.DEVNULL)
        until = time.monotonic() + WAIT
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
            except OSError:
                assert time.monotonic() < until
                assert self._process.poll() is None, "pgbouncer has ended"
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """Stop it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
