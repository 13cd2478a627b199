"""What a feeder sleeps in: one poll(2) over descriptors and times. Nothing in it wakes while nothing happens."""

from __future__ import annotations

import heapq
import itertools
import random
import select
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 6.0
"""Seconds before the first attempt to reach a server again, and the most between two."""


class Backoff:
    """The pauses between attempts to reach a server: 1, 2, 4, 6 and 6 seconds again, each up to a half shorter.

    A server that is back is known of within 6 seconds. Many hosts lose one server in the same moment; as each has
    pauses of its own, they come back one after the other. 10,000 hosts are then 2,200 attempts in a second.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        """``chance`` returns a number from 0 up to 1, by which a pause is shorter."""
        self._pause = FIRST_PAUSE
        self._chance = chance

    def next(self) -> float:
        """Return the seconds to wait now; the next pause will be about twice as long."""
        pause = self._pause
        self._pause = min(2 * pause, LONGEST_PAUSE)
        return pause * (1 - self._chance() / 2)

    def reset(self) -> None:
        """Begin with the first pause again. Call it when the server has answered, not when it was only reached."""
        self._pause = FIRST_PAUSE


@dataclass(order=True, slots=True)
class Timer:
    """A call that :meth:`Loop.call_later` has arranged."""

    due: float
    """When, by ``time.monotonic()``."""
    number: int
    callback: Callable[[], object] | None = field(compare=False)

    def cancel(self) -> None:
        """Do not make the call. Nothing happens if it was made."""
        self.callback = None


@dataclass(slots=True, eq=False)
class _Watched:
    events: int
    callback: Callable[[int], object]


class Loop:
    """Calls back when a descriptor is ready, or a time has come.

    Descriptors go before times. So an answer that came in time counts, even if the process slept past its deadline.
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._watched: dict[int, _Watched] = {}
        self._timers: list[Timer] = []
        self._numbers = itertools.count()
        self._is_stopped = False

    def watch(self, descriptor: int, callback: Callable[[int], object], events: int = select.POLLIN) -> None:
        """Call ``callback`` with the events of a descriptor whenever it has some; it replaces an earlier callback.

        Args:
            descriptor: an open file descriptor. Forget it before you close it.
            callback: is called with what poll(2) says: ``events``, POLLERR and POLLHUP.
            events: what to wait for, such as ``POLLIN | POLLOUT``.
        """
        self._watched[descriptor] = _Watched(events, callback)
        self._poll.register(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Watch a descriptor no more. Nothing happens if it is not watched."""
        if self._watched.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Arrange one call after so many seconds. 0: as soon as all ready descriptors had their turn."""
        timer = Timer(time.monotonic() + seconds, next(self._numbers), callback)
        heapq.heappush(self._timers, timer)
        return timer

    def stop(self) -> None:
        """Have :meth:`run` return after the present callback."""
        self._is_stopped = True

    def run(self) -> None:
        """Wait and call back until :meth:`stop` is called, or until nothing is left to wait for."""
        self._is_stopped = False
        while not self._is_stopped:
            self._drop_cancelled()
            if not self._watched and not self._timers:
                return
            self._turn()

    def _turn(self) -> None:
        for descriptor, watched, events in self._ready():
            # An earlier callback of this turn may have closed it, and the number may be another file's by now.
            if self._watched.get(descriptor) is watched:
                watched.callback(events)
            if self._is_stopped:
                return
        now = time.monotonic()
        # Only those due now: a callback that arranges the next call at once must not keep descriptors from their turn.
        due = [heapq.heappop(self._timers) for _ in range(self._count_due(now))]
        for timer in due:
            if timer.callback is not None:
                timer.callback()
            if self._is_stopped:
                return

    def _ready(self) -> list[tuple[int, _Watched, int]]:
        timeout = None
        if self._timers:
            # poll(2) counts whole milliseconds: round up, so as not to wake too early.
            timeout = max(0.0, (self._timers[0].due - time.monotonic()) * 1000 + 0.999)
        return [(fd, self._watched[fd], events) for fd, events in self._poll.poll(timeout)]

    def _count_due(self, now: float) -> int:
        return sum(timer.due <= now for timer in self._timers)

    def _drop_cancelled(self) -> None:
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
