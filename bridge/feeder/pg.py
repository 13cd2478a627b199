"""The feeder for PostgreSQL: one connection that listens, and asks for all rows when it is told of a change."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from bridge.feeder.answer import Outcome, Teller, UnusableError
from bridge.feeder.loop import Backoff
from bridge.feeder.pace import DOUBT, pause_in_burst
from bridge.feeder.pg_questions import LISTEN, Listening, Rows
from bridge.feeder.pg_session import ConninfoError, ServerError, Session, conninfo_of, set_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from psycopg.pq.abc import PGresult

    from bridge.feeder.loop import Loop, Timer
    from bridge.feeder.protocol import Orders
    from bridge.feeder.root_side import RootSide


def open_feeder(orders: Orders, loop: Loop, root: RootSide) -> PgFeeder:
    """Open the feeder for ``pg``; its options are ``conninfo``, ``query``, and perhaps ``user`` and ``password``."""
    feeder = PgFeeder(orders, loop, root)
    try:
        conninfo, secrets = conninfo_of(orders.options)
    except ConninfoError:
        root.trouble(
            "the connection string cannot be read",
            "it is words like host=db1 dbname=sites, or postgresql://user@host/database; a value with a space or a"
            " quote stands in single quotes, and in the second form special characters are written as %XX",
        )
        if orders.once:
            loop.stop()
        return feeder
    root.hide(secrets)
    set_environment()
    feeder.start(conninfo)
    return feeder


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a server may be silent, in seconds. Options of these names change it."""

    check_every: float = 60.0
    """Between two questions whether it still answers, and still tells of changes."""
    check_within: float = 10.0
    """Before and within the answer to such a question."""
    answer_within: float = 30.0
    """Before and within the answer to the query for the rows."""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Patience:
        """Return what the options of the orders say."""
        return cls(**{item.name: float(options[item.name]) for item in fields(cls) if item.name in options})


@dataclass(frozen=True, slots=True)
class _Question:
    take: Callable[[PGresult], None]
    """Takes one part of the answer."""
    end: Callable[[], None]
    """Is called after the last part."""
    silence_max: float
    """Seconds before the answer is given up, counted from the last part that came."""


class PgFeeder:
    """Connects, listens, asks; and begins again with a growing pause when any of it fails."""

    def __init__(self, orders: Orders, loop: Loop, root: RootSide) -> None:
        """Use the query and the pace of these orders."""
        self._query = str(orders.options["query"])
        self._freq = orders.freq
        self._is_once = orders.once
        self._patience = Patience.of(orders.options)
        self._loop = loop
        self._root = root
        self._teller = Teller(root, had_rows=bool(orders.options.get("known")))
        self._backoff = Backoff()
        self._conninfo = ""
        self._session: Session | None = None
        self._question: _Question | None = None
        """What is asked now."""
        self._timer: Timer | None = None
        """Asks the next question, or ends the wait for an answer."""
        self._changed_at: float | None = None
        """When the first notification came that no question has followed yet."""
        self._untold_because: tuple[str, str] | None = None
        """Why the server does not tell of changes, and what to do about it."""
        self._is_due = True
        """Whether the rows must be asked for, whether or not anything is told."""
        self._checked_at = 0.0

    def start(self, conninfo: str) -> None:
        """Connect to the server; whatever fails is tried again."""
        self._conninfo = conninfo
        self._arrange(self._connect, 0)

    def done(self, number: int) -> None:
        """Take no answer: a whole answer of a database needs none."""

    def ask(self) -> None:
        """Ask for all rows now, or once connected, and tell them in any case."""
        self._teller.forget()
        self._is_due = True
        if self._session is not None and self._question is None:
            self._arrange(self._ask_rows, 0)

    def close(self) -> None:
        """Disconnect."""
        if self._session is not None:
            self._loop.forget(self._session.fileno())
            self._session.close()
            self._session = None

    def _connect(self) -> None:
        self._session = Session(self._conninfo)
        self._is_due = True
        self._changed_at = self._question = None
        self._watch(self._session)
        if self._is_once:
            self._ask_rows()
        else:
            self._listen()

    def _fail(self, message: str, hint: str = "") -> None:
        self.close()
        self._arrange(None, 0)
        self._root.trouble(message, hint)
        if self._is_once:
            self._loop.stop()
        else:
            self._arrange(self._connect, self._backoff.next())

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except ServerError as error:
            self._fail(str(error))
        except UnusableError as error:
            self._fail(error.message, error.hint)

    def _watch(self, session: Session) -> None:
        self._loop.watch(session.fileno(), lambda _events: self._attempt(self._read), session.events)

    def _arrange(self, callback: Callable[[], None] | None, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if callback is None else self._loop.call_later(seconds, lambda: self._attempt(callback))

    def _read(self) -> None:
        session = self._session
        if session is None:
            return
        question = self._question
        if question is not None:
            self._arrange(self._give_up, question.silence_max)
        session.send()
        has_ended = False
        for part in session.results():
            has_ended = part is None
            if part is not None and question is not None:
                question.take(part)
        if session.notified():
            self._changed_at = self._changed_at or time.monotonic()
            if question is None:
                self._plan()
        if has_ended and question is not None:
            self._question = None
            question.end()
        self._watch(session)

    def _plan(self) -> None:
        now = time.monotonic()
        if self._changed_at is not None:
            self._arrange(self._ask_rows, pause_in_burst(self._changed_at, now))
        elif self._teller.has_doubted:
            self._arrange(self._ask_rows, DOUBT)
        elif self._is_due:
            self._ask_rows()
        elif self._untold_because is None:
            self._arrange(self._listen, max(0.0, self._checked_at + self._patience.check_every - now))
        else:
            is_to_check = now + self._freq >= self._checked_at + self._patience.check_every
            self._arrange(self._listen if is_to_check else self._ask_rows, self._freq)

    def _ask(self, sql: str, take: Callable[[PGresult], None], end: Callable[[], None], silence_max: float) -> None:
        session = self._session
        if session is None:
            return
        self._question = _Question(take, end, silence_max)
        self._arrange(self._give_up, silence_max)
        session.ask(sql)
        self._watch(session)

    def _give_up(self) -> None:
        if self._question is not None:
            self._fail(
                f"the server has not answered for {self._question.silence_max:.0f} s",
                "it may be frozen or overloaded, or the query waits for a lock",
            )

    def _listen(self) -> None:
        session = self._session
        if session is None:
            return
        self._checked_at = time.monotonic()
        listening = Listening(session.server_process)

        def end() -> None:
            # What is not told of changes may have changed. So may what came before it began to be told.
            before, now = self._untold_because, listening.untold_because
            self._is_due = self._is_due or before is not None or now is not None
            self._untold_because = now
            if not self._is_due:
                self._teller.tell_well()
            self._plan()

        self._ask(LISTEN, listening.take, end, self._patience.check_within)

    def _ask_rows(self) -> None:
        self._is_due = False
        self._changed_at = None
        rows = Rows(self._teller)

        def end() -> None:
            answer = rows.answer()
            if self._untold_because is not None and not self._is_once:
                reason, hint = self._untold_because
                answer.warn("monitor-polled", f"it is asked every {self._freq:g} s: {reason}", hint)
            outcome = answer.end()
            self._backoff.reset()
            if self._is_once and outcome is Outcome.TOLD:
                self._loop.stop()
            else:
                self._plan()

        self._ask(self._query, rows.take, end, self._patience.answer_within)
