"""One connection to PostgreSQL, by libpq through psycopg 3's module ``pq``."""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from psycopg import Error, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from psycopg.pq.abc import PGconn, PGresult

CONNECT_TIMEOUT = 5
"""Seconds for each address of the server, where the admin says nothing else."""
LOST_AFTER = 15
"""Seconds without an acknowledgement after which the kernel gives a TCP connection up, where the admin says nothing."""
_SECRETS = ("password", "sslpassword")


class ServerError(Exception):
    """The server cannot be reached, has gone, or refuses a question; the text is libpq's, on one line."""


class ConninfoError(Exception):
    """The connection string cannot be read. It is not quoted: a part of it may be a password."""


def conninfo_of(options: Mapping[str, object]) -> tuple[str, set[str]]:
    """Return libpq's connection string for the options of the orders, and the secrets in it.

    Args:
        options: ``conninfo`` in any form that libpq takes, and perhaps ``user`` and ``password``, which go first.

    Raises:
        ConninfoError: ``conninfo`` has no such form.
    """
    given = {key: str(options[key]) for key in ("user", "password") if options.get(key)}
    # Client and server would otherwise agree on the encoding of the environment.
    given |= {"client_encoding": "UTF8", "fallback_application_name": "emperor-bridge"}
    try:
        text = make_conninfo(str(options.get("conninfo") or ""), **given)
        parts = conninfo_to_dict(text)
    except Error as error:
        raise ConninfoError from error
    return text, {str(parts[key]) for key in _SECRETS if parts.get(key)}


def set_environment() -> None:
    """Give libpq defaults that the connection string and a service file come before."""
    os.environ.setdefault("PGCONNECT_TIMEOUT", str(CONNECT_TIMEOUT))
    # A timestamp is read as ISO 8601 whatever the role or the database is set to.
    os.environ["PGDATESTYLE"] = "ISO"


class Session:
    """A connection that is asked one question at a time."""

    def __init__(self, conninfo: str) -> None:
        """Connect, and wait for it as long as ``connect_timeout`` says for each address.

        Raises:
            ServerError: there is no server, or it wants somebody else.
        """
        self._connection: PGconn = pq.PGconn.connect(conninfo.encode())
        self._is_asked = False
        if self._connection.status != pq.ConnStatus.OK:
            message = self._message()
            self.close()
            raise ServerError(message)
        # libpq closes the socket as soon as the connection is lost, and does not tell its number any more.
        self._descriptor = self._connection.socket
        self._connection.notice_handler = None
        self._connection.nonblocking = 1
        self.events = select.POLLIN
        """What to wait for: POLLOUT too while a question has not been sent in full."""
        self._notice_loss()

    def fileno(self) -> int:
        """Return the socket, also after the connection was lost."""
        return self._descriptor

    @property
    def server_process(self) -> int:
        """The number of the server's process, as the other side of this connection has it: a pooler makes one up."""
        return self._connection.backend_pid

    def ask(self, sql: str) -> None:
        """Send a question; the answer comes through :meth:`results`, row by row.

        Raises:
            ServerError: the connection is lost.
        """
        try:
            self._connection.send_query(sql.encode())
            self._connection.set_single_row_mode()
        except Error as error:
            raise ServerError(self._message()) from error
        self._is_asked = True
        self.send()

    def send(self) -> None:
        """Send what is left of the question, as far as the socket takes it.

        Raises:
            ServerError: the connection is lost.
        """
        try:
            is_left = self._connection.flush()
        except Error as error:
            raise ServerError(self._message()) from error
        self.events = select.POLLIN | (select.POLLOUT if is_left else 0)

    def results(self) -> Iterator[PGresult | None]:
        """Read what has come, and yield each part of the answer; None is its end.

        A part is one row, or the end of the rows of one statement.

        Raises:
            ServerError: the connection is lost.
        """
        try:
            self._connection.consume_input()
            while self._is_asked and not self._connection.is_busy():
                result = self._connection.get_result()
                self._is_asked = result is not None
                yield result
                if result is None:
                    return
        except Error as error:
            raise ServerError(self._message()) from error
        if self._connection.status != pq.ConnStatus.OK:
            raise ServerError(self._message())

    def notified(self) -> bool:
        """Return whether a notification came with what was read; forget it."""
        count = 0
        while self._connection.notifies() is not None:
            count += 1
        return count > 0

    def close(self) -> None:
        """Disconnect."""
        self._connection.finish()

    def _message(self) -> str:
        return one_line(self._connection.error_message) or "the connection is lost"

    def _notice_loss(self) -> None:
        # As socket options and not in the connection string, where they would come before those of a service file.
        given = {option.keyword: option.val for option in self._connection.info}
        with suppress(OSError), socket.socket(fileno=os.dup(self.fileno())) as own:
            if own.family not in {socket.AF_INET, socket.AF_INET6}:
                return
            for keyword, option, value in (
                (b"tcp_user_timeout", socket.TCP_USER_TIMEOUT, LOST_AFTER * 1000),
                (b"keepalives_idle", socket.TCP_KEEPIDLE, 10),
                (b"keepalives_interval", socket.TCP_KEEPINTVL, 5),
                (b"keepalives_count", socket.TCP_KEEPCNT, 3),
            ):
                if given.get(keyword) in {None, b""}:
                    own.setsockopt(socket.IPPROTO_TCP, option, value)


def error_of(result: PGresult) -> str | None:
    """Return what the server says is wrong with a question, on one line; None if it is a proper answer.

    Raises:
        ServerError: the server ends the connection; nothing is wrong with the question.
    """
    if result.status != pq.ExecStatus.FATAL_ERROR:
        return None
    text = one_line(result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message)
    if result.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) != b"ERROR":
        raise ServerError(text or "the connection is lost")
    return text or "an error without a message"


def one_line(text: bytes) -> str:
    """Return libpq's text on one line; it has one for each address that was tried."""
    lines = (line.strip() for line in text.decode("utf-8", "replace").splitlines())
    return "; ".join(line for line in lines if line)
