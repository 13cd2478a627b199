"""Requests to vassals, from inside the machine: what wakes them, and how many they answer."""

from __future__ import annotations

import os
import random
import select
import signal
import time
from pathlib import Path
from typing import NamedTuple

from tests.booted.client import Connection, parse_response, variables

from .commands import FailedError, run

PATIENCE = 30.0
"""Seconds a request may take, and an idle vassal its exit."""


STAMPS = (
    "InactiveExitTimestampMonotonic",
    "ExecMainStartTimestampMonotonic",
    "ExecMainHandoffTimestampMonotonic",  # systemd 256 and later
)


def cold(
    *, addresses: list[str], repeat: int, spread: float, seed: int, kill: bool, splits: bool
) -> dict[str, list[float]]:
    """Return the seconds from connection to first byte, at random moments; the very first is for a warm file cache.

    ``splits`` adds the parts of each, which systemd and the app tell, by their names.

    With fewer addresses than samples each must have ended before it is asked again. To systemd an idle exit is any exit
    with 0, so there it may be hurried; the Emperor puts a vassal that ends otherwise on a fresh socket.
    """
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    found: dict[str, list[float]] = {}
    for number in range(repeat + 1):
        time.sleep(0.2 + chance.uniform(0, spread))
        answer = first_byte(addresses[number % len(addresses)])
        master = answer.master
        if number:
            found.setdefault("cold", []).append(answer.first - answer.began)
            for name, part in parts_of(answer).items() if splits else ():
                found.setdefault(name, []).append(part)
        if len(addresses) <= repeat:
            if kill:
                os.kill(master, signal.SIGINT)
            await_end(master)
    return found


class Answer(NamedTuple):
    """One cold start. Times are those of ``time.monotonic()``."""

    began: float
    first: float
    """When the first byte came."""
    master: int
    loaded: float
    """When the app's first line ran."""


def parts_of(answer: Answer) -> dict[str, float]:
    """Return the parts of a cold start. Without the time of the exec, that of the fork stands for it."""
    unit = Path(f"/proc/{answer.master}/cgroup").read_text().strip().rpartition("/")[2]
    said = run(["systemctl", "show", "-p", ",".join(STAMPS), unit], PATIENCE)
    stamps = {key: int(value) / 1e6 for key, _, value in (line.partition("=") for line in said.split()) if value}
    left, forked, ran = (stamps.get(name, 0.0) for name in STAMPS)
    parts = {"cold-wake": left - answer.began, "cold-app": answer.first - answer.loaded}
    if ran:
        parts["cold-exec"] = ran - forked
    return {**parts, "cold-start": answer.loaded - (ran or forked)}


def first_byte(address: str) -> Answer:
    """Ask once."""
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
        answered = time.monotonic()
        status, text = parse_response(first + connection.read_all())
    finally:
        connection.close()
    if status != 200:
        raise FailedError(f"{address} answers {status}")
    master, loaded = text.split()
    return Answer(began, answered, int(master), float(loaded))


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
