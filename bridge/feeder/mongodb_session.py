"""One client of MongoDB, and the thread that waits for its changes."""

from __future__ import annotations

import os
import re
import threading
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import pymongo
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from pymongo.errors import OperationFailure, PyMongoError

from bridge.diagnostics import cut
from bridge.feeder.mongodb_rows import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONNECT_WITHIN = 5.0
"""Seconds until a server is found, where the URI says nothing else."""
AWAIT = 50.0
"""Seconds that the server may wait for a change before it answers that there is none."""
BATCH = 200
"""Documents that the server sends at once, at most."""
_SHORTEST_TURN = 1.0
"""Seconds between two answers that there is no change, for a server that does not wait."""
_PASSWORD = re.compile(r"://[^:/@]*:(.*)@", re.DOTALL)


class ServerError(Exception):
    """The server cannot be reached, has gone, or refuses a question; the text is on one line."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def secrets_of(options: Mapping[str, Any]) -> set[str]:
    """Return the passwords in the orders' options, as they are and as the URI writes them."""
    found = {str(options.get("password") or "")}
    if match := _PASSWORD.search(str(options.get("uri") or "")):
        found |= {match[1], unquote_plus(match[1])}
    return found - {""}


class Client:
    """A connection to one collection. Everything it does has a time limit."""

    def __init__(self, options: Mapping[str, Any], *, answer_within: float) -> None:
        """Prepare the client; it connects with the first question.

        Args:
            options: ``uri``, ``database``, ``collection``, and perhaps ``user`` and ``password``.
            answer_within: seconds that the server may be silent.

        Raises:
            ServerError: the URI cannot be read, or its servers are not in the DNS.
        """
        uri = str(options["uri"])
        given: dict[str, Any] = {"username": options.get("user"), "password": options.get("password")}
        given = {key: value for key, value in given.items() if value}
        limits = {
            "serverSelectionTimeoutMS": CONNECT_WITHIN * 1000,
            "connectTimeoutMS": CONNECT_WITHIN * 1000,
            "heartbeatFrequencyMS": 60_000,
            "appName": "emperor-bridge",
        }
        given |= {key: value for key, value in limits.items() if key.lower() not in uri.lower()}
        given["socketTimeoutMS"] = int(answer_within * 1000)
        try:
            self._client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(uri, **given)
            database = self._client.get_database(str(options["database"]), codec_options=_codec())
            self.collection = database.get_collection(str(options["collection"]))
        except (PyMongoError, ValueError, TypeError) as error:
            # It is not quoted: a part of it may be a password.
            raise ServerError(
                f"the connection URI cannot be used ({type(error).__name__})",
                "it is mongodb://user:password@host:27017/database; special characters are written as %XX",
            ) from error

    def documents(self, wanted: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield all documents that a filter wants, with the fields of a vassal.

        Raises:
            ServerError: there is no server, or it refuses.
        """
        try:
            with self.collection.find(wanted, dict.fromkeys(FIELDS, 1), batch_size=BATCH) as found:
                yield from found
        except Exception as error:
            raise server_error(error) from error

    def ping(self) -> None:
        """Ask whether the server answers.

        Raises:
            ServerError: it does not.
        """
        try:
            self._client.admin.command("ping")
        except Exception as error:
            raise server_error(error) from error

    def close(self) -> None:
        """Disconnect."""
        self._client.close()


class Stream:
    """A thread that follows the change stream, as a hint to ask again.

    It writes one byte into a pipe for each thing that it learns: ``o`` the stream is open, ``c`` something has changed,
    ``e`` it is over, or cannot be had. pymongo has no descriptor to wait for.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="change stream", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def fileno(self) -> int:
        """Return the pipe's end that becomes readable."""
        return self._reader

    def read(self) -> bytes:
        """Return what was learnt, without waiting."""
        with suppress(BlockingIOError):
            return os.read(self._reader, 65536)
        return b""

    def close(self) -> None:
        """Follow no more. The thread ends when the server has answered; nobody waits for that."""
        self._is_closed.set()
        os.close(self._reader)

    def _tell(self, what: bytes) -> None:
        # A full pipe says enough, and a closed one that nobody listens.
        with suppress(OSError):
            os.write(self._writer, what)

    def _follow(self) -> None:
        try:
            client = Client(self._options, answer_within=AWAIT + 10)
            with closing(client):
                self._follow_stream(client)
        except Exception:  # noqa: S110
            # The feeder's own question will show what is wrong. Many servers just have no change streams.
            pass
        finally:
            self._tell(b"e")
            os.close(self._writer)

    def _follow_stream(self, client: Client) -> None:
        # Only the token that marks the place is needed, not the documents.
        pipeline = [{"$project": {"_id": 1}}]
        with client.collection.watch(pipeline, max_await_time_ms=int(AWAIT * 1000)) as stream:
            self._tell(b"o")
            while stream.alive and not self._is_closed.is_set():
                began = time.monotonic()
                if stream.try_next() is not None:
                    self._tell(b"c")
                elif time.monotonic() - began < _SHORTEST_TURN:
                    self._is_closed.wait(_SHORTEST_TURN)


def server_error(error: Exception) -> ServerError:
    """Return an exception of the driver as one line, without the driver's own account of the servers.

    An answer that makes no sense can raise anything in the driver.
    """
    if not isinstance(error, PyMongoError | BSONError):
        return ServerError(f"the server's answer cannot be understood ({type(error).__name__})")
    if isinstance(error, OperationFailure) and isinstance(error.details, dict):
        text = str(error.details.get("errmsg") or error)
    else:
        text = str(error)
    if text == "operation cancelled":
        # By the driver's own thread, which found that the server is silent.
        text = "the server does not answer any more: timed out"
    text = text.partition(", Timeout: ")[0].partition(" (configured timeouts")[0]
    return ServerError(cut(" ".join(text.split()), 300) or type(error).__name__)


def _codec() -> CodecOptions[dict[str, Any]]:
    # One tenant's bytes that are no text, or a date beyond Python's, must not make the whole answer unreadable.
    options: dict[str, Any] = {"unicode_decode_error_handler": "surrogateescape"}
    with suppress(ImportError):
        from bson.codec_options import DatetimeConversion

        options["datetime_conversion"] = DatetimeConversion.DATETIME_AUTO
    return CodecOptions(**options)
