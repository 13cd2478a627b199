"""A server that speaks MongoDB's wire protocol: nx-27017 of PyPI, over SQLite. MongoDB itself is not to be had."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymongo
from pymongo.errors import PyMongoError

if TYPE_CHECKING:
    from pymongo.collection import Collection

WAIT = 30.0
DATABASE, COLLECTION = "uwsgi", "vassals"
"""The server takes no dots in the name of a collection, so the Emperor's default cannot be used."""


class Mongo:
    """One server with its data in ``folder``, on a port of 127.0.0.1."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """The URI of the server."""
        return f"mongodb://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        program = str(Path(sys.executable).with_name("nx-27017"))
        files = ["--log-file", str(self.folder / "log"), "--pid-file", str(self.folder / "pid")]
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [program, "--data-dir", str(self.folder / "data"), "-p", str(self.port), *files],
                stdout=output,
                stderr=output,
                cwd=self.folder,
            )
        until = time.monotonic() + WAIT
        while not self._answers():
            assert time.monotonic() < until, (self.folder / "output").read_text()[-2000:]
            assert self._process.poll() is None, (self.folder / "output").read_text()[-2000:]

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(WAIT)
            self._process = None

    def freeze(self) -> None:
        """Stop it by SIGSTOP: the kernel goes on to accept connections."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it run again."""
        self._signal(signal.SIGCONT)

    def replace(self, *documents: dict[str, Any]) -> None:
        """Put these documents into the collection, each in place of one that has its name."""
        with self.client() as client:
            collection = self.collection(client)
            for document in documents:
                collection.replace_one({"name": document["name"]}, document, upsert=True)

    def delete(self, *names: str) -> None:
        """Delete the documents with these names; none given: all."""
        with self.client() as client:
            self.collection(client).delete_many({"name": {"$in": list(names)}} if names else {})

    def client(self) -> pymongo.MongoClient[dict[str, Any]]:
        """Return a client of the tests' own."""
        return pymongo.MongoClient(self.uri, serverSelectionTimeoutMS=2000)

    def collection(self, client: pymongo.MongoClient[dict[str, Any]]) -> Collection[dict[str, Any]]:
        """Return the collection of vassals."""
        return client[DATABASE][COLLECTION]

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                client.admin.command("ping")
        except PyMongoError:
            time.sleep(0.05)
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)
