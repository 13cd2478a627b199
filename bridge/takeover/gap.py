"""Measures the gap of a take-over: for how long nobody served an address.

It asks the kernel which sockets listen (sock_diag(7)), dozens of times a second, and connects to none. A connection
would wake every vassal that waits, and each running app would get one that says nothing. A socket of the Emperor's does
not count any more once the app behind it has ended, though the Emperor still has it: whoever connects then is not
answered. So from the end of an app on, a gap is never shorter than what clients see, and up to two samples longer. An
app that is being stopped still counts, though clients may get no answer already.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from bridge.host.listeners import all_heard, make_canonical_address
from bridge.model.address import UnixAddress

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from bridge.model.address import Address

STEP = 0.02
"""Seconds between two samples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """For how long addresses were not served."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    """By address; 0 for one that always was."""
    silent: tuple[str, ...] = ()
    """The addresses that still are not served."""

    @property
    def refused(self) -> int:
        """How many addresses were not served for a time."""
        return sum(seconds > 0 for seconds in self.seconds.values())

    @property
    def median(self) -> float:
        """The median of all addresses, in seconds."""
        return median(self.seconds.values()) if self.seconds else 0.0

    @property
    def worst(self) -> tuple[str, float]:
        """The address that was not served for longest, and the seconds."""
        return max(self.seconds.items(), key=lambda item: item[1], default=("", 0.0))


class GapMeter:
    """Keeps account of which addresses are served, sample by sample."""

    def __init__(self, addresses: Iterable[Address], now: float) -> None:
        """Begin: all addresses are served ``now``."""
        self._total = dict.fromkeys(addresses, 0.0)
        self._since: dict[Address, float] = {}
        """When each address that is not served was last seen to be."""
        self._last = now

    @property
    def silent(self) -> Collection[Address]:
        """The addresses that were not served at the last sample."""
        return self._since.keys()

    def sample(self, now: float, heard: Mapping[Address, Collection[int]], retired: Collection[int]) -> None:
        """Enter a sample.

        Args:
            now: when it was taken.
            heard: the inode numbers of the sockets that listen, by address.
            retired: those at which nobody is served any more.
        """
        for address in self._total:
            if any(number not in retired for number in heard.get(address, ())):
                self._total[address] += now - self._since.pop(address, now)
            else:
                self._since.setdefault(address, self._last)
        self._last = now

    def gap(self) -> Gap:
        """Return what was measured."""
        seconds = {str(a): total + self._last - self._since.get(a, self._last) for a, total in self._total.items()}
        return Gap(seconds=seconds, silent=tuple(sorted(map(str, self._since))))


class GapWatch:
    """Takes samples in a thread of its own, until it is closed."""

    def __init__(self, addresses: Iterable[Address]) -> None:
        self._retired: set[int] = set()
        self._canonical_address = make_canonical_address()
        self._meter = GapMeter(addresses, time.monotonic())
        self.silent: frozenset[Address] = frozenset()
        """The addresses that were not served at the last sample."""
        self._is_over = threading.Event()
        self._all_served = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gap", daemon=True)
        self._thread.start()

    def retire(self, numbers: Iterable[int]) -> None:
        """Have sockets not count any more, by their inode numbers: nobody answers there."""
        self._retired.update(numbers)

    def wait(self, timeout: float) -> None:
        """Wait until every address is served, but not for longer than this."""
        self._all_served.clear()
        self._all_served.wait(timeout)

    def close(self) -> Gap:
        """End the measurement and return its result."""
        self._is_over.set()
        self._thread.join()
        return self._meter.gap()

    def _run(self) -> None:
        while not self._is_over.wait(STEP):
            if (listening := all_heard()) is None:
                continue
            heard: dict[Address, set[int]] = {}
            for one in listening:
                heard.setdefault(self._canonical_address(one.address), set()).add(one.number)
            there = {a: n for a, n in heard.items() if not isinstance(a, UnixAddress) or os.path.lexists(a.path)}
            self._meter.sample(time.monotonic(), there, frozenset(self._retired))
            self.silent = frozenset(self._meter.silent)
            if not self.silent:
                self._all_served.set()
