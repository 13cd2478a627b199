"""What an Emperor, or the bridge, makes of a folder of vassals, seen from inside the machine; standard library only.

It reads one object from the standard input, `side`, `stats`, `status`, `sync` and `cases`, goes through all cases at
the same time (settle, connect, idle, touch, remove) and prints what it saw of each.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .client import parse_address, request
else:
    from client import parse_address, request

PATIENCE = 60.0
"""Seconds until what should happen counts as not happening."""
MERCY = 75.0
"""Seconds for a reload or an end: a worker that has missed its signal is killed after 60 (``worker-reload-mercy``)."""
CALM = 0.6
"""Seconds without a change that are taken as the end of changes, where all is as a sane vassal has it."""
LONG_CALM = 8.0
"""The same where something is not."""
TICK = 0.1
Case = dict[str, Any]


class Emperor:
    """The real one, asked through its stats."""

    def __init__(self, stats: str) -> None:
        self._stats = stats

    def vassals(self) -> dict[str, int]:
        """Return the process of each vassal, 0 where it waits."""
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(PATIENCE)
            asked.connect(self._stats)
            text = b"".join(iter(lambda: asked.recv(65536), b""))
        return {one["id"]: max(0, one["pid"]) for one in json.loads(text)["vassals"]}

    def apply(self) -> None:
        """It looks at the folder by itself."""


class Bridge:
    """The bridge, asked through systemd."""

    def __init__(self, status: list[str], sync: list[str]) -> None:
        self._status, self._sync = status, sync
        self._units: dict[str, str] = {}

    def vassals(self) -> dict[str, int]:
        """Return the process of each vassal that has units, 0 where it waits."""
        if not self._units:
            said = subprocess.run(self._status, capture_output=True, text=True, check=False).stdout
            rows = json.loads(said)
            self._units = {row["vassal"]: row["unit"] for row in rows if row["unit"]}
        argv = ["systemctl", "show", "--property=Id,MainPID,LoadState", "--", *self._units.values()]
        text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout if self._units else ""
        blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in text.split("\n\n")]
        shown = {block["Id"]: int(block["MainPID"]) for block in blocks if block and block["LoadState"] == "loaded"}
        return {vassal: shown[unit] for vassal, unit in self._units.items() if unit in shown}

    def apply(self) -> None:
        """Have it look at the folder."""
        subprocess.run(self._sync, capture_output=True, check=False)


def workers(pid: int) -> list[int]:
    """Return the processes that a vassal's master has made."""
    try:
        return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return []


def said(pid: int) -> str:
    """Say in what state a vassal is."""
    if not pid:
        return "waits"
    return f"runs with {len(workers(pid))} workers"


