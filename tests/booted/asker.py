"""Ask many addresses in the machine at the same time, and print what became of it as JSON.

The standard input begins with one line: a list of [PROTOCOL, ADDRESS] as JSON. "asked" is printed as soon as each has
been asked, or has answered with `--renewed`.

`asker.py`: each is asked once.
`asker.py --renewed`: each is asked until another process has answered at each, without a pause. It goes on asking until
the standard input ends, but then tells no more. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import request
else:
    from client import request

PATIENCE = 75.0
"""Seconds: a worker that has missed its signal is killed after 60 (``worker-reload-mercy``)."""


class Asker:
    """Clients in threads, one for each address, and what became of their requests."""

    def __init__(self, addresses: list[tuple[str, str]], path: str, *, renewed: bool) -> None:
        self._addresses = addresses
        self._path = path
        self._renewed = renewed
        self._change = threading.Condition()
        self._asked = [False] * len(addresses)
        self.outcomes: list[list[dict[str, Any]]] = [[] for _ in addresses]

    def run(self) -> None:
        """Ask, and tell when all have been asked and when all is over."""
        for number in range(len(self._addresses)):
            threading.Thread(target=self._ask, args=(number,), daemon=True).start()
        self._wait(all, self._asked)
        say("asked")
        self._wait(lambda outcomes: all(map(self._is_over, outcomes)), self.outcomes)
        with self._change:
            say(json.dumps(self.outcomes))

    def _wait(self, done: Any, given: Any) -> None:
        with self._change:
            self._change.wait_for(lambda: done(given), PATIENCE)

    def _ask(self, number: int) -> None:
        def note() -> None:
            with self._change:
                self._asked[number] = True
                self._change.notify()

        protocol, address = self._addresses[number]
        while True:
            outcome = request(protocol, address, self._path, PATIENCE, (lambda: None) if self._renewed else note)
            outcome["at"] = time.time()
            with self._change:
                self.outcomes[number].append(outcome)
                self._change.notify()
            note()
            if not self._renewed:
                return

    def _is_over(self, outcomes: list[dict[str, Any]]) -> bool:
        bodies = [outcome["body"] for outcome in outcomes if outcome["status"] == 200]
        if not self._renewed:
            return bool(outcomes)
        return len({json.loads(str(body))["pid"] for body in bodies}) > 1


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Read whom to ask, ask, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--renewed", action="store_true")
    parser.add_argument("--path", default="/")
    arguments = parser.parse_args()
    Asker(json.loads(sys.stdin.readline()), arguments.path, renewed=arguments.renewed).run()
    if arguments.renewed:
        sys.stdin.read()
    # The threads may still be asking.
    os._exit(0)


if __name__ == "__main__":
    main()
