"""``python -m bridge.feeder``: it learns what a monitor's server has, and tells the root side through descriptor 0."""

from __future__ import annotations

import importlib
import os
import socket
import sys
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bridge.feeder.loop import Loop
from bridge.feeder.protocol import Ask, Done, Message, Orders, ProtocolError
from bridge.feeder.root_side import RootSide, RootSideGoneError

if TYPE_CHECKING:
    from types import TracebackType


class Feeder(Protocol):
    """What a scheme's module opens: ``open_feeder(orders, loop, root)``.

    It may return without having reached the server; from then on the loop calls it. It ends the process by
    :meth:`Loop.stop`, which it must do for ``once``.
    """

    def done(self, number: int) -> None:
        """Take the root side's answer to the Put or Remove that had this id."""

    def ask(self) -> None:
        """Give the whole answer again, whether it is news or not. Nothing is done where there are no whole answers."""

    def close(self) -> None:
        """Let the server go, without waiting. The process ends now."""


@dataclass(frozen=True, slots=True)
class _Scheme:
    module: str
    driver: str
    """The Python package that talks to the server."""
    package: str
    """Debian's name for it."""


_SCHEMES = {
    "pg": _Scheme("bridge.feeder.pg", "psycopg", "python3-psycopg"),
    "mongodb": _Scheme("bridge.feeder.mongodb", "pymongo", "python3-pymongo"),
    "zmq": _Scheme("bridge.feeder.zmq", "zmq", "python3-zmq"),
    "amqp": _Scheme("bridge.feeder.amqp", "pika", "python3-pika"),
}


class Process:
    """One feeder from its orders to its end."""

    def __init__(self, end: socket.socket) -> None:
        """Talk to the root side through ``end``, a connected stream socket."""
        self._loop = Loop()
        self._root = RootSide(end, self._loop, self._receive)
        self._feeder: Feeder | None = None
        self._status = 0

    def run(self) -> int:
        """Work until the root side closes the socket, or until the answer asked for was given; return the exit status.

        The status is EX_CONFIG (sysexits.h) if starting again as things are would not help, else 0 or 1.
        """
        try:
            self._loop.run()
        except RootSideGoneError:
            return 0
        except ProtocolError as error:
            sys.stderr.write(f"the feeder stops: {error}\n")
            return 1
        except Exception as error:
            return self._tell_defect(error)
        finally:
            if self._feeder is not None:
                self._feeder.close()
        return self._status

    def _receive(self, message: Message) -> None:
        if isinstance(message, Orders) and self._feeder is None:
            self._start(message)
        elif isinstance(message, Done) and self._feeder is not None:
            self._feeder.done(message.id)
        elif isinstance(message, Ask) and self._feeder is not None:
            self._feeder.ask()
        else:
            raise ProtocolError(f"a message of the kind {type(message).__name__} is not expected now")

    def _start(self, orders: Orders) -> None:
        scheme = _SCHEMES.get(orders.scheme)
        if scheme is None:
            raise ProtocolError("the orders have an unknown scheme")
        try:
            importlib.import_module(scheme.driver)
        except ImportError as error:
            self._root.trouble(
                f"the driver for {orders.scheme}:// cannot be loaded: {error}",
                f"install Debian's package {scheme.package}, or emperor-bridge[{orders.scheme}] with pip",
            )
            self._status = os.EX_CONFIG
            self._loop.stop()
            return
        self._feeder = importlib.import_module(scheme.module).open_feeder(orders, self._loop, self._root)

    def _tell_defect(self, error: Exception) -> int:
        # The texts of exceptions and the source lines of a traceback may quote what the server or the orders said.
        places = "\n".join(f"  {place}" for place in _places(error.__traceback__))
        sys.stderr.write(f"the feeder has a defect: {type(error).__name__} at\n{places}\n")
        try:
            self._root.trouble(
                f"the feeder has a defect: {type(error).__name__} at {_places(error.__traceback__)[-1]}",
                "please report it, with what the feeder's unit has in the journal",
            )
        except RootSideGoneError:
            return 0
        return 1


def _places(trace: TracebackType | None) -> list[str]:
    return [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(trace)] or ["an unknown place"]


def main() -> int:
    """Run the feeder on descriptor 0."""
    try:
        end = socket.socket(fileno=0)
        end.getpeername()
    except OSError:
        sys.stderr.write("this program is started by emperor-bridge; its standard input is a socket\n")
        return os.EX_USAGE
    return Process(end).run()


if __name__ == "__main__":
    # Without what drivers do at exit: it fails if their threads are still at work, and writes a traceback.
    os._exit(main())
