"""The amqp monitor: a queue of this host's own, whose messages are acknowledged once the root side has them on disk."""

from __future__ import annotations

import gc
import logging
import time
from typing import TYPE_CHECKING

from bridge.feeder import amqp_message
from bridge.feeder.amqp_link import Link
from bridge.feeder.amqp_options import AmqpOptions, OptionsError, from_values
from bridge.feeder.loop import Backoff, Loop
from bridge.feeder.protocol import Note, Orders, Well
from bridge.feeder.unanswered import Unanswered

if TYPE_CHECKING:
    from bridge.feeder.amqp_message import Delivery
    from bridge.feeder.amqp_reasons import Reason
    from bridge.feeder.root_side import RootSide


def open_feeder(orders: Orders, loop: Loop, root: RootSide) -> AmqpFeeder | None:
    """Connect as the orders say; where that fails, try again with growing pauses.

    With ``once``, take what waits in the queue, and stop the loop. It stops, too, if the options are wrong: they stay
    so until the root side gives others.
    """
    # pika writes at each failure what the root side is told in better words.
    logging.getLogger("pika").setLevel(logging.CRITICAL + 1)
    try:
        options = from_values(orders.options)
    except OptionsError as error:
        root.trouble(f"the broker cannot be asked: {error}", "correct the monitor's setting")
        loop.stop()
        return None
    if options.password != AmqpOptions().password:
        root.hide([options.password])
    feeder = AmqpFeeder(options, loop, root, is_once=orders.once)
    feeder.connect()
    return feeder


class AmqpFeeder:
    """Tells the root side of each message, in the order of the queue; it is the owner of one link after the other."""

    def __init__(self, options: AmqpOptions, loop: Loop, root: RootSide, *, is_once: bool) -> None:
        """Do nothing yet; :meth:`connect` begins."""
        self._options = options
        self._loop = loop
        self._root = root
        self._is_once = is_once
        self._backoff = Backoff()
        self._unanswered: Unanswered[int] = Unanswered()
        self._link: Link | None = None

    def connect(self) -> None:
        """Begin a connection."""
        # pika's objects refer to each other, and the last connection's descriptor is open until they are collected.
        gc.collect()
        self._link = Link(self._options, self._loop, self, is_consumer=not self._is_once)

    def ask(self) -> None:
        """Do nothing: messages are no whole answers."""

    def done(self, number: int) -> None:
        """Have the broker forget the message; if its connection is gone, it comes again."""
        tag = self._unanswered.take(number)
        if tag is not None:
            self._settle(tag)

    def close(self) -> None:
        """Let the connection go. What is not acknowledged comes again."""
        if self._link is not None:
            self._link.cut()
            self._link = None

    def on_ready(self) -> None:
        """The queue is there."""
        self._backoff.reset()
        self._root.send(Well())
        self._ask()

    def on_message(self, tag: int, delivery: Delivery) -> None:
        """Tell of a message; one that is refused never comes again."""
        change = amqp_message.change(delivery, number=self._unanswered.next(), now=time.time())
        if isinstance(change, Note):
            self._root.note(change.code, change.message, change.hint, name=change.name)
            self._settle(tag)
        else:
            self._unanswered.hold(change.id, tag)
            self._root.send(change)

    def on_empty(self) -> None:
        """All that waited is on disk: with ``once`` this is the end."""
        if self._link is not None:
            self._link.finish()

    def on_warning(self, warning: Reason) -> None:
        """Pass a warning about the whole monitor on."""
        message = f"{self._options.queue_name} at {self._options.place}: {warning.message}"
        self._root.note("amqp-set-up", message, warning.hint, is_warning=True)

    def on_lost(self, reason: Reason | None) -> None:
        """Tell why, and connect again later."""
        self._link = None
        self._unanswered.forget()
        if reason is not None:
            self._root.trouble(f"the broker at {self._options.place} cannot be asked: {reason.message}", reason.hint)
        if self._is_once:
            self._loop.stop()
        else:
            self._loop.call_later(self._backoff.next(), self.connect)

    def _settle(self, tag: int) -> None:
        if self._link is not None:
            self._link.acknowledge(tag)
            self._ask()

    def _ask(self) -> None:
        if self._is_once and self._link is not None:
            self._link.get()
