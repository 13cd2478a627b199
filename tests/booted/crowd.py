"""Clients in the machine that ask until the standard input ends, then print every request they made as JSON.

`crowd.py --clients N ADDRESS`: N clients, each asking again as soon as it is answered.
`crowd.py --seed SEED ADDRESS...`: visits to each address at random times, most of them about when an app ends that is
idle for a second; a visit is one to three clients at once.
`crowd.py --every SECONDS ADDRESS...`: each address is asked so often. Once all have answered, "asked" is written to the
standard error. Standard library only; the protocol is uwsgi.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .client import request
else:
    from client import request

TIMEOUT = 60.0
ANYTIME = (0.0, 5.0)
DYING = (1.9, 4.2)
"""uWSGI sees 2 to 3 s after the last answer that it is idle for more than 1 s, and is gone up to a second later."""


class Crowd:
    """Clients in threads, and what became of their requests."""

    def __init__(self) -> None:
        self.asked: list[dict[str, object]] = []
        self._end = threading.Event()

    def run(self, *clients: Callable[[], None]) -> None:
        """Run the clients until the standard input ends; each may then finish what it has begun."""
        with ThreadPoolExecutor(len(clients)) as pool:
            running = [pool.submit(client) for client in clients]
            sys.stdin.read()
            self._end.set()
        for client in running:
            client.result()

    def ask(self, address: str) -> None:
        """Send one request."""
        at = time.time()
        outcome = request("uwsgi", address, "/", TIMEOUT)
        self.asked.append({"address": address, "at": at, **outcome})

    def ask_always(self, address: str) -> None:
        """Ask again as soon as there is an answer."""
        while not self._end.is_set():
            self.ask(address)

    def ask_steadily(self, addresses: Sequence[str], pause: float) -> None:
        """Ask all addresses, one after the other, again and again after a pause."""
        while not self._end.is_set():
            for address in addresses:
                self.ask(address)
            if len(self.asked) == len(addresses):
                sys.stderr.write("asked\n")
                sys.stderr.flush()
            self._end.wait(pause)

    def visit(self, address: str, chance: random.Random) -> None:
        """Come at random times, together with others."""
        with ThreadPoolExecutor(3) as visitors:
            while True:
                list(visitors.map(self.ask, [address] * chance.choice((1, 1, 2, 3))))
                if self._end.wait(chance.uniform(*chance.choice((ANYTIME, DYING, DYING)))):
                    return


def main() -> None:
    """Read the arguments, let the clients ask, print what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("addresses", nargs="+")
    parser.add_argument("--clients", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=float, default=0.0)
    arguments = parser.parse_args()
    crowd = Crowd()
    if arguments.clients:
        crowd.run(*(lambda: crowd.ask_always(arguments.addresses[0]) for _ in range(arguments.clients)))
    elif arguments.every:
        crowd.run(lambda: crowd.ask_steadily(arguments.addresses, arguments.every))
    else:
        chances = {address: random.Random(f"{arguments.seed} {address}") for address in arguments.addresses}  # noqa: S311
        crowd.run(*(lambda a=a, c=c: crowd.visit(a, c) for a, c in chances.items()))
    json.dump(crowd.asked, sys.stdout)


if __name__ == "__main__":
    main()
