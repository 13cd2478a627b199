"""The feeder for MongoDB: one query for all documents, when a change stream says that something changed, or in turn."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from bridge.feeder.answer import Outcome, Teller, UnusableError
from bridge.feeder.loop import Backoff
from bridge.feeder.mongodb_rows import add_document, filter_of
from bridge.feeder.mongodb_session import Client, ServerError, Stream, secrets_of
from bridge.feeder.pace import DOUBT, pause_in_burst

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from bridge.feeder.loop import Loop, Timer
    from bridge.feeder.protocol import Orders
    from bridge.feeder.root_side import RootSide

CHECK_EVERY = 60.0
"""Seconds between two questions whether the server still answers, and between two attempts to have a change stream."""
ANSWER_WITHIN = 15.0
"""Seconds that the server may be silent while it is asked."""


def open_feeder(orders: Orders, loop: Loop, root: RootSide) -> MongodbFeeder:
    """Open the feeder for ``mongodb``.

    Its options are ``uri``, ``database``, ``collection``, ``filter`` (JSON as a text), and perhaps ``user``,
    ``password``, ``known`` (whether the root side has rows), ``check_every`` and ``answer_within`` (seconds).
    """
    root.hide(secrets_of(orders.options))
    feeder = MongodbFeeder(orders, loop, root)
    try:
        wanted = filter_of(str(orders.options.get("filter") or ""))
    except ValueError as error:
        root.trouble(f"{error}", 'write it as {"enabled": true}')
        if orders.once:
            loop.stop()
        return feeder
    feeder.start(wanted)
    return feeder


class MongodbFeeder:
    """Asks for all documents; begins again with a growing pause when that fails."""

    def __init__(self, orders: Orders, loop: Loop, root: RootSide) -> None:
        """Use the options and the pace of these orders."""
        self._options = orders.options
        self._freq = orders.freq
        self._is_once = orders.once
        self._check_every = float(orders.options.get("check_every", CHECK_EVERY))
        self._answer_within = float(orders.options.get("answer_within", ANSWER_WITHIN))
        self._loop = loop
        self._root = root
        self._teller = Teller(root, had_rows=bool(orders.options.get("known")))
        self._backoff = Backoff()
        self._wanted: dict[str, Any] = {}
        self._client: Client | None = None
        self._stream: Stream | None = None
        self._is_told = False
        """Whether the change stream is open."""
        self._stream_at = -math.inf
        """When the change stream was asked for last."""
        self._changed_at: float | None = None
        """When the first change came that no question has followed yet."""
        self._timer: Timer | None = None

    def start(self, wanted: dict[str, Any]) -> None:
        """Begin to ask for the documents that a filter wants."""
        self._wanted = wanted
        self._arrange(self._ask, 0)

    def done(self, number: int) -> None:
        """Take no answer: a whole answer of a database needs none."""

    def ask(self) -> None:
        """Ask for all documents now, or once the server can be reached again, and tell them in any case."""
        self._teller.forget()
        if self._client is not None:
            self._arrange(self._ask, 0)

    def close(self) -> None:
        """Disconnect."""
        self._end_stream()
        if self._client is not None:
            self._client.close()
            self._client = None

    def _arrange(self, callback: Callable[[], None], seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, lambda: self._attempt(callback))

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except ServerError as error:
            self._fail(str(error), error.hint)
        except UnusableError as error:
            self._fail(error.message, error.hint)

    def _fail(self, message: str, hint: str) -> None:
        self.close()
        self._root.trouble(message, hint)
        if self._is_once:
            self._loop.stop()
        else:
            self._arrange(self._ask, self._backoff.next())

    def _ask(self) -> None:
        if self._client is None:
            self._client = Client(self._options, answer_within=self._answer_within)
        self._changed_at = None
        answer = self._teller.begin()
        for document in self._client.documents(self._wanted):
            add_document(answer, document)
        outcome = answer.end()
        self._backoff.reset()
        if self._is_once and outcome is Outcome.TOLD:
            self._loop.stop()
        else:
            self._plan()

    def _check(self) -> None:
        if self._client is not None:
            self._client.ping()
            self._teller.tell_well()
        self._plan()

    def _plan(self) -> None:
        now = time.monotonic()
        if self._stream is None and not self._is_once and now - self._stream_at >= self._check_every:
            self._begin_stream()
        if self._changed_at is not None:
            self._arrange(self._ask, pause_in_burst(self._changed_at, now))
        elif self._teller.has_doubted:
            self._arrange(self._ask, DOUBT)
        elif self._is_told:
            self._arrange(self._check, self._check_every)
        else:
            self._arrange(self._ask, self._freq)

    # The change stream

    def _begin_stream(self) -> None:
        self._stream_at = time.monotonic()
        self._stream = Stream(self._options)
        self._loop.watch(self._stream.fileno(), lambda _events: self._attempt(self._read_stream))
        self._stream.start()

    def _end_stream(self) -> None:
        self._is_told = False
        if self._stream is not None:
            self._loop.forget(self._stream.fileno())
            self._stream.close()
            self._stream = None

    def _read_stream(self) -> None:
        learnt = self._stream.read() if self._stream is not None else b""
        if b"o" in learnt:
            self._is_told = True
        if b"e" in learnt or not learnt:
            self._end_stream()
        # Something may also have changed before it was open, and as it ended.
        self._changed_at = self._changed_at or time.monotonic()
        self._plan()
