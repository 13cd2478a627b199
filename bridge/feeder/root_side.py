"""The feeder's end of the socket to the root side."""

from __future__ import annotations

import select
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.feeder.protocol import LINE_MAX, End, Message, Note, ProtocolError, Trouble, Well, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from bridge.feeder.loop import Loop

_CHUNK = 1 << 16


class RootSideGoneError(Exception):
    """The root side has closed the socket: this process has nothing more to do."""


class RootSide:
    """Sends messages to the root side, and hands on those that come from it.

    Nothing waits for the root side to read, unless the socket's buffer is full.
    """

    def __init__(self, end: socket.socket, loop: Loop, received: Callable[[Message], object]) -> None:
        """Use one end of a connected stream socket.

        Args:
            end: the socket; it is read and written here only.
            loop: calls back when something comes.
            received: is called with each message, one after the other.
        """
        self._socket = end
        self._loop = loop
        self._received = received
        self._buffer = bytearray()
        self._trouble: Trouble | None = None
        self._secrets: tuple[str, ...] = ()
        loop.watch(end.fileno(), self._on_ready)

    def hide(self, secrets: Collection[str]) -> None:
        """Replace these texts by ``***`` in all messages for people from now on, longest first."""
        self._secrets = tuple(sorted({secret for secret in secrets if secret}, key=len, reverse=True))

    def redacted(self, text: str) -> str:
        """Return a text without the secrets that :meth:`hide` knows."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def redacted_note(self, note: Note) -> Note:
        """Return a note without the secrets that :meth:`hide` knows."""
        return replace(note, message=self.redacted(note.message), hint=self.redacted(note.hint))

    @property
    def is_trouble(self) -> bool:
        """Whether the last that was told of the server is that it cannot be asked."""
        return self._trouble is not None

    def trouble(self, message: str, hint: str = "") -> None:
        """Tell that the server cannot be asked, and why. The same reason is told once."""
        trouble = Trouble(message=self.redacted(message), hint=self.redacted(hint))
        if trouble != self._trouble:
            self.send(trouble)

    def note(self, code: str, message: str, hint: str, *, name: str = "", is_warning: bool = False) -> None:
        """Tell that something is wrong with the entry ``name``, or with the whole monitor if it is empty."""
        self.send(self.redacted_note(Note(code=code, message=message, hint=hint, name=name, is_warning=is_warning)))

    def well(self) -> None:
        """Tell that the server answers again, if it was in trouble."""
        if self.is_trouble:
            self.send(Well())

    def send(self, message: Message) -> None:
        """Send one message.

        Raises:
            RootSideGoneError: there is nobody to read it.
        """
        if isinstance(message, Trouble):
            self._trouble = message
        elif isinstance(message, End | Well):
            self._trouble = None
        self.send_line(encode(message))

    def send_line(self, line: bytes) -> None:
        """Send one message that is encoded already.

        Raises:
            RootSideGoneError: there is nobody to read it.
        """
        rest = memoryview(line)
        while rest:
            try:
                rest = rest[self._socket.send(rest, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                self._wait_to_send()
            except OSError as error:
                raise RootSideGoneError from error

    def _wait_to_send(self) -> None:
        # The root side may itself wait for its Done to be read.
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | select.POLLOUT)
        for _, events in poll.poll():
            if events & ~select.POLLOUT:
                self._fill()
                # The loop sees only what the socket still holds.
                self._loop.call_later(0, self._hand_on)

    def _on_ready(self, _events: int) -> None:
        self._fill()
        self._hand_on()

    def _fill(self) -> None:
        try:
            data = self._socket.recv(_CHUNK, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as error:
            raise RootSideGoneError from error
        if not data:
            raise RootSideGoneError
        self._buffer += data

    def _hand_on(self) -> None:
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[: end + 1])
            del self._buffer[: end + 1]
            self._received(decode(line))
        if len(self._buffer) > LINE_MAX:
            raise ProtocolError("a line from the root side is too long")
