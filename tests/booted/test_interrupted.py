"""Two syncs at once, and a sync or removal that is killed: the next one repairs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from .bridge import VASSALS, config
from .process import kill
from .soak import times
from .suite import PYTHON

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from .bridge import Bridge
    from .machine import Machine

# Runs the bridge, killed right before the n-th of its calls that change something, counted from the first note it
# makes of what it is about to do. n = 0 is never; then the number of these calls is printed.
KILLED = """
import os, signal, sys
CALLS = {"rename", "unlink", "symlink", "mkdir", "rmdir", "pwrite", "ftruncate", "utime", "send", "sendall", "sendmsg"}
wanted, count = int(sys.argv.pop(1)), 0
def watch(frame, event, function):
    global count
    if event == "c_call" and function.__name__ in CALLS and (count or function.__name__ == "pwrite"):
        count += 1
        if count == wanted:
            os.kill(os.getpid(), signal.SIGKILL)
from bridge.cli import main
sys.setprofile(watch)
try:
    main()
finally:
    sys.setprofile(None)
    print("calls:", count)
"""
FILES = ("/etc/systemd/system", "/run/systemd/system", "/run/emperor-bridge")
NO_ENDS = ("-not", "-name", "pauses", "-not", "-name", "*.ends", "-not", "-path", "/run/emperor-bridge/templates")
RULES = tuple(range(8))

Rules = dict[str, str | None]
"""Addresses by vassal; None for one that runs always."""


def before() -> Rules:
    rules: Rules = {"stays": "/run/k/stays.sock", "always": None, "mode": "/run/k/mode.sock", "back": None}
    rules |= {f"goes{n}": f"/run/k/goes{n}.sock" for n in RULES}
    rules |= {f"moves{n}": f"/run/k/moves{n}.sock" for n in RULES}
    return rules | {"swaps1": "/run/k/1.sock", "swaps2": "/run/k/2.sock", "port": "127.0.0.1:9450"}


def after() -> Rules:
    rules: Rules = {"stays": "/run/k/stays.sock", "always": None, "mode": None, "back": "/run/k/back.sock"}
    rules |= {f"comes{n}": f"/run/k/comes{n}.sock" for n in RULES}
    rules |= {f"moves{n}": f"/run/k/moved{n}.sock" for n in RULES}
    return rules | {"swaps1": "/run/k/2.sock", "swaps2": "/run/k/1.sock", "port": "127.0.0.1:9451"}


@dataclass
class Churn:
    """A folder of vassals that goes to and fro between two states."""

    bridge: Bridge

    def put(self, rules: Rules) -> None:
        """Make the vassals on disk these; a config that is there already is not touched."""
        machine = self.bridge.machine
        there = set(machine.run("find", VASSALS, "-name", "*.ini", "-printf", "%f\n").stdout.split())
        names = {f"{name}.ini" for name in rules}
        files = {f"{VASSALS}/{name}.ini.socket": f"{address or ''}\n" for name, address in rules.items()}
        for name in names - there:
            own = {"always.ini": "9452", "mode.ini": "9453", "back.ini": "9454"}.get(name)
            # Without a master uWSGI ends at once.
            files[f"{VASSALS}/{name}"] = config(*([f"socket = 127.0.0.1:{own}"] if own else []), master=False)
        if there - names:
            machine.remove(*(f"{VASSALS}/{name}{end}" for name in there - names for end in ("", ".socket")))
        machine.write_many(files)

    def run(self, kill_at: int, command: list[str]) -> int:
        """Run a command, killed at a point if that is not 0; return how many points it has, if it came to its end."""
        result = self.bridge.machine.run(PYTHON, "-c", KILLED, str(kill_at), *command, check=False)
        assert result.returncode == (-9 if kill_at else 0), result.stderr
        return int(result.stdout.rpartition("calls: ")[2] or 0)

    def sync(self, kill_at: int) -> int:
        """Sync, as :meth:`run` does."""
        return self.run(kill_at, self.bridge.command("sync")[1:])

    def picture(self, rules: Rules) -> dict[str, list[str]]:
        """Return the state of everything: files, links, units in memory, sockets in the kernel."""
        run = self.bridge.machine.run
        for name, address in rules.items():
            if address is None:
                self.bridge.wait(name, "running")
        units = run("systemctl", "list-units", "--all", "--plain", "--no-legend", "vassal*").stdout.splitlines()
        shown = run("systemctl", "show", "--property=Id,ActiveState,NeedDaemonReload,Listen,Job", "vassal*").stdout
        assert "NeedDaemonReload=yes" not in shown
        return {
            # When a vassal last ended is no part of what was interrupted.
            "files": sorted(run("find", *FILES, *NO_ENDS, "-printf", "%p %y %m %l\n").stdout.splitlines()),
            # The roll has times in it.
            "texts": sorted(
                run(
                    *("find", *FILES, *NO_ENDS, "-type", "f", "-not", "-name", "roll", "-exec", "sha256sum", "{}", "+")
                ).stdout.splitlines()
            ),
            # Which units that do nothing systemd remembers is chance, and a sub-slice outlives its vassals.
            "units": sorted(
                " ".join(line.split()[:4]) for line in units if "inactive" not in line and ".slice" not in line
            ),
            "listen": sorted(
                block for block in shown.split("\n\n") if "\nListen=" in f"\n{block}" and "ActiveState=active" in block
            ),
            "kernel": sorted(re.findall(r"/run/k/\S+|127\.0\.0\.1:945\d", run("ss", "-lxtHn").stdout)),
            "sockets": run("ls", "/run/k").stdout.split(),
        }


@pytest.fixture
def churn(bridge: Bridge) -> Churn:
    bridge.machine.cleanups.append(lambda: bridge.machine.remove("/run/k"))
    return Churn(bridge)


def points(calls: int) -> Iterator[int]:
    """Yield points to be killed at: the first steps one by one, then ever the same part of the whole."""
    yield from (2, 3, 5)
    yield from range(9, calls, max(1, calls // times(6)))
    yield calls


@pytest.mark.soak
def test_killed_sync_is_repaired_by_the_next(churn: Churn, counts: Counter[str]) -> None:
    bridge, calls, expected = churn.bridge, {}, {}
    inputs = {"before": before(), "after": after()}
    churn.put(inputs["before"])
    churn.sync(0)
    stays = bridge.app("uwsgi", "/run/k/stays.sock")
    for name in ("after", "before"):
        churn.put(inputs[name])
        calls[name] = churn.sync(0)
        expected[name] = churn.picture(inputs[name])
    at, to = "before", "after"

    for number, point in enumerate(points(min(calls.values()))):
        bridge.app("uwsgi", inputs[at]["moves0"] or "")  # one that runs must be stopped to be moved
        churn.put(inputs[to])
        churn.sync(point)
        counts["kills of sync"] += 1
        if number % 4 == 3:  # the admin thinks better of it
            at, to = to, at
            churn.put(inputs[to])

        bridge.sync()

        found = churn.picture(inputs[to])
        differences = {key: sorted({*found[key]} ^ {*expected[to][key]}) for key in found}
        assert not any(differences.values()), f"killed before call {point} on the way to {to}: {differences}"
        at, to = to, at
    assert bridge.app("uwsgi", "/run/k/stays.sock") == stays


def test_second_sync_waits_for_the_first_and_says_so(machine: Machine, bridge: Bridge) -> None:
    # The rule's command is where the first sync is held up.
    machine.run("mkfifo", "/srv/started", "/srv/gate")
    script = "#!/bin/sh\n[ -e /srv/second ] || { touch /srv/second; echo >/srv/started; read _ </srv/gate; }\n"
    machine.write("/srv/rule", f"{script}echo /run/one.sock\n", mode=0o755)
    machine.cleanups.append(lambda: machine.remove("/srv/started", "/srv/gate", "/srv/rule", "/srv/second"))
    bridge.options[2:] = ["--emperor-on-demand-exec", "/srv/rule"]
    bridge.vassal("one.ini")
    first = bridge.start("sync")
    machine.cleanups.append(lambda: kill(first))
    machine.run("cat", "/srv/started")

    second = bridge.start("sync")
    machine.cleanups.append(lambda: kill(second))
    assert second.stderr is not None
    assert second.stderr.readline() == b"another emperor-bridge is at work; waiting for it\n"
    machine.run("sh", "-c", "echo >/srv/gate")

    assert first.communicate(timeout=60)[0] == b"one.ini: added, on demand at /run/one.sock\n1 vassal: 1 added\n"
    assert second.communicate(timeout=60)[0] == b"1 vassal: nothing to do\n"
    assert (first.returncode, second.returncode) == (0, 0)


def test_killed_removal_is_finished_by_the_next(churn: Churn) -> None:
    bridge = churn.bridge
    remove = [*bridge.command("remove")[1:], "--yes"]
    churn.put(before())
    bridge.sync()
    calls = churn.run(0, remove)
    named = ("-name", "*vassal*", "-o", "-name", ".emperor-bridge.*", "-o", "-path", "*/emperor-bridge*")

    for point in (calls // 3, calls * 2 // 3, calls - 2):
        bridge.sync()
        bridge.app("uwsgi", "/run/k/stays.sock")
        churn.run(point, remove)
        bridge.run("remove", "--yes")
        assert bridge.machine.run("find", *FILES, *named, check=False).stdout == ""
        assert bridge.machine.run("ls", "/run/k").stdout == ""
        assert bridge.machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "vassal*").stdout == ""
