"""The cluster of PostgreSQL that Debian's packages make, inside the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .bridge import config

if TYPE_CHECKING:
    from .machine import Machine


class Database:
    """The machine's cluster ``main``: psql needs no options there, and nobody a password but over TCP."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._version = machine.run("sh", "-c", "ls /usr/lib/postgresql | tail -n1").stdout.strip()

    def make(self) -> None:
        self._machine.run("sh", "-c", f"pg_dropcluster --stop {self._version} main || :", timeout=120)
        self._machine.run("pg_createcluster", self._version, "main", timeout=120)
        self.control("start")

    def control(self, *words: str) -> None:
        self._machine.run("pg_ctlcluster", self._version, "main", *words, timeout=120)

    def remove(self) -> None:
        self._machine.run("pg_dropcluster", "--stop", self._version, "main", timeout=120)

    def sql(self, text: str) -> str:
        """Run SQL as the administrator; return what psql prints."""
        psql = ("psql", "-q", "-v", "ON_ERROR_STOP=1")
        return self._machine.run(*psql, input=text.encode(), user="postgres").stdout

    def put(self, name: str, socket: str | None, *lines: str) -> None:
        address = "NULL" if socket is None else f"'{socket}'"
        values = f"('{name}', $x${config(*lines)}$x$, {address})"
        self.sql(f"INSERT INTO vassals (name, config, socket) VALUES {values};")  # noqa: S608 - the test's own words
