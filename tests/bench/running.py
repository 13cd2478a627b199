"""The run: sizes, rounds, and whose turn it is."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bridge import __version__
from tests.booted.machine import Machine, MachineError
from tests.booted.suite import CHECKOUT, PYTHON, compile_code

from . import contestants, layout, rows
from .contestants import COMMANDS
from .disk import fresh_disk
from .lap import PRESENT, Lap, LapError, Task, Version, tell
from .measures import LARGE, QUIET, ROUNDS, ROUNDS_LARGE, Step, Who
from .results import Results

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CHANGES = frozenset({Step.UP, Step.ONE, Step.HUNDRED, Step.MEMORY})
LAPS: tuple[tuple[Who, Callable[[Lap], None], frozenset[Step]], ...] = (
    (
        Who.SYNC,
        contestants.bridge_through_sync,
        CHANGES | COMMANDS | {Step.COLD, Step.BOOT, Step.RELOAD},
    ),
    (Who.EMPEROR, contestants.emperor, CHANGES | {Step.COLD}),
    (Who.FLOOR, contestants.floor, CHANGES | {Step.COLD, Step.BOOT}),
    (Who.WATCH, contestants.bridge_through_watch, CHANGES | {Step.ROWS}),
    (Who.ROWS, rows.from_rows, frozenset({Step.ROWS})),
    (Who.SLICE, contestants.one_slice, frozenset({Step.RELOAD})),
)
WARM_TURNS, WARM_SECONDS = 8, 2


def run(sizes: Sequence[int], rounds: int | None, steps: frozenset[Step], keep: Callable[[Results], None]) -> Results:
    """Measure all; `keep` is given what there is after each round."""
    results = Results(sizes=sorted(sizes))
    # As installed: nothing is compiled when it is first run.
    compile_code()
    with fresh_disk() as disk:
        results.facts = facts() | {"disk": disk}
        _measure(results, rounds, steps, keep)
    return results


def _measure(results: Results, rounds: int | None, steps: frozenset[Step], keep: Callable[[Results], None]) -> None:
    for size in results.sizes:
        total = rounds or (ROUNDS_LARGE if size >= LARGE else ROUNDS)
        results.rounds[str(size)] = total
        for number in range(total):
            task = Task(results=results, size=size, number=number, rounds=total, steps=steps)
            round_of(task)
            keep(results)
    if Step.IDLE in steps:
        try:
            idle(results)
        except (MachineError, LapError) as error:
            nothing = Task(results=results, size=max(results.sizes), number=0, rounds=1, steps=steps)
            Lap(nothing, Who.WATCH, Machine()).fail("idle", error)


def round_of(task: Task) -> None:
    """Measure each contestant once; another is the first each time."""
    turn = task.number % len(LAPS)
    for who, race, steps in (*LAPS[turn:], *LAPS[:turn]):
        if who is Who.ROWS and task.size < max(task.results.sizes):
            continue
        # Minutes, at the largest size.
        if task.wants(*steps) and (task.first or who is not Who.SLICE or task.size < LARGE):
            lap_of(task, who, race)
    if task.first and task.wants(Step.WARM) and task.size == min(task.results.sizes):
        warm(task)


def lap_of(
    task: Task,
    who: Who,
    race: Callable[[Lap], None],
    *,
    version: Version = PRESENT,
    prepare: Callable[[Machine], None] = lambda _: None,
) -> None:
    """Boot a machine for one contestant."""
    with ExitStack() as stack:
        try:
            lap = Lap(task, who, stack.enter_context(Machine()), version)
            prepare(lap.machine)
        except MachineError as error:
            Lap(task, who, Machine()).fail("a machine", error)
            return
        try:
            race(lap)
        except LapError:
            return
        except (MachineError, OSError) as error:
            lap.fail("the rest", error)


def idle(results: Results) -> None:
    """Let the daemon and the Emperor do nothing, at all sizes at once: ticks are counted, so none disturbs another."""
    with ExitStack() as stack:
        laps = []
        for size in results.sizes:
            # What it takes to get there is not measured here.
            unmeasured = Task(results=Results(), size=size, number=0, rounds=1, steps=frozenset())
            watch, emperor = (Lap(unmeasured, who, stack.enter_context(Machine())) for who in (Who.WATCH, Who.EMPEROR))
            contestants.emperor(emperor)
            contestants.bridge_through_watch(watch)
            laps += [watch, emperor]
        tell(f"nothing happens for {QUIET:g} s")
        with ThreadPoolExecutor(len(laps)) as all_at_once:
            counted = list(all_at_once.map(lambda lap: contestants.ticks_of(lap, QUIET), laps))
    for lap, (of_daemon, of_systemd) in zip(laps, counted, strict=True):
        results.add("idle, PID 1", lap.who, lap.task.size, [of_systemd])
        results.add("idle, daemon", lap.who, lap.task.size, [of_daemon])
    for size, ours, theirs in zip(results.sizes, counted[::2], counted[1::2], strict=True):
        # What PID 1 does anyway, it does where it holds no vassals too.
        results.add("idle", Who.WATCH, size, [ours[0] + max(0, ours[1] - theirs[1])])
        results.add("idle", Who.EMPEROR, size, [theirs[0]])


def warm(task: Task) -> None:
    """Ask three vassals in one machine in turn: one of the bridge's, one of the Emperor's, a bare one."""
    text = layout.config("protocol = http", "disable-logging = true")
    address = {who: f"127.0.0.1:{9001 + number}" for number, who in enumerate((Who.BRIDGE, Who.EMPEROR, Who.FLOOR))}
    with ExitStack() as stack:
        lap = Lap(task, Who.BRIDGE, stack.enter_context(Machine()))
        with lap.taking("warm"):
            lap.agent("populate", size=0, idle=layout.AWAKE, kind="")
            files = layout.vassal("warm", text, address[Who.BRIDGE])
            lap.agent("do", actions=[["write", files], ["run", contestants.command("sync")]], timeout=task.timeout)
            theirs = {
                path.replace(layout.VASSALS, "/srv/emperor"): content
                for path, content in layout.vassal("warm", text, address[Who.EMPEROR]).items()
            }
            bare = layout.bare_units("bare", address=address[Who.FLOOR])
            lap.machine.write_many({**theirs, **bare, f"{layout.VASSALS}/bare.ini": text})
            lap.machine.run(*contestants.start_emperor("/srv/emperor"))
            lap.machine.run("systemctl", "start", "bare-bare.socket")
            lap.agent("await_connections", addresses=list(address.values()))
            turns = WARM_TURNS if task.rounds > 1 else WARM_TURNS // 2
            rates = lap.agent("wrk", addresses=list(address.values()), repeat=turns, seconds=WARM_SECONDS)
            for who, found in zip(address, rates, strict=True):
                task.results.add("warm", who, task.size, found)


def facts() -> dict[str, str]:
    """Return what the figures depend on; running everything once puts it into the file cache."""
    tell("boot a machine, and see what it is")
    with Machine() as machine:
        systemd = machine.run("systemctl", "--version").stdout.split("\n")[0]
        uwsgi = machine.run("uwsgi", "--version").stdout.strip()
        python = machine.run(PYTHON, "--version").stdout.strip()
        machine.run("mkdir", "-p", layout.VASSALS)
        machine.run(*contestants.command("check"), check=False)
    model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%d"),
        "emperor-bridge": f"{__version__} {commit_of(CHECKOUT)}".strip(),
        "systemd": systemd.removeprefix("systemd "),
        "uWSGI": uwsgi,
        "Python": python.removeprefix("Python "),
        "kernel": platform.release(),
        "processors": f"{os.cpu_count()} x {model[1] if model else platform.machine()}",
        "memory": f"{int(memory[1]) // 1024**2 if memory else 0} GiB",
    }


def commit_of(checkout: Path) -> str:
    """Return which commit a checkout is at; empty where git does not know."""
    argv = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    with suppress(OSError):
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()
    return ""