def until(done: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Return as soon as something is so, or after all patience."""
    deadline = time.monotonic() + patience
    while not done() and time.monotonic() < deadline:
        time.sleep(TICK)


def state(side: Emperor | Bridge, case: Case, seen: dict[str, int] | None = None) -> str:
    """Say whether a vassal waits, runs or is not known."""
    vassals = side.vassals() if seen is None else seen
    return said(vassals[case["vassal"]]) if case["vassal"] in vassals else "none"


def resolve(side: Emperor | Bridge, cases: list[Case], sane: Callable[[Case, str], bool]) -> None:
    """Return when nothing has changed for some time, the longer if a vassal that can start is not as it should be."""
    before: list[str] = []
    since = time.monotonic()
    deadline = since + PATIENCE
    while time.monotonic() < deadline:
        vassals = side.vassals()
        now = [state(side, case, vassals) for case in cases]
        if now != before:
            before, since = now, time.monotonic()
        # The Emperor may not have looked yet, while sync has long ended.
        final = ("none",) if isinstance(side, Bridge) else ()
        expected = all(
            case["broken"] or said in final or sane(case, said) for said, case in zip(now, cases, strict=True)
        )
        if now and time.monotonic() - since > (CALM if expected else LONG_CALM):
            return
        time.sleep(TICK)


def is_set_up(case: Case, said: str) -> bool:
    """Tell whether a vassal is as a sane one is before anybody has asked it."""
    return said == "waits" if case["waits"] else said.startswith("runs with ") and not said.endswith(" 0 workers")


def is_up(case: Case, said: str) -> bool:
    """Tell whether a vassal is as a sane one is after an answer."""
    return said.startswith("runs with ") or not case["address"]


def access(address: str) -> str:
    """Return the mode and the owner of a socket."""
    try:
        found = os.stat(address)
    except OSError as error:
        return type(error).__name__
    return f"{found.st_mode & 0o7777:o} {found.st_uid}:{found.st_gid}"


def rejection(address: str) -> str:
    """Say how a connection goes."""
    family, target = parse_address(address)
    with socket.socket(family) as asking:
        asking.settimeout(2)
        try:
            asking.connect(target)
        except OSError as error:
            return type(error).__name__
    return "connected"


def ask(case: Case) -> dict[str, Any]:
    """Return what a connection gets, by aspect."""
    outcome = request(case["protocol"], case["address"], "/", case["patience"])
    if outcome["status"] != 200:
        return {"answer": "none"}
    answer = json.loads(str(outcome["body"]))
    return {"answer": "of the app", **answer}


def observe(side: Emperor | Bridge, cases: list[Case]) -> dict[str, dict[str, Any]]:
    """Go through the life of all vassals."""
    seen: dict[str, dict[str, Any]] = {case["name"]: {} for case in cases}
    asked = [case for case in cases if case["address"]]

    def note(aspect: str, only: list[Case] = cases) -> None:
        vassals = side.vassals()
        for case in only:
            seen[case["name"]][aspect] = state(side, case, vassals)

    resolve(side, cases, is_set_up)
    note("first")
    for case in asked:
        if case["address"].startswith("/"):
            seen[case["name"]]["access"] = access(case["address"])
    with ThreadPoolExecutor(max(1, len(asked))) as pool:
        for case, answer in zip(asked, pool.map(ask, asked), strict=True):
            seen[case["name"]] |= answer
    lasting = [case for case in cases if not case["idle"] and not case["broken"]]
    resolve(side, lasting, is_up)
    note("after the answer", lasting)

    # The Emperor starts at once again what does not wait for anybody.
    idle = [case for case in cases if case["idle"] and case["waits"]]
    ends = ("waits", "runs with 0 workers")
    if idle:
        until(lambda: all(state(side, case, vassals) in ends for vassals in [side.vassals()] for case in idle))
        # One that dies has no workers for a moment, and is not known to wait yet.
        resolve(side, idle, lambda _case, said: said in ends)
        note("after idle", idle)

    touched = [case for case in cases if case["touch"]]
    before = side.vassals()
    generation = {case["name"]: workers(before.get(case["vassal"], 0)) for case in touched}
    for case in touched:
        later = time.time() + 1
        os.utime(case["path"], (later, later))
    side.apply()

    def renewed(case: Case, vassals: dict[str, int]) -> bool:
        now, then = workers(vassals.get(case["vassal"], 0)), generation[case["name"]]
        return len(now) == len(then) and not set(now) & set(then)

    running = [case for case in touched if generation[case["name"]]]
    until(lambda: all(renewed(case, vassals) for vassals in [side.vassals()] for case in running), MERCY)
    resolve(side, touched, lambda _case, said: said != "none")
    note("after a touch", touched)
    after = side.vassals()
    for case in running:
        same = before[case["vassal"]] == after.get(case["vassal"])
        seen[case["name"]]["a touch"] = (
            f"{'new' if renewed(case, after) else 'old'} workers, {'same' if same else 'other'} master"
        )

    for case in cases:
        if case["removes"]:
            Path(case["path"]).unlink()
    side.apply()
    gone = [case for case in cases if case["removes"]]
    until(lambda: all(state(side, case, vassals) == "none" for vassals in [side.vassals()] for case in gone), MERCY)
    note("after removal", gone)
    for case in gone:
        if case["address"] and seen[case["name"]]["first"] != "none":
            seen[case["name"]]["its address after removal"] = rejection(case["address"])
    return seen


def main() -> None:
    """Read what to do, do it, print what was seen."""
    given = json.load(sys.stdin)
    side: Emperor | Bridge = (
        Emperor(given["stats"]) if given["side"] == "emperor" else Bridge(given["status"], given["sync"])
    )
    if isinstance(side, Emperor):
        until(lambda: Path(given["stats"]).exists())
    json.dump(observe(side, given["cases"]), sys.stdout)


if __name__ == "__main__":
    main()
