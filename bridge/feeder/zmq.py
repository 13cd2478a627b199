"""The zmq monitor: a PULL socket to which others send changes.

Nobody answers a sender, and no list can be asked for. What libzmq has received and the root side has not yet on disk
is lost if this process is killed.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from typing import TYPE_CHECKING

import zmq

from bridge.feeder import zmq_curve, zmq_message
from bridge.feeder.loop import Backoff, Loop
from bridge.feeder.protocol import LINE_MAX, Note, Orders, Well
from bridge.feeder.unanswered import Unanswered
from bridge.feeder.zmq_options import IPC, ZmqOptionsError, from_values

if TYPE_CHECKING:
    from bridge.feeder.root_side import RootSide
    from bridge.feeder.zmq_options import ZmqOptions

IN_USE = "another process listens there"


def open_feeder(orders: Orders, loop: Loop, root: RootSide) -> ZmqFeeder | None:
    """Listen as the orders say; where that fails, try again with growing pauses.

    With ``once`` there is nothing to ask, so that is told as trouble, and the loop stops. So it does if the options
    are wrong: they stay so until the root side gives others.
    """
    root.hide([str(orders.options.get("curve_secret_key", ""))])
    try:
        options = from_values(orders.options)
    except ZmqOptionsError as error:
        endpoint = orders.options.get("endpoint", "no endpoint")
        root.trouble(f"cannot listen on {endpoint}: {error}", "correct the monitor's setting")
        loop.stop()
        return None
    feeder = ZmqFeeder(options, loop, root)
    if orders.once:
        root.trouble(
            "zmq:// cannot be asked: others send changes, and only while the daemon runs",
            "start emperor-bridge.service; until then the vassals stay as they were",
        )
        loop.stop()
    else:
        feeder.listen()
    return feeder


class ZmqFeeder:
    """Tells the root side of each message, in the order in which they came."""

    def __init__(self, options: ZmqOptions, loop: Loop, root: RootSide) -> None:
        """Do nothing yet; :meth:`listen` begins."""
        self._options = options
        self._loop = loop
        self._root = root
        self._backoff = Backoff()
        self._unanswered: Unanswered[bool] = Unanswered()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._gate: zmq_curve.Gate | None = None

    def listen(self) -> None:
        """Bind the socket, or tell why that fails and try again later."""
        try:
            self._socket = self._bound()
        except (zmq.ZMQError, OSError, zmq_curve.KeyTextError) as error:
            self.close()
            self._root.trouble(
                f"cannot listen on {self._options.endpoint}: {_reason(error)}", _hint(error, self._options)
            )
            self._loop.call_later(self._backoff.next(), self.listen)
            return
        self._backoff.reset()
        self._root.send(Well())
        self._take()

    def ask(self) -> None:
        """Do nothing: messages are no whole answers."""

    def done(self, number: int) -> None:
        """Take the next messages, as one more may be told."""
        self._unanswered.take(number)
        self._take()

    def close(self) -> None:
        """Let the socket go. libzmq leaves the file of an ipc socket, and the next feeder takes it over."""
        if self._context is not None:
            if self._socket is not None:
                self._loop.forget(self._socket.fileno())
            if self._gate is not None:
                self._gate.close()
            self._context.destroy(linger=0)
        self._context = self._socket = self._gate = None

    def _bound(self) -> zmq.Socket[bytes]:
        if self._options.path:
            _require_free(self._options.path)
        self._context = zmq.Context()
        end = self._context.socket(zmq.PULL)
        end.setsockopt(zmq.MAXMSGSIZE, LINE_MAX)
        end.setsockopt(zmq.TCP_KEEPALIVE, 1)
        if self._options.endpoint.startswith(IPC):
            # At its limit libzmq stops reading. If the sender of an ipc socket then ends, what it has left there is
            # dropped (seen in 4.3.5). On tcp the rest waits, with the sender or in the kernel.
            end.setsockopt(zmq.RCVHWM, 0)
        self._encrypt(end)
        # libzmq makes the file of an ipc socket here; a mode that is set later would leave a moment to connect.
        before = os.umask(0o177)
        try:
            end.bind(self._options.endpoint)
        finally:
            os.umask(before)
        return end

    def _encrypt(self, end: zmq.Socket[bytes]) -> None:
        if not self._options.curve_secret_key or self._context is None:
            return
        if not zmq.has("curve"):
            raise zmq_curve.KeyTextError("this libzmq was built without CURVE")
        allowed = [zmq_curve.key_text(key, "a key of a client") for key in self._options.curve_client_keys]
        end.setsockopt(zmq.CURVE_SERVER, 1)
        end.setsockopt(zmq.CURVE_SECRETKEY, zmq_curve.key_text(self._options.curve_secret_key, "the secret key"))
        self._gate = zmq_curve.Gate(self._context, self._loop, allowed)

    def _take(self, _events: int = 0) -> None:
        """Read messages until none is left, or as many are unanswered as may be."""
        if self._socket is None:
            return
        descriptor = self._socket.fileno()
        while not self._unanswered.is_full:
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                # The descriptor tells of a message once, and that was before Again.
                self._loop.watch(descriptor, self._take)
                return
            self._tell(parts)
        # It stays readable as long as messages are left, and would wake the loop for nothing.
        self._loop.forget(descriptor)

    def _tell(self, parts: list[bytes]) -> None:
        change = zmq_message.change(parts, number=self._unanswered.next(), now=time.time())
        if not isinstance(change, Note):
            self._unanswered.hold(change.id, True)
        self._root.send(change)


def _require_free(path: str) -> None:
    """Raise an OSError where libzmq would remove what is there: the socket of a process, or another file."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise FileExistsError("a file is there that is no socket")
        with socket.socket(socket.AF_UNIX) as end:
            end.settimeout(1)
            end.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return
    raise OSError(IN_USE)


def _reason(error: Exception) -> str:
    if isinstance(error, zmq.ZMQError) and error.errno == zmq.EADDRINUSE:
        return IN_USE
    number = getattr(error, "errno", None)
    return (getattr(error, "strerror", "") if number else "") or str(error)


def _hint(error: Exception, options: ZmqOptions) -> str:
    if isinstance(error, zmq_curve.KeyTextError):
        return "make keys with zmq.curve_keypair() of pyzmq"
    if options.path:
        return "the folder must exist, and the feeder's user must be able to write there"
    if IN_USE in _reason(error):
        return "ss -lntp shows which; two monitors cannot share an endpoint, nor can an Emperor that still runs"
    return "the endpoint must be one of this machine's, such as tcp://127.0.0.1:5252 or ipc:///run/NAME.sock"
