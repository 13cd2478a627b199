"""The watch daemon is killed again and again amid a churn of changes: it takes up from whatever it finds."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

import pytest

from .bridge import VASSALS, WATCH, config
from .soak import SEED, times

if TYPE_CHECKING:
    import subprocess
    from collections import Counter
    from collections.abc import Callable

    from .bridge import Bridge
    from .machine import Machine

KILLS, CHANGES = times(30), times(200)
FILES = ("/etc/systemd/system", "/run/systemd/system", "/run/emperor-bridge")
SOCKETS = "/run/churn"
STEADY = [f"steady{number}" for number in range(10)]
"""Vassals that run and that nobody changes."""
RESTARTS = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=0\n"
"""A drop-in for the watch daemon's unit."""
# The process is there a moment after its restart was counted.
KILL = f"until systemctl kill --signal=SIGKILL --kill-whom=main {WATCH} 2>/dev/null; do sleep 0.01; done"

Rules = dict[str, str]
"""Addresses by vassal."""


class Churn:
    """A folder of vassals in which somebody adds, changes and removes."""

    def __init__(self, bridge: Bridge, chance: random.Random) -> None:
        self.machine = bridge.machine
        self.chance = chance
        self.rules: Rules = {}
        self.unruled: set[str] = set()
        """Vassals whose rule is gone: they run always, and fail, for nobody gives them a socket."""
        self._numbers = iter(range(CHANGES * 2))

    def step(self) -> None:
        """Do one thing; it is on the disk on return."""
        names = sorted(self.rules)
        steps: list[Callable[[str], None]] = [self._move, self._edit, self._remove, self._unrule]
        if len(names) < 5 or self.chance.random() < 0.4:
            self._add()
        else:
            self.chance.choice(steps)(self.chance.choice(names))

    def rule_all(self) -> None:
        """Give those a rule again that lost it: what fails all the time never looks the same twice."""
        for name in sorted(self.unruled):
            self._move(name)

    def _address(self, name: str) -> str:
        return f"{SOCKETS}/{name}-{next(self._numbers)}.sock"

    def _add(self) -> None:
        name = f"app{next(self._numbers)}"
        # The rule first: without it the vassal would run always for a moment.
        self._move(name)
        self._edit(name)

    def _move(self, name: str) -> None:
        self.rules[name] = self._address(name)
        self.unruled.discard(name)
        self.machine.write(f"{VASSALS}/{name}.ini.socket", f"{self.rules[name]}\n")

    def _unrule(self, name: str) -> None:
        self.unruled.add(name)
        self.machine.remove(f"{VASSALS}/{name}.ini.socket")

    def _edit(self, name: str) -> None:
        mode = self.chance.choice(["600", "660", "666"])
        self.machine.write(f"{VASSALS}/{name}.ini", config(f"chmod-socket = {mode}"))

    def _remove(self, name: str) -> None:
        del self.rules[name]
        self.unruled.discard(name)
        self.machine.remove(f"{VASSALS}/{name}.ini.socket", f"{VASSALS}/{name}.ini")


@pytest.fixture
def churn(bridge: Bridge) -> Churn:
    """A bridge that watches a folder of running, steady vassals, and is started again whenever it dies."""
    machine = bridge.machine
    folder = f"/etc/systemd/system/{WATCH}.d"
    machine.write(f"{folder}/restart.conf", RESTARTS)
    machine.cleanups += [lambda: machine.remove(SOCKETS), lambda: machine.remove(folder)]
    for name in STEADY:
        bridge.vassal(f"{name}.ini", address=f"{SOCKETS}/{name}.sock")
    bridge.watch()
    return Churn(bridge, random.Random(SEED))  # noqa: S311 - not for secrets


def pids(bridge: Bridge) -> dict[str, str]:
    return {name: bridge.machine.show(f"vassal-{name}.service", "MainPID") for name in STEADY}


def aim(machine: Machine, chance: random.Random, kills: int) -> subprocess.Popen[bytes]:
    """Wait until the daemon is back from its last death, and have it killed a moment from now, amid the churn.

    Half of the times it may still be at its first sync.
    """
    machine.wait_unit(WATCH, "NRestarts", str(kills), 120)
    if chance.random() < 0.5:
        machine.wait_unit(WATCH, "SubState", "running", 120)
    return machine.popen("sh", "-c", f"sleep {chance.uniform(0, 0.6):.3f}; {KILL}")


