"""CURVE for the feeder's zmq socket: encryption, and who may send at all.

libzmq asks a socket of this process about each client (ZAP, rfc.zeromq.org/spec/27); without such a socket it lets
everybody in who knows the server's public key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import zmq
from zmq.utils import z85

from bridge.feeder.zmq_options import KEY_LENGTH

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bridge.feeder.loop import Loop

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
KEY_BYTES = 32


class KeyTextError(ValueError):
    """A key is not one, or libzmq cannot use it. The text says which, and has no part of it."""


def key_text(key: object, what: str) -> bytes:
    """Return a key that is text (Z85) as libzmq takes it, which says later whether it is one.

    Raises:
        KeyTextError: it has the wrong length. ``what`` says which key it is.
    """
    if not isinstance(key, str) or len(key) != KEY_LENGTH or not key.isascii():
        raise KeyTextError(f"{what} is no key of {KEY_LENGTH} characters")
    return key.encode("ascii")


def verdict(request: Sequence[bytes], allowed: Collection[bytes]) -> list[bytes]:
    """Return the answer to a question of libzmq's: may this client send?

    Args:
        request: the parts that ZAP defines: version, id, domain, address, identity, mechanism, and for CURVE the key.
        allowed: the public keys (Z85) of those who may. Empty: everybody may who has come so far.
    """
    version, number = (*request, b"", b"")[:2]
    mechanism, key = (*request[5:], b"", b"")[:2]
    is_known = not allowed or (len(key) == KEY_BYTES and z85.encode(key) in allowed)
    is_welcome = version == b"1.0" and mechanism == b"CURVE" and is_known
    status, reason = (b"200", b"OK") if is_welcome else (b"400", b"this key is not known")
    return [version, number, status, reason, b"", b""]


class Gate:
    """Answers libzmq's questions about clients."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], loop: Loop, allowed: Collection[bytes]) -> None:
        """Let in those whose public key is one of ``allowed``; open it before the socket that it guards is bound."""
        self._allowed = frozenset(allowed)
        self._socket = context.socket(zmq.REP)
        self._socket.bind(ZAP_ENDPOINT)
        self._loop = loop
        loop.watch(self._socket.fileno(), self._on_ready)

    def close(self) -> None:
        """Ask nobody any more; call it before the context is destroyed."""
        self._loop.forget(self._socket.fileno())

    def _on_ready(self, _events: int) -> None:
        # The descriptor tells of a question once: read until there is none.
        while True:
            try:
                request = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._socket.send_multipart(verdict(request, self._allowed), zmq.NOBLOCK)
