"""Ask many addresses in the machine until the standard input ends, then print what became of every request as JSON.

`asking.py --steady ADDRESS… --once ADDRESS…`: each of the first is asked again and again, in a thread of its own. Of
the others one after the other gets a single request, a moment apart: they are those that nobody may wake before.
"asking" is written to the standard output as soon as all of the first have answered. Standard library only; the
protocol is uwsgi.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import request
else:
    from client import request

TIMEOUT = 40.0
PAUSE_EACH = 0.0025
"""Seconds that each client waits after an answer, for each client that there is: they have to share two processors."""
PAUSE_ONCE = 0.1


class Asking:
    """Requests by address: when each was made, when it ended, and what went wrong."""

    def __init__(self) -> None:
        self.made: dict[str, list[tuple[float, float, str | None]]] = {}
        self.over = threading.Event()

    def ask(self, address: str) -> None:
        """Make one request."""
        began = time.monotonic()
        outcome = request("uwsgi", address, "/", TIMEOUT)
        wrong = None if outcome["status"] == 200 else str(outcome["error"] or outcome["status"])
        self.made.setdefault(address, []).append((began, time.monotonic(), wrong))

    def steadily(self, address: str, pause: float) -> None:
        """Ask until it is over."""
        while not self.over.wait(pause):
            self.ask(address)

    def once(self, addresses: list[str], pause: float) -> None:
        """Ask each once, as long as it is not over."""
        for address in addresses:
            if self.over.wait(pause):
                return
            self.ask(address)


def main() -> None:
    """Read the arguments, ask, print what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steady", nargs="*", default=[])
    parser.add_argument("--once", nargs="*", default=[])
    arguments = parser.parse_args()
    asking = Asking()
    for address in arguments.steady:
        asking.ask(address)
    pause = PAUSE_EACH * len(arguments.steady)
    threads = [threading.Thread(target=asking.steadily, args=(address, pause)) for address in arguments.steady]
    threads.append(threading.Thread(target=asking.once, args=(arguments.once, PAUSE_ONCE)))
    for thread in threads:
        thread.start()
    sys.stdout.write("asking\n")
    sys.stdout.flush()
    sys.stdin.read()
    asking.over.set()
    for thread in threads:
        thread.join()
    sys.stdout.write(f"{json.dumps(asking.made)}\n")


if __name__ == "__main__":
    main()
