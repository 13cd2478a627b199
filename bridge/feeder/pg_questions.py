"""The two questions that PostgreSQL is asked, and what the parts of their answers mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import pq

from bridge.feeder.answer import UnusableError
from bridge.feeder.pg_rows import add_row, check_columns
from bridge.feeder.pg_session import error_of

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

    from bridge.feeder.answer import Answer, Teller


# A pooler such as pgbouncer lends a connection for each transaction: then LISTEN succeeds, and nothing is ever told.
# It is known by the server process, which is another than the one that the pooler made up for the client.
LISTEN = """
LISTEN emperor_vassals;
SELECT pg_catalog.pg_backend_pid(), EXISTS (
    SELECT FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    WHERE NOT t.tgisinternal AND t.tgenabled IN ('A', 'O') AND pg_catalog.strpos(p.prosrc, 'emperor_vassals') > 0)
"""
_ROWS = {pq.ExecStatus.SINGLE_TUPLE, pq.ExecStatus.TUPLES_OK}


class Listening:
    """The answer to :data:`LISTEN`: whether the server tells of changes."""

    def __init__(self, server_process: int) -> None:
        """Judge an answer on a connection whose other end says that it is this process of the server."""
        self._server_process = server_process
        self.untold_because: tuple[str, str] | None = ("it does not say whether it tells of changes", "")
        """Why it does not, and what to do about it; None: it does."""

    def take(self, part: PGresult) -> None:
        """Take one part of the answer.

        Raises:
            ServerError: the server ends the connection.
        """
        if (message := error_of(part)) is not None:
            hint = "a primary server takes LISTEN, a standby does not"
            self.untold_because = (f"LISTEN is refused: {message}", hint)
        elif part.status == pq.ExecStatus.SINGLE_TUPLE:
            self.untold_because = self._judged(part.get_value(0, 0), part.get_value(0, 1))

    def _judged(self, server_process: bytes | None, has_trigger: bytes | None) -> tuple[str, str] | None:
        if server_process != str(self._server_process).encode():
            return "a pooler is in between, which passes no notifications on", "connect to the server itself"
        if has_trigger != b"t":
            return "no trigger notifies it of changes", "emperor-bridge pg-trigger TABLE prints the SQL that makes one"
        return None


class Rows:
    """The answer to the admin's query."""

    def __init__(self, teller: Teller) -> None:
        """Tell ``teller`` of the rows."""
        self._teller = teller
        self._begin()

    def _begin(self) -> None:
        self._answer = self._teller.begin()
        self._count = 0
        self._has_columns = self._has_ended = False

    def take(self, part: PGresult) -> None:
        """Take one part of the answer.

        Raises:
            UnusableError: this cannot be a list of vassals.
            ServerError: the server ends the connection.
            RootSideGoneError: nobody wants it any more.
        """
        if self._has_ended and part.status in _ROWS:
            # The query has several statements. The last one counts, as in the Emperor (PQexec in libpq's manual).
            self._begin()
        if part.status in _ROWS and not self._has_columns:
            check_columns([part.ftype(column) for column in range(part.nfields)])
            self._has_columns = True
        if part.status == pq.ExecStatus.SINGLE_TUPLE:
            self._count += 1
            add_row(self._answer, self._count, [part.get_value(0, column) for column in range(part.nfields)])
        elif part.status == pq.ExecStatus.TUPLES_OK:
            self._has_ended = True
        elif (message := error_of(part)) is not None:
            raise UnusableError(f"the query fails: {message}", "correct the query, or the rights of the user")
        elif part.status != pq.ExecStatus.COMMAND_OK:
            raise UnusableError("the query is empty, or copies", "it must be a SELECT")

    def answer(self) -> Answer:
        """Return the answer after its last part, for :meth:`Answer.end`.

        Raises:
            UnusableError: no statement of the query returns rows.
        """
        if not self._has_ended:
            raise UnusableError("the query returns no rows, not even none", "it must be a SELECT")
        return self._answer
