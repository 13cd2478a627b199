"""The contestants: how each brings its vassals up, and has one added, changed and removed."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from tests.booted.service import TOML, WATCH
from tests.booted.suite import PYTHON

from . import layout
from .lap import PRESENT, LapError
from .measures import HUNDRED, SCAN, Step

if TYPE_CHECKING:
    from .lap import Lap, Version

RULE = ["--emperor", layout.VASSALS, "--emperor-on-demand-extension", ".socket"]
EMPEROR = "bench-emperor.service"
COLD_SAMPLES, COLD_A_ROUND, COLD_EMPEROR = 20, 6, 3
"""How many cold starts all rounds measure, one at most, and one at most of a single vassal of the Emperor's."""
BRIEF = 1
"""Seconds of `idle` where there are fewer vassals than samples of a cold start."""
SPREAD = SCAN + 0.1
"""Seconds over which the moments are spread where somebody scans; a little more than between two scans."""
UNHURRIED = 0.2
REPEAT, REPEAT_EMPEROR = 5, 3
"""How often a lap measures one thing. The Emperor's time is that to its next scan, seconds."""
COMMANDS = frozenset({Step.VERSION, Step.NOTHING, Step.STATUS, Step.CHECK})
"""Measures of commands that change nothing."""


def command(name: str, version: Version = PRESENT) -> list[str]:
    """Return the command line of one of the bridge's commands."""
    return [version.command, name, *RULE]


def start_emperor(folder: str, unit: str = EMPEROR) -> list[str]:
    """Return the command that runs the Emperor as a unit.

    It logs for all its vassals, more than journald takes from one unit; it holds a descriptor for each that waits.
    """
    options = ["--collect", "--property=LogRateLimitIntervalSec=0", "--property=KillSignal=SIGINT"]
    options += ["--property=LimitNOFILE=20000"]
    uwsgi = ["uwsgi", "--emperor", folder, "--emperor-on-demand-extension", ".socket"]
    return ["systemd-run", "--quiet", f"--unit={unit}", *options, *uwsgi]


def install_watch(lap: Lap) -> list[str]:
    """Put the shipped unit in place as README says; return the command that starts it."""
    values = {"emperor": layout.VASSALS, "emperor-on-demand-extension": ".socket"}
    lap.machine.write_many(
        {
            f"{layout.UNITS}/{WATCH}": (lap.version.units / WATCH).read_text(),
            f"{layout.UNITS}/{WATCH}.d/venv.conf": f"[Service]\nExecStart=\nExecStart={lap.version.command} watch\n",
            TOML: "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()),
        }
    )
    return ["systemctl", "start", WATCH]


def bring_up(lap: Lap, argv: list[str], *, kind: str = "", slice_name: str = "") -> None:
    """Write the vassals, have them brought up, and see what PID 1 takes for them."""
    size = lap.task.size
    idle = BRIEF if size <= cold_samples(lap) else layout.AWAKE
    lap.agent("populate", size=size, idle=idle, kind=kind, slice_name=slice_name)
    before = lap.agent("memory", pid=1)
    done = False
    with lap.taking("bring-up"):
        times = lap.agent("bring_up", argv=argv, size=size, timeout=lap.task.timeout)
        lap.add("up", times["done"])
        lap.add("up, listening", times["listens"])
        done = True
    if not done:
        raise LapError
    grown = {kind: taken - before[kind] for kind, taken in lap.agent("memory", pid=1).items()}
    lap.add("pid1", grown["rss"])
    lap.add("pid1, pss", grown["pss"])
    lap.add("pid1-each", grown["rss"] / size)


