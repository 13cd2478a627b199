"""Measure in the machine how long a new vassal takes: from its config's being closed to its socket's accepting.

`latency.py --samples N --pause SECONDS --seed SEED CONFIG FOLDER SOCKETS`: N vassals are made in FOLDER, one after the
other, after pauses that are spread evenly over so many seconds and come in random order; their sockets are in SOCKETS.
The seconds are printed as JSON.

The Emperor scans so many seconds after it last had anything to do, which is when the vassal before was up: so each
vassal meets another moment between two scans, and all of these moments are met.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from inotify_simple import INotify, flags

if TYPE_CHECKING:
    from .client import request
else:
    from client import request

PATIENCE = 120.0
"""Seconds after which a socket will not come any more."""
STEP = 1
"""Milliseconds between a socket's being bound and its listening, of which nobody tells."""


def accepts(address: str) -> bool:
    """Tell whether a connection is accepted."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True


def take(folder: Path, sockets: Path, name: str, config: str) -> float:
    """Make a vassal and return the seconds until its socket accepts."""
    address = f"{sockets}/{name}.sock"
    with INotify(nonblocking=True) as watch:
        watch.add_watch(str(sockets), flags.CREATE | flags.MOVED_TO)
        (folder / f"{name}.ini.socket").write_text(f"{address}\n")
        (folder / f"{name}.ini").write_text(config)
        closed = time.monotonic()
        while not accepts(address):
            if time.monotonic() > closed + PATIENCE:
                raise TimeoutError(f"{address} does not accept after {PATIENCE:g} s")
            watch.read(timeout=STEP if os.path.lexists(address) else int(PATIENCE * 1000))
        return time.monotonic() - closed


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--pause", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("config")
    parser.add_argument("folder", type=Path)
    parser.add_argument("sockets", type=Path)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)  # noqa: S311 - not for secrets
    pauses = [(number + 0.5) / arguments.samples * arguments.pause for number in range(arguments.samples)]
    chance.shuffle(pauses)
    taken = []
    for number, pause in enumerate(pauses):
        # Nothing that could be waited for: it is to happen at a moment that nobody chose.
        select.select([], [], [], pause)
        name = f"new{number}"
        taken.append(take(arguments.folder, arguments.sockets, name, arguments.config))
        # Until its app is up; whether it answers is no matter here: the Emperor's resets what comes too early.
        request("uwsgi", f"{arguments.sockets}/{name}.sock", "/", PATIENCE)
    json.dump(taken, sys.stdout)


if __name__ == "__main__":
    main()
