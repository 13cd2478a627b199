"""One connection to a broker, from the first packet to the first failure. It is never used again after that."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Protocol

import pika
import pika.spec
from pika.exceptions import ChannelClosedByBroker

from bridge.feeder.amqp_message import Delivery
from bridge.feeder.amqp_reasons import NO_AMQP, Reason, explain, is_frame, judge, transient
from bridge.feeder.pika_loop import PikaLoop, Services
from bridge.feeder.unanswered import MOST

if TYPE_CHECKING:
    from bridge.feeder.amqp_options import AmqpOptions
    from bridge.feeder.loop import Loop

ANSWER = 15.0
"""Seconds in which a broker must have brought a connection to where messages come."""
STEPS = ("exchange", "queue", "bind", "consume")
EVERYTHING = "#"
"""The binding's key. A fanout exchange looks at none, and a topic exchange takes this for all."""


class Owner(Protocol):
    """Who is told what a link learns."""

    def on_ready(self) -> None:
        """The queue is there, and messages can come."""

    def on_message(self, tag: int, delivery: Delivery) -> None:
        """A message has come; :meth:`Link.acknowledge` takes its tag."""

    def on_empty(self) -> None:
        """:meth:`Link.get` has found nothing."""

    def on_warning(self, warning: Reason) -> None:
        """Something is not as it should be, and works."""

    def on_lost(self, reason: Reason | None) -> None:
        """The link is of no use any more; None: it was closed by :meth:`Link.finish`."""


class Link:
    """Connects, makes or finds exchange, queue and binding, and takes messages."""

    def __init__(self, options: AmqpOptions, loop: Loop, owner: Owner, *, is_consumer: bool) -> None:
        """Begin to connect.

        Args:
            options: the broker.
            loop: calls back.
            owner: is told all.
            is_consumer: whether messages come by themselves, or one by one with :meth:`get`.
        """
        self._options = options
        self._owner = owner
        self._is_consumer = is_consumer
        self._is_cut = False
        self._is_finished = False
        self._steps = list(STEPS)
        self._is_passive = False
        self._channel: Any = None
        self._connection: Any = None
        self._pika_loop = PikaLoop(loop, after=self._check, broken=self._on_broken)
        self._deadline = loop.call_later(ANSWER, self._on_late)
        try:
            self._connection = pika.SelectConnection(
                _parameters(options),
                on_open_callback=lambda _connection: self._open_channel(),
                on_open_error_callback=self._on_closed,
                on_close_callback=self._on_closed,
                custom_ioloop=Services(self._pika_loop),
            )
        except (OSError, ValueError) as error:
            reason = explain(error)
            # The caller has no link yet.
            loop.call_later(0, lambda: self._lose(reason))

    def acknowledge(self, tag: int) -> None:
        """Tell the broker that it can forget a message."""
        if self._channel.is_open:
            self._channel.basic_ack(tag)

    def get(self) -> None:
        """Ask for one message."""
        if self._channel.is_open:
            self._channel.basic_get(self._options.queue_name, callback=self._on_message)

    def finish(self) -> None:
        """Close in order, so that the broker has all acknowledgements."""
        self._is_finished = True
        self._connection.close()

    def cut(self) -> None:
        """Let the connection go, without waiting and without telling the owner."""
        self._is_cut = True
        self._deadline.cancel()
        self._pika_loop.abandon()

    def _open_channel(self) -> None:
        self._connection.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._on_channel_closed)
        self._next()

    def _next(self) -> None:
        """Take the first step that is left."""
        if not self._steps:
            # From here on heartbeats tell whether it is alive.
            self._deadline.cancel()
            self._owner.on_ready()
            return
        options, name = self._options, self._options.queue_name
        if self._steps[0] == "exchange":
            self._channel.exchange_declare(
                options.exchange,
                exchange_type="fanout",
                passive=self._is_passive,
                durable=options.is_durable,
                callback=self._on_declared,
            )
        elif self._steps[0] == "queue":
            self._channel.queue_declare(
                name, passive=self._is_passive, durable=options.is_durable, callback=self._on_declared
            )
        elif self._steps[0] == "bind":
            self._channel.queue_bind(name, options.exchange, routing_key=EVERYTHING, callback=self._on_step)
        elif self._is_consumer:
            self._channel.add_on_cancel_callback(lambda _frame: self._lose(Reason("the queue was deleted")))
            self._channel.basic_qos(prefetch_count=MOST)
            self._channel.basic_consume(name, self._on_message, exclusive=True, callback=self._on_step)
        else:
            self._channel.add_callback(lambda _frame: self._owner.on_empty(), [pika.spec.Basic.GetEmpty], False)
            self._on_step()

    def _on_declared(self, _frame: object) -> None:
        if not (self._is_passive or self._options.is_durable):
            self._owner.on_warning(transient(self._steps[0]))
        self._on_step()

    def _on_step(self, _frame: object = None) -> None:
        del self._steps[0]
        self._is_passive = False
        self._next()

    def _on_late(self) -> None:
        self._lose(Reason(f"it does not answer in {ANSWER:.0f} s"))

    def _check(self) -> None:
        # There is no public way to see what pika waits for; without this attribute, heartbeats do.
        start = bytes(getattr(self._connection, "_frame_buffer", b"")[:7])
        if not is_frame(start):
            self._lose(NO_AMQP)

    def _on_channel_closed(self, _channel: object, error: Exception) -> None:
        if self._is_cut or not isinstance(error, ChannelClosedByBroker):
            # The connection closes, too, and tells why.
            return
        if not self._steps:
            self._lose(Reason(f"it has closed the channel: {error.reply_text}"))
            return
        verdict = judge(self._steps[0], is_passive=self._is_passive, code=error.reply_code, text=error.reply_text)
        if verdict.failure is not None:
            self._lose(verdict.failure)
            return
        if verdict.warning is not None:
            self._owner.on_warning(verdict.warning)
        self._is_passive = verdict.is_passive
        if not verdict.is_passive:
            del self._steps[0]
        # The broker closes the channel at each refusal.
        self._open_channel()

    def _on_message(self, _channel: object, method: Any, properties: Any, body: bytes) -> None:
        if not self._is_cut:
            headers = properties.headers or {}
            delivery = Delivery(routing_key=method.routing_key, body=body, headers=headers)
            self._owner.on_message(method.delivery_tag, delivery)

    def _on_closed(self, _connection: object, error: Exception) -> None:
        self._lose(None if self._is_finished else explain(error))

    def _on_broken(self, error: Exception) -> None:
        self._lose(explain(error))

    def _lose(self, reason: Reason | None) -> None:
        if not self._is_cut:
            self.cut()
            self._owner.on_lost(reason)


def _parameters(options: AmqpOptions) -> pika.ConnectionParameters:
    """Return pika's form of the options.

    Raises:
        OSError: a file of a certificate cannot be read, or is none.
    """
    tls = None
    if options.is_tls:
        context = ssl.create_default_context(cafile=options.ca_file or None)
        if options.certificate_file:
            context.load_cert_chain(options.certificate_file, options.key_file)
        tls = pika.SSLOptions(context, options.host)
    return pika.ConnectionParameters(
        host=options.host,
        port=options.port,
        virtual_host=options.vhost,
        credentials=pika.PlainCredentials(options.user, options.password),
        ssl_options=tls,
        heartbeat=options.heartbeat,
        connection_attempts=1,
        socket_timeout=ANSWER,
        stack_timeout=ANSWER,
        client_properties={"connection_name": options.queue_name},
    )