def boot(lap: Lap, target: str, after: list[object] | None = None) -> None:
    """Reboot, and start all sockets by the units on disk; then do what comes ``after``.

    It is started once the machine is up: what else a boot does is not measured. As at boot, nobody waits for it.
    """
    task = lap.task
    if task.wants(Step.BOOT):
        with lap.taking("boot"):
            # As "systemctl disable" would, which takes minutes with thousands of units.
            lap.machine.run("rm", "-f", f"{layout.UNITS}/multi-user.target.wants/{target}")
            for _ in range(task.repeat):
                lap.machine.reboot(at_once=True)
                before = lap.agent("memory", pid=1)["rss"]
                start = ["systemctl", "start", "--no-block", target]
                lap.add("boot", lap.agent("bring_up", argv=start, size=task.size, timeout=task.timeout)["listens"])
                lap.add("pid1-boot", (lap.agent("memory", pid=1)["rss"] - before) / task.size)
        lap.agent("do", actions=after or [], timeout=task.timeout)


def cold_samples(lap: Lap) -> int:
    """Return how many cold starts a round measures."""
    return min(COLD_A_ROUND, math.ceil(COLD_SAMPLES / lap.task.rounds))


def cold(lap: Lap, *, scans: bool = False) -> None:
    """Measure cold starts, of vassals that are spread over all."""
    samples, size = cold_samples(lap), lap.task.size
    if scans and size <= samples:
        # Here it is one vassal again and again, which the Emperor makes wait for seconds.
        samples = min(samples, COLD_EMPEROR)
    numbers = range(0, size, max(1, size // (samples + 1)))
    addresses = [layout.address_of(layout.name_of(number)) for number in numbers][: samples + 1]
    spread = SPREAD if scans else UNHURRIED
    if lap.task.wants(Step.COLD):
        with lap.taking("cold"):
            how = {"spread": spread, "seed": lap.task.number, "kill": not scans, "splits": not scans}
            for measure, taken in lap.agent("cold", addresses=addresses, repeat=samples, **how).items():
                lap.add(measure, *taken)


def change(lap: Lap, *, timed: list[object], listens: list[str] | None = None, gone: str = "", **more: Any) -> float:
    """Have one change made, and return how long it took until it was in effect."""
    arguments: dict[str, Any] = {"before": [], "pause": UNHURRIED, "seed": 0, **more}
    there, not_there = listens or [], [gone] if gone else []
    limit = lap.task.timeout
    return float(lap.agent("change", timed=timed, listens=there, gone=not_there, timeout=limit, **arguments))


def bridge_through_sync(lap: Lap) -> None:
    """Measure the command, run by hand."""
    task = lap.task
    sync = command("sync", lap.version)
    bring_up(lap, sync)
    for steps, measure, argv in (
        (COMMANDS, "python", [PYTHON, "-c", "pass"]),
        ({Step.VERSION}, "version", [lap.version.command, "--version"]),
        ({Step.NOTHING}, "nothing", sync),
        ({Step.STATUS}, "status", command("status", lap.version)),
        ({Step.CHECK}, "check", command("check", lap.version)),
        ({Step.RELOAD}, "reload", ["systemctl", "daemon-reload"]),
    ):
        if task.wants(*steps):
            with lap.taking(measure):
                lap.add(measure, *lap.agent("times", argv=argv, repeat=REPEAT, timeout=task.timeout))
    boot(lap, "vassals.target", [["run", sync]])
    cold(lap)
    by_files(lap, [["run", sync]])


def bridge_through_watch(lap: Lap) -> None:
    """Measure the daemon, run as its unit."""
    bring_up(lap, install_watch(lap))
    lap.daemon = int(lap.machine.show(WATCH, "MainPID"))
    by_files(lap, [])
    daemon_memory(lap)


def daemon_memory(lap: Lap) -> None:
    """Measure what the contestant's own process takes."""
    if lap.task.wants(Step.MEMORY):
        with lap.taking("memory"):
            found = lap.agent("memory", pid=lap.daemon)
            lap.add("memory", found["rss"])
            lap.add("pss", found["pss"])


def emperor(lap: Lap) -> None:
    """Measure the Emperor; it never applies a changed address."""
    bring_up(lap, start_emperor(layout.VASSALS))
    lap.daemon = int(lap.machine.show(EMPEROR, "MainPID"))
    daemon_memory(lap)
    cold(lap, scans=True)
    by_files(lap, [], pause=SPREAD, changes=False)


def by_files(lap: Lap, after: list[object], *, pause: float = UNHURRIED, changes: bool = True) -> None:
    """Measure changes that are made to the vassals' files, and in effect after a command, or by themselves."""
    task = lap.task

    def take(measure: str, files: list[object], **what: Any) -> None:
        before, timed = (files, after) if after else ([], files)
        with lap.taking(measure):
            seed = f"{measure} {task.number} {files}"
            lap.add(measure, change(lap, before=before, timed=timed, pause=pause, seed=seed, **what))

    for number in range(REPEAT if changes else REPEAT_EMPEROR) if task.wants(Step.ONE) else ():
        name = f"n{number}"
        old, new = layout.address_of(name), layout.address_of(f"{name}-moved")
        config = f"{layout.VASSALS}/{name}.ini"
        rule = f"{config}.socket"
        take("add", [["write", layout.vassal(name)]], listens=[old])
        if changes:
            take("change", [["write", {rule: f"{new}\n"}]], listens=[new], gone=old)
        take("remove", [["unlink", [config, rule]]], gone=new if changes else old)
    if task.wants(Step.HUNDRED):
        names = [f"h{number}" for number in range(HUNDRED)]
        files = {path: text for name in names for path, text in layout.vassal(name).items()}
        take("hundred", [["write", files]], listens=[layout.address_of(name) for name in names])


def floor(lap: Lap) -> None:
    """Measure bare systemd, with units that somebody has written."""
    task = lap.task
    bring_up(lap, ["systemctl", "start", layout.TARGET], kind="bare")
    boot(lap, layout.TARGET)
    cold(lap)
    for number in range(REPEAT) if task.wants(Step.ONE) else ():
        name = f"n{number}"
        old, new = layout.address_of(name), layout.address_of(f"{name}-moved")
        units = [f"bare-{name}.service", f"bare-{name}.socket"]
        stop: object = ["run", ["systemctl", "stop", *units]]
        start: object = ["start", units[1:]]
        with lap.taking("add"):
            vassal = [["write", layout.vassal(name)]]
            lap.add("add", change(lap, before=vassal, timed=[["write", layout.bare_units(name)], start], listens=[old]))
        with lap.taking("change"):
            rewrite = ["write", layout.bare_socket(name, address=new)]
            lap.add("change", change(lap, timed=[stop, rewrite, start], listens=[new], gone=old))
        with lap.taking("remove"):
            unlink = ["unlink", [f"{layout.UNITS}/{unit}" for unit in units]]
            lap.add("remove", change(lap, timed=[stop, unlink], gone=new))
    if task.wants(Step.HUNDRED):
        with lap.taking("hundred"):
            lap.add("hundred", min(hundred(lap, target=""), hundred(lap, target="hundred.target")))


def hundred(lap: Lap, *, target: str) -> float:
    """Start a hundred sockets with one command that names them, or with one target that wants them."""
    names = [f"{target[:1]}h{number}" for number in range(HUNDRED)]
    files = {path: text for name in names for path, text in layout.bare_units(name).items()}
    if target:
        files |= layout.bare_target(target, names)
    started = [target] if target else [f"bare-{name}.socket" for name in names]
    timed: list[object] = [["write", files], ["start", started]]
    return change(lap, timed=timed, listens=[layout.address_of(name) for name in names])


def one_slice(lap: Lap) -> None:
    """Measure the reload of units that are all in one slice."""
    bring_up(lap, ["systemctl", "start", layout.TARGET], kind="bare", slice_name="one.slice")
    with lap.taking("reload"):
        argv, limit = ["systemctl", "daemon-reload"], 900.0
        lap.add("reload", *lap.agent("times", argv=argv, repeat=lap.task.repeat, timeout=limit, patience=limit))


def ticks_of(lap: Lap, seconds: float) -> list[int]:
    """Return the ticks of the contestant's process and of PID 1 while nothing happens."""
    found: list[int] = lap.agent("ticks", pids=[lap.daemon, 1], seconds=seconds)
    return found
