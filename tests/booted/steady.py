"""Ask sites in the machine ten times a second, and see that each answers every time.

with asked(machine, "/run/a.sock", "127.0.0.1:9000"):
    ...
"""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .container import HERE
from .process import Lines, kill
from .suite import PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .machine import Machine

LEAST = 10
"""Requests that must have been made of each site for the block to prove anything."""
ASK = f"""
import json, select, sys, threading
sys.path.insert(0, {str(HERE)!r})
from client import request
ended = threading.Event()
asked, wrong = {{}}, []

def ask(address):
    asked[address] = 0
    while not ended.wait(0.1):
        outcome = request(sys.argv[1], address, "/", 20.0)
        asked[address] += 1
        if outcome["status"] != 200:
            wrong.append([address, asked[address], outcome["status"], outcome["error"]])

threads = [threading.Thread(target=ask, args=(address,)) for address in sys.argv[2:]]
for thread in threads:
    thread.start()
print("asking", flush=True)
sys.stdin.read()
ended.set()
for thread in threads:
    thread.join()
print(json.dumps([asked, wrong]), flush=True)
"""


@contextmanager
def asked(machine: Machine, *addresses: str, protocol: str = "uwsgi") -> Iterator[Counter[str]]:
    """Ask all these sites as long as the block lasts, but so often at least; each must answer each time.

    How often each was asked is known afterwards.
    """
    process = machine.popen(PYTHON, "-c", ASK, protocol, *addresses)
    count = Counter[str]()
    try:
        lines = Lines(process.stdout)
        assert lines.next(time.monotonic() + 30) == "asking"
        began = time.monotonic()
        yield count
        time.sleep(max(0.0, began + LEAST * 0.2 - time.monotonic()))
        assert process.stdin is not None
        process.stdin.close()
        line = lines.next(time.monotonic() + 60)
        assert line is not None
        counts, wrong = json.loads(line)
        count.update(counts)
        assert not wrong, wrong[:10]
        assert min(counts.values()) >= 3, counts
    finally:
        kill(process)
