"""pika's connection on the feeder's own loop.

pika wants a loop of its own kind. A blocking connection would be simpler, but it cannot wait for the root side's
socket at the same time.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from pika.adapters.utils.nbio_interface import AbstractIOReference
from pika.adapters.utils.selector_ioloop_adapter import AbstractSelectorIOLoop, SelectorIOServicesAdapter

from bridge.feeder.root_side import RootSideGoneError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from bridge.feeder.loop import Loop, Timer


class PikaLoop(AbstractSelectorIOLoop):  # type: ignore[misc]
    """The part of the loop that one connection uses. :meth:`abandon` takes all of it back.

    What pika raises while it handles bytes from the network is not raised in the loop: the connection is broken then.
    """

    READ = select.POLLIN
    WRITE = select.POLLOUT
    ERROR = select.POLLERR | select.POLLHUP

    def __init__(self, loop: Loop, *, after: Callable[[], object], broken: Callable[[Exception], object]) -> None:
        """Use ``loop``.

        Args:
            loop: calls back.
            after: is called after pika has looked at a descriptor.
            broken: is called with what pika raises.
        """
        self._loop = loop
        self._after = after
        self._broken = broken
        self._descriptors: dict[int, int] = {}
        """The events that are waited for, by descriptor."""
        self._handlers: dict[int, Callable[[int], object]] = {}
        self._timers: dict[int, Timer] = {}
        self._callbacks: deque[Callable[[], object]] = deque()
        self._is_abandoned = False
        # pika looks up host names in a thread, which may only write here.
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        loop.watch(self._bell, self._on_bell)

    def abandon(self) -> None:
        """Call nothing of this connection any more, and cut it."""
        self._is_abandoned = True
        for descriptor in list(self._descriptors):
            self.remove_handler(descriptor)
            # pika closes the descriptor when the connection is collected. The broker shall see the end now.
            with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as end:
                end.shutdown(socket.SHUT_RDWR)
        for timer in self._timers.values():
            timer.cancel()
        self._loop.forget(self._bell)
        self._callbacks.clear()

    def close(self) -> None:
        """Do nothing: the loop is not the connection's."""

    def start(self) -> None:
        """Do nothing: the loop runs already."""

    def stop(self) -> None:
        """Do nothing: the loop goes on without the connection."""

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Arrange one call after ``delay`` seconds."""

        def call() -> None:
            self._timers.pop(timer.number, None)
            self._guard(callback)

        timer = self._loop.call_later(delay, call)
        self._timers[timer.number] = timer
        return timer

    def remove_timeout(self, timeout_handle: Timer) -> None:
        """Do not make that call."""
        self._timers.pop(timeout_handle.number, None)
        timeout_handle.cancel()

    def add_callback(self, callback: Callable[[], object]) -> None:
        """Arrange one call as soon as possible; any thread may ask for it."""
        self._callbacks.append(callback)
        with suppress(OSError):
            os.eventfd_write(self._bell, 1)

    def add_handler(self, fd: int, handler: Callable[[int, int], object], events: int) -> None:
        """Call ``handler`` with a descriptor and its events."""
        self._descriptors[fd] = events

        def call(found: int) -> None:
            asked = self._descriptors.get(fd, 0)
            # pika looks at an error only as part of what it waits for.
            self._guard(lambda: handler(fd, found | asked if found & self.ERROR else found))
            self._guard(self._after)

        self._handlers[fd] = call
        self._loop.watch(fd, call, events)

    def update_handler(self, fd: int, events: int) -> None:
        """Wait for other events of a descriptor."""
        self._descriptors[fd] = events
        self._loop.watch(fd, self._handlers[fd], events)

    def remove_handler(self, fd: int) -> None:
        """Wait for a descriptor no more."""
        self._descriptors.pop(fd, None)
        self._handlers.pop(fd, None)
        self._loop.forget(fd)

    def __del__(self) -> None:
        # Only now can no thread ring any more: the number may be another file's after it is closed.
        with suppress(OSError, AttributeError):
            os.close(self._bell)

    def _on_bell(self, _events: int) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        for _ in range(len(self._callbacks)):
            if self._callbacks:
                self._guard(self._callbacks.popleft())

    def _guard(self, call: Callable[[], object]) -> None:
        if self._is_abandoned:
            return
        # A broker may send anything, and pika raises as many kinds of exceptions.
        try:
            call()
        except RootSideGoneError:
            raise
        except Exception as error:
            self._broken(error)


class Services(SelectorIOServicesAdapter):  # type: ignore[misc]
    """What pika builds on a loop, with one difference: the process can end while a host name is looked up."""

    def getaddrinfo(self, host: str, port: int, on_done: Callable[[Any], object], **hints: int) -> Lookup:
        """Look up a name in a thread, and call ``on_done`` with the addresses, or with the exception."""
        kind, protocol = hints.get("socktype", 0), hints.get("proto", 0)
        return Lookup(self, lambda: socket.getaddrinfo(host, port, type=kind, proto=protocol), on_done)


class Lookup(AbstractIOReference):  # type: ignore[misc]
    """A question for the addresses of a host."""

    def __init__(self, services: Services, look_up: Callable[[], Any], on_done: Callable[[Any], object]) -> None:
        """Ask now. pika's own thread would have to be waited for, which can take half a minute."""
        self._on_done = on_done
        self._is_cancelled = False

        def ask() -> None:
            try:
                answer = look_up()
            except (OSError, UnicodeError) as error:
                answer = error
            services.add_callback_threadsafe(lambda: self._tell(answer))

        threading.Thread(target=ask, daemon=True).start()

    def cancel(self) -> bool:
        """Do not tell the answer; return whether that was in time."""
        was_waiting = not self._is_cancelled
        self._is_cancelled = True
        return was_waiting

    def _tell(self, answer: Any) -> None:
        if self.cancel():
            self._on_done(answer)
