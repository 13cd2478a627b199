"""Runs in the machine and takes the times there: `python -m tests.bench.agent STEP ARGUMENTS`, both ways JSON."""

from __future__ import annotations

import json
import os
import random
import select
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inotify_simple import INotify, flags

from . import layout, listening
from .asking import await_connections, cold, wrk
from .commands import FailedError, do, run, start, write
from .gauges import memory, probe, settle, ticks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

LOOKING = 10
"""A look at the sockets is followed by at least so many times as long without one: looking must not disturb."""
LEAST = 0.0005


def populate(size: int, idle: int, kind: str, slice_name: str = "") -> None:
    """Write so many vassals, and for "bare" their units."""
    for folder in (layout.VASSALS, layout.SOCKETS, str(Path(layout.APP).parent)):
        Path(folder).mkdir(parents=True, exist_ok=True)
    Path(layout.APP).write_text(layout.APP_TEXT)
    names = [layout.name_of(number) for number in range(size)]
    for name in names:
        files = layout.vassal(name, layout.config(idle=idle))
        write(files | (layout.bare_units(name, slice_name=slice_name) if kind == "bare" else {}))
    if kind == "bare":
        write(layout.bare_target(layout.TARGET, names))
    # Else the disk would be at work during the first measure.
    os.sync()


def bring_up(argv: list[str], size: int, timeout: float) -> dict[str, float]:
    """Start what brings so many sockets up; return when all listened and when it had returned."""
    began = time.monotonic()
    process = start(argv)
    poll = select.poll()
    poll.register(os.pidfd_open(process.pid), select.POLLIN)
    listens = returned = 0.0
    pause = LEAST
    while not (listens and returned):
        if not returned and poll.poll(pause * 1000):
            returned = time.monotonic() - began
            if process.wait():
                raise FailedError(f"exit status {process.returncode}: {Path(layout.OUTPUT).read_text()[-500:]}")
        elif returned:
            time.sleep(pause)
        look = time.monotonic()
        if look > began + timeout:
            process.kill()
            raise FailedError(f"{listening.count()} of {size} sockets listen after {timeout:g} s")
        if not listens:
            listens = look - began if listening.count() >= size else 0.0
            pause = max(LEAST, LOOKING * (time.monotonic() - look))
        else:
            pause = timeout
    return {"listens": listens, "returned": returned, "done": max(listens, returned)}


def times(argv: list[str], repeat: int, timeout: float) -> list[float]:
    """Return how long a command takes."""
    found = []
    for _ in range(repeat):
        began = time.monotonic()
        run(argv, timeout)
        found.append(time.monotonic() - began)
    return found


def change(
    *,
    before: list[list[Any]],
    timed: list[list[Any]],
    listens: list[str],
    gone: list[str],
    timeout: float,
    pause: float = 0.1,
    seed: str | int = 0,
) -> float:
    """Do what must be done, and return the seconds until the addresses listen or are gone and all has returned.

    Before it there is a pause at random, so as not to be in step with who looks every few seconds.
    """
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    do(before, timeout)
    time.sleep(chance.uniform(0.05, pause))
    with INotify(nonblocking=True) as events:
        events.add_watch(layout.SOCKETS, flags.CREATE | flags.DELETE | flags.MOVED_TO)
        began = time.monotonic()
        do(timed, timeout)
        return await_sockets(events, set(listens), set(gone), began + timeout) - began


def await_sockets(events: INotify, listens: Collection[str], gone: Collection[str], deadline: float) -> float:
    """Return when it was that all was so."""
    unseen = {Path(path).name for path in listens if not Path(path).exists()}
    while True:
        # Bound and listening are one moment. To look at thousands of sockets takes long, and disturbs.
        while unseen and time.monotonic() < deadline:
            unseen -= {event.name for event in events.read(timeout=100) if not event.mask & flags.DELETE}
        look = time.monotonic()
        there = listening.addresses()
        if there.issuperset(listens) and there.isdisjoint(gone):
            return look
        if look > deadline:
            missing, left = set(listens) - there, set(gone) & there
            raise FailedError(f"too late: {len(missing)} do not listen, {len(left)} are not gone")
        pause = max(LEAST, LOOKING * (time.monotonic() - look))
        # What has no file to tell of it is found by looking.
        events.read(timeout=max(1, int(pause * 1000)))


STEPS: dict[str, Callable[..., object]] = {
    step.__name__: step for step in (populate, bring_up, times, change, cold, ticks, memory, await_connections, wrk, do)
}


def main() -> int:
    """Do one step when the processes it is about are at rest."""
    asked = json.load(sys.stdin)
    try:
        settle(asked["rest"])
        probed = probe()
        found = STEPS[sys.argv[1]](**asked["arguments"])
    except (FailedError, OSError, ValueError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    json.dump({"probe": round(probed, 6), "found": found}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
