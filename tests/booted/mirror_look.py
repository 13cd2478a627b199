"""Look at the mirror and at the sockets from inside the machine, and print JSON.

`python -m tests.booted.mirror_look COMMAND`, where MIRROR is a pattern of its folder:

- `picture MIRROR`: print the texts and notes by name, and what is left half done.
- `watch MIRROR`: look at the texts all the time, until the input ends; then print how often, and those that were not
  whole.
- `until FOLDER SECONDS`: wait until exactly those sockets listen in a folder that the input names; print how long that
  took, and which are missing or too many.
"""

from __future__ import annotations

import json
import re
import select
import sys
import time
from contextlib import suppress
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.host.listeners import listening

if TYPE_CHECKING:
    from collections.abc import Callable

BETWEEN = 0.02
"""Seconds between two looks."""


def is_whole(text: str) -> bool:
    """Tell whether a text has the end that belongs to its beginning; see `churn.py`."""
    version = re.search(r"^# version (\d+)$", text, re.MULTILINE)
    return version is not None and text.endswith(f"\n# end {version[1]}\n")


def read(pattern: str) -> dict[str, str]:
    """Return the texts of the files there are, by name."""
    found = {}
    for path in map(Path, glob(pattern)):
        # It may be gone by now.
        with suppress(FileNotFoundError):
            found[path.name] = path.read_text()
    return found


def picture(mirror: str) -> dict[str, object]:
    """Return what the mirror has at one moment."""
    while True:
        notes, texts, new = read(f"{mirror}/rows/*"), read(f"{mirror}/configs/*"), glob(f"{mirror}/new/*")
        if read(f"{mirror}/rows/*") == notes:
            return {"texts": texts, "rows": {name: json.loads(note) for name, note in notes.items()}, "new": new}


def watch(mirror: str) -> dict[str, object]:
    """Look until the input ends."""
    looks, wrong = 0, set[str]()
    print("looking", flush=True)  # noqa: T201
    while not select.select([sys.stdin], [], [], BETWEEN)[0]:
        looks += 1
        wrong |= {f"{name}: {text[-80:]}" for name, text in read(f"{mirror}/configs/*").items() if not is_whole(text)}
    return {"looks": looks, "wrong": sorted(wrong)}


def until(folder: str, seconds: str) -> dict[str, object]:
    """Wait for the sockets."""
    wanted = set(json.load(sys.stdin))
    began = time.monotonic()
    while True:
        heard = {path for path in map(str, listening()) if path.startswith(f"{folder}/")}
        took = time.monotonic() - began
        if heard == wanted or took > float(seconds):
            return {"took": took, "missing": sorted(wanted - heard), "extra": sorted(heard - wanted)}
        time.sleep(BETWEEN)


if __name__ == "__main__":
    commands: dict[str, Callable[..., dict[str, object]]] = {"picture": picture, "watch": watch, "until": until}
    print(json.dumps(commands[sys.argv[1]](*sys.argv[2:])), flush=True)  # noqa: T201