def has_struck(killer: subprocess.Popen[bytes]) -> None:
    output = killer.communicate(timeout=120)
    assert killer.returncode == 0, output


def resolve(bridge: Bridge, churn: Churn) -> None:
    """Return once the daemon has done what the last change asks for: it tells of one more, made after all others.

    A vassal that was still ending then has a run of its own.
    """
    bridge.machine.wait_unit(WATCH, "NRestarts", str(KILLS), 120)
    churn.rule_all()
    cursor = bridge.machine.journal_cursor()
    churn.rules["last"] = f"{SOCKETS}/last.sock"
    bridge.vassal("last.ini", address=churn.rules["last"])
    bridge.told(r"^last\.ini: added", cursor, timeout=120)
    for name in re.findall(r"^(\S+): would be", bridge.run("sync", "--dry-run").stdout, re.MULTILINE):
        bridge.told(rf"^{re.escape(name)}: (added|changed|removed|mended|started)", cursor)


def picture(machine: Machine) -> dict[str, list[str]]:
    """Return the state of everything: files, links, units in memory, sockets in the kernel."""
    run = machine.run
    units = run("systemctl", "list-units", "--all", "--plain", "--no-legend", "vassal*").stdout.splitlines()
    shown = run("systemctl", "show", "--property=Id,ActiveState,NeedDaemonReload,Listen,Job", "vassal*").stdout
    assert "NeedDaemonReload=yes" not in shown
    ours = ("(", "-name", "*vassal*", "-o", "-name", ".emperor-bridge.*", ")")
    # What failed in a churn is remembered for a while.
    find = ("find", *FILES, "-not", "-path", "*/pauses/*")
    return {
        "files": sorted(run(*find, *ours, "-printf", "%p %y %m %l\n").stdout.splitlines()),
        "texts": sorted(
            run(*find, "-type", "f", "-name", "*vassal*", "-exec", "sha256sum", "{}", "+").stdout.splitlines()
        ),
        # Which units that do nothing systemd remembers is chance, and a sub-slice outlives its vassals.
        "units": sorted(
            " ".join(line.split()[:3]) for line in units if " inactive " not in line and ".slice" not in line
        ),
        "listen": sorted(re.findall(r"^Listen=.*", shown, re.MULTILINE)),
        "kernel": sorted(re.findall(rf"{SOCKETS}/\S+", run("ss", "-lxHn").stdout)),
        "sockets": sorted(run("find", SOCKETS, "-type", "s", "-printf", "%p %m\n").stdout.splitlines()),
    }


@pytest.mark.soak
def test_killed_amid_a_churn_it_takes_up_whatever_it_finds(
    bridge: Bridge, churn: Churn, capsys: pytest.CaptureFixture[str], counts: Counter[str]
) -> None:
    machine, chance = bridge.machine, churn.chance
    with capsys.disabled():
        print(f"\nEMPEROR_BRIDGE_SEED={SEED}")  # noqa: T201
    for name in STEADY:
        bridge.app("uwsgi", f"{SOCKETS}/{name}.sock")
    steady = pids(bridge)
    kills = set(chance.sample(range(CHANGES), KILLS))

    killers: list[subprocess.Popen[bytes]] = []
    for number in range(CHANGES):
        if number in kills:
            if killers:
                has_struck(killers[-1])
            killers.append(aim(machine, chance, len(killers)))
        churn.step()
    has_struck(killers[-1])
    counts["changes to a folder, amid which the daemon is killed"] += CHANGES
    counts["kills of the daemon"] += KILLS

    resolve(bridge, churn)
    assert machine.show(WATCH, "NRestarts") == str(KILLS)
    plan = bridge.run("sync", "--dry-run").stdout
    assert plan.endswith(f"{len(STEADY) + len(churn.rules)} vassals: nothing to do\n"), plan
    assert pids(bridge) == steady
    found = picture(machine)
    expected = {f"{SOCKETS}/{name}.sock" for name in STEADY} | set(churn.rules.values())
    assert set(found["kernel"]) == expected

    bridge.unwatch()
    bridge.run("remove", "--yes")
    bridge.sync()
    for name in STEADY:
        bridge.app("uwsgi", f"{SOCKETS}/{name}.sock")

    fresh = picture(machine)
    assert {key: sorted({*found[key]} ^ {*fresh[key]}) for key in found} == {key: [] for key in found}
