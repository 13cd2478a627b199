"""The root side's end of a feeder's socket: whole messages in and out, nothing waits, and nothing grows without end."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.feeder.protocol import LINE_MAX, ProtocolError, decode, encode

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator

    from bridge.feeder.protocol import Message

_CHUNK = 256 * 1024
"""Bytes that are taken at once, so that others have their turn."""
_OUT_MAX = 4 * 1024 * 1024
"""Bytes that may wait for a feeder that does not read."""


class Channel:
    """One end of a stream socket. The other one is the standard input of a feeder."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._in = bytearray()
        self._out = bytearray()
        self.is_ended = False
        """Whether the feeder has closed its end."""

    def fileno(self) -> int:
        """Return the descriptor that is readable when something has come."""
        return self._socket.fileno()

    @property
    def has_unsent(self) -> bool:
        """Whether :meth:`send` is to be called again, when there is room."""
        return bool(self._out)

    def read(self) -> Iterator[Message]:
        """Yield the messages that have come, or a part of them.

        Raises:
            ProtocolError: what came is no message, or longer than any may be.
        """
        try:
            chunk = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self.is_ended = True
            return
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._in += line
            whole, self._in = bytes(self._in), bytearray()
            yield decode(whole)
        self._in += rest
        if len(self._in) > LINE_MAX:
            raise ProtocolError("a message is too long")

    def send(self, messages: Iterable[Message] = ()) -> None:
        """Send messages, and before them what could not be sent yet. A feeder that is gone is noticed by reading.

        Raises:
            ProtocolError: the feeder has not read for long.
        """
        for message in messages:
            self._out += encode(message)
        if len(self._out) > _OUT_MAX:
            raise ProtocolError("it does not read")
        with suppress(OSError):
            while self._out:
                del self._out[: self._socket.send(self._out)]

    def close(self) -> None:
        """End the conversation, and with it the feeder."""
        self._socket.close()
