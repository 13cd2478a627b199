"""With a thousand vassals: the watch daemon asleep costs nothing, and a new vassal does not wait for a scan."""

from __future__ import annotations

import json
import re
import statistics
import time
from typing import TYPE_CHECKING

import pytest

from .bridge import VASSALS, WATCH, config
from .container import HERE
from .machine import MachineError
from .soak import seed, times
from .suite import PYTHON

if TYPE_CHECKING:
    from collections import Counter

    from .bridge import Bridge
    from .machine import Machine

MANY = 1000
SOCKETS = "/run/many"
QUIET = 30.0
"""Seconds in which nothing may happen."""
ROUNDS = 3
"""The first may still see the end of work, or what systemd tells of a timer: who polls uses ticks in each."""
MEMORY_MAX = 40 * 1024
"""KiB the bridge may have in memory."""
EMPEROR = "many-emperor.service"
SEED = seed(7)
SAMPLES = times(20)
SCAN = 3.0
"""Seconds between the Emperor's scans: vassals come at moments evenly spread over these, for both alike."""


@pytest.fixture
def many(bridge: Bridge) -> Bridge:
    """A watching bridge that has a thousand vassals on demand, all of them waiting."""
    machine = bridge.machine
    machine.cleanups.append(lambda: machine.remove(SOCKETS))
    machine.run("mkdir", "-p", SOCKETS)
    names = [f"v{number}.ini" for number in range(MANY)]
    idle = config("idle = 60", "die-on-idle = true")
    files: dict[str, str | bytes] = {f"{VASSALS}/{name}": idle for name in names}
    machine.write_many({**files, **{f"{VASSALS}/{name}.socket": f"{SOCKETS}/{name}.sock\n" for name in names}})
    bridge.watch()
    assert listening(machine) == MANY
    return bridge


def listening(machine: Machine) -> int:
    return machine.run("ss", "-lxHn").stdout.count(f" {SOCKETS}/")


def ticks(machine: Machine, pid: str) -> int:
    """Return the clock ticks that a process has had of the processors (proc(5), ``utime`` and ``stime``)."""
    fields = machine.read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def stay_quiet(machine: Machine, seconds: float) -> None:
    """Return after so many seconds in which the bridge has told nothing."""
    cursor = machine.journal_cursor()
    with pytest.raises(MachineError, match="shows no"):
        machine.wait_journal("", unit=WATCH, since_cursor=cursor, timeout=seconds)


def test_asleep_with_a_thousand_vassals(many: Bridge, capsys: pytest.CaptureFixture[str]) -> None:
    machine = many.machine
    pid = machine.show(WATCH, "MainPID")
    # It has seen a change too: its memory is that of a daemon at work, not of one that has just begun.
    many.vassal("late.ini", config(), address=f"{SOCKETS}/late.sock")
    many.told("late.ini: waiting")
    for _ in range(ROUNDS):
        before, of_systemd, began = ticks(machine, pid), ticks(machine, "1"), time.monotonic()
        stay_quiet(machine, QUIET)
        slept = time.monotonic() - began
        used, by_systemd = ticks(machine, pid) - before, ticks(machine, "1") - of_systemd
        if used == 0:
            break

    status = machine.read(f"/proc/{pid}/status")
    memory = {key: int(size) for key, size in re.findall(r"(VmHWM|VmRSS):\s+(\d+) kB", status)}
    with capsys.disabled():
        print(f"\n{slept:.0f} s, {MANY} vassals: {used} ticks, PID 1 {by_systemd}; KiB: {memory}")  # noqa: T201
    assert slept >= QUIET
    assert used == 0
    assert memory["VmRSS"] < MEMORY_MAX


def latencies(machine: Machine, samples: int, *, pause: float) -> list[float]:
    """Return, sorted, the seconds from a new config's being closed to its socket's accepting; the vassals go again."""
    sizes = (f"--samples={samples}", f"--pause={pause}", f"--seed={SEED}")
    script = (PYTHON, str(HERE / "latency.py"), *sizes, config(), VASSALS, SOCKETS)
    taken: list[float] = json.loads(machine.run(*script, timeout=times(1800)).stdout)
    return sorted(taken)


def start_emperor(machine: Machine) -> None:
    """Have the Emperor hold the same vassals."""
    command = ["uwsgi", "--emperor", VASSALS, "--emperor-on-demand-extension", ".socket"]
    # It logs for all its vassals: more than journald takes from one unit. It holds a descriptor for each that waits,
    # and more for each that runs: with systemd's 1,024 it cannot start the last ones.
    options = ["--collect", "--property=LogRateLimitIntervalSec=0", "--property=KillSignal=SIGINT"]
    options += ["--property=LimitNOFILE=8192"]
    machine.cleanups.append(lambda: machine.run("systemctl", "stop", EMPEROR, check=False))
    cursor = machine.journal_cursor()
    machine.run("systemd-run", f"--unit={EMPEROR}", *options, *command)
    machine.wait_journal(rf"v{MANY - 1}\.ini.*instance detected", unit=EMPEROR, since_cursor=cursor, timeout=300)


@pytest.mark.soak
def test_new_vassal_accepts_sooner_than_the_emperors(
    many: Bridge, capsys: pytest.CaptureFixture[str], counts: Counter[str]
) -> None:
    machine = many.machine
    ours = latencies(machine, SAMPLES, pause=SCAN)
    counts["new vassals among a thousand"] += SAMPLES
    many.unwatch()
    many.run("remove", "--yes")
    machine.run("sh", "-c", f"rm {VASSALS}/new*")
    assert listening(machine) == 0

    start_emperor(machine)
    theirs = latencies(machine, SAMPLES, pause=SCAN)

    with capsys.disabled():
        print(f"\n{SAMPLES} new vassals each, at moments spread evenly over {SCAN:g} s")  # noqa: T201
        for who, taken in (("bridge", ours), ("Emperor", theirs)):
            median = statistics.median(taken)
            print(f"{who}, {MANY} vassals: closed to accepting {median:.3f} s, worst {taken[-1]:.3f} s")  # noqa: T201
    assert len(ours) == len(theirs) == SAMPLES
    # What the bridge takes is the machine's speed, what the Emperor takes is its scan: on a machine that is slow enough
    # their medians could meet. That nothing is polled here is told by the ticks above.
    assert statistics.median(ours) < theirs[-1]
