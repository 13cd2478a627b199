"""Runs in the machine and takes the times there: `python -m tests.bench.agent STEP ARGUMENTS`, both ways JSON."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inotify_simple import INotify, flags

from tests.booted.client import Connection, parse_response, variables

from . import layout, listening

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

LOOKING = 10
"""A look at the sockets is followed by at least so many times as long without one: looking must not disturb."""
LEAST = 0.0005
WORK = 800_000
CALM = 0.15
"""Seconds without a clock tick that are rest."""
PATIENCE = 30.0
"""Seconds a request may take, and an idle vassal its exit."""
STALE = "changed on disk"
"""What systemctl warns of when it starts a unit that systemd must read again first."""


class FailedError(Exception):
    """A step cannot be done; the text says why."""


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


def write(files: dict[str, str]) -> None:
    """Write files in their order."""
    for path, text in files.items():
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def start(argv: list[str]) -> subprocess.Popen[bytes]:
    """Start a command whose output goes to a file."""
    with open(layout.OUTPUT, "wb") as output:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)


def run(argv: list[str], timeout: float) -> str:
    """Run a command, which must succeed; return what it said."""
    process = start(argv)
    try:
        status = process.wait(timeout)
    except subprocess.TimeoutExpired as error:
        process.kill()
        raise FailedError(f"{' '.join(argv[:3])} did not end within {timeout:g} s") from error
    said = Path(layout.OUTPUT).read_text(errors="replace")
    if status:
        raise FailedError(f"{' '.join(argv[:3])} exited with {status}: {said[-500:]}")
    return said


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
    if process.wait():
        raise FailedError(f"exit status {process.returncode}: {Path(layout.OUTPUT).read_text()[-500:]}")
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
    while True:
        look = time.monotonic()
        there = listening.addresses()
        if there.issuperset(listens) and there.isdisjoint(gone):
            return look
        if look > deadline:
            missing, left = set(listens) - there, set(gone) & there
            raise FailedError(f"too late: {len(missing)} do not listen, {len(left)} are not gone")
        pause = max(LEAST, LOOKING * (time.monotonic() - look))
        if len(listens) + len(gone) > 1:
            time.sleep(pause)
        # Bound and listening are one moment; what has no file to tell of it is found by looking.
        events.read(timeout=max(1, int(pause * 1000)))


def do(actions: list[list[Any]], timeout: float) -> None:
    """Do what is asked for: write files, remove them, run a command, start units."""
    for verb, what in actions:
        if verb == "write":
            write(what)
        elif verb == "unlink":
            for path in what:
                os.unlink(path)
        elif verb == "run":
            run(what, timeout)
        elif verb == "start" and STALE in run(["systemctl", "start", *what], timeout):
            run(["systemctl", "stop", *what], timeout)
            run(["systemctl", "daemon-reload"], timeout)
            run(["systemctl", "start", *what], timeout)


def cold(*, addresses: list[str], repeat: int, spread: float, seed: int, kill: bool) -> list[float]:
    """Return the seconds from connection to first byte, at random moments; the very first is for a warm file cache.

    With fewer addresses than samples each must have ended before it is asked again. To systemd an idle exit is any exit
    with 0, so there it may be hurried; the Emperor puts a vassal that ends otherwise on a fresh socket.
    """
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    found = []
    for number in range(repeat + 1):
        time.sleep(0.2 + chance.uniform(0, spread))
        taken, master = first_byte(addresses[number % len(addresses)])
        found.append(taken)
        if len(addresses) <= repeat:
            if kill:
                os.kill(master, signal.SIGINT)
            await_end(master)
    return found[1:]


def first_byte(address: str) -> tuple[float, int]:
    """Ask once; return the seconds to the first byte and the vassal's master."""
    body = b"".join(
        len(text).to_bytes(2, "little") + text
        for pair in variables("/").items()
        for text in (part.encode() for part in pair)
    )
    request = b"\0" + len(body).to_bytes(2, "little") + b"\0" + body
    began = time.monotonic()
    connection = Connection(address, PATIENCE)
    try:
        connection.send(request)
        first = connection.read(1)
        taken = time.monotonic() - began
        status, text = parse_response(first + connection.read_all())
    finally:
        connection.close()
    if status != 200:
        raise FailedError(f"{address} answers {status}")
    return taken, int(text)


def await_end(pid: int) -> None:
    """Return when a process has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(PATIENCE * 1000):
        raise FailedError("an idle vassal does not end")
    os.close(descriptor)


def ticks(pids: list[int], seconds: float) -> list[int]:
    """Return the clock ticks that processes have had of the processors while time went by."""
    before = [_ticks(pid) for pid in pids]
    time.sleep(seconds)
    return [_ticks(pid) - had for pid, had in zip(pids, before, strict=True)]


def _ticks(pid: int) -> int:
    """Return `utime` and `stime` of proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def settle(pids: list[int]) -> None:
    """Return when processes have had nothing to do for a moment: what comes next is not to wait for what was before.

    One that never rests, as the Emperor with thousands of vassals, is not waited for for ever.
    """
    deadline = time.monotonic() + PATIENCE
    had: list[int] = []
    while had != (has := [_ticks(pid) for pid in pids]) and time.monotonic() < deadline:
        had = has
        time.sleep(CALM)


def probe() -> float:
    """Return the seconds that a fixed work takes on all processors at once: it tells how disturbed the machine is."""
    began = time.perf_counter()
    children = []
    for _ in range(os.cpu_count() or 1):
        if not (child := os.fork()):
            for _ in range(WORK):
                pass
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    return time.perf_counter() - began


def memory(pid: int) -> dict[str, int]:
    """Return a process's memory in bytes."""
    lines = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return {fields[0].rstrip(":").lower(): int(fields[1]) * 1024 for fields in lines if fields[0] in {"Rss:", "Pss:"}}


def await_connections(addresses: list[str]) -> None:
    """Return when all addresses accept; it wakes the vassals."""
    deadline = time.monotonic() + PATIENCE
    for address in addresses:
        while True:
            try:
                Connection(address, PATIENCE).close()
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


def wrk(addresses: list[str], repeat: int, seconds: int) -> list[list[float]]:
    """Return the requests per second at each address in turn, so many times; what the first turn says is not kept."""
    found: list[list[float]] = [[] for _ in addresses]
    for turn in range(repeat + 1):
        for rates, address in zip(found, addresses, strict=True):
            said = run(["wrk", "-t1", "-c4", f"-d{seconds}s", f"http://{address}/"], seconds + 20)
            if turn:
                rates.append(float(said.partition("Requests/sec:")[2].split()[0]))
    return found


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
