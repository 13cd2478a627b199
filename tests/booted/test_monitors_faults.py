"""Whatever happens to a server, to the disk or to the bridge amid changes: no site is lost, and all follows again."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from bridge.feeder.protocol import Row

from .bridge import WATCH, Bridge
from .churn import WITHIN, Churn
from .soak import SEED, times
from .sources import MIRROR, STATE, follow

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from .machine import Machine
    from .sources import Source

ROUNDS, KILLS = times(3), times(8)
OUTAGE = times(2)
"""The most seconds for which something is away."""
CHANGES = 8
"""Changes amid which something happens."""
FEEDER = "emperor-bridge-monitor-fleet.service"
LONG = 2000
"""Lines of a text for which not even the room of all other rows would do."""


@pytest.fixture
def churn(machine: Machine, server: Source, bridge: Bridge) -> Iterator[Churn]:
    """The server without a row, and the watch daemon, whose mirror has a small file system of its own."""
    server.clear()
    machine.run("mkdir", "-p", STATE)
    machine.run("mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "tmpfs", STATE)
    machine.cleanups.insert(0, lambda: machine.run("umount", STATE))
    bridge.options = []
    follow(bridge, server.table())
    yield Churn(server, random.Random(SEED))  # noqa: S311 - not for secrets
    server.forget_client()


def killed(churn: Churn) -> None:
    churn.source.kill()
    churn.pause(OUTAGE)
    churn.source.start()


def stopped(churn: Churn) -> None:
    churn.source.stop()
    churn.pause(OUTAGE)
    churn.source.start()


def frozen(churn: Churn) -> None:
    churn.source.freeze()
    churn.pause(OUTAGE)
    churn.source.thaw()


def cut(churn: Churn) -> None:
    churn.source.cut()


def mute(churn: Churn) -> None:
    churn.source.stop()
    with churn.source.impersonated():
        churn.pause(OUTAGE)
    churn.source.start()


def garbage(churn: Churn) -> None:
    churn.source.stop()
    with churn.source.impersonated("5000"):
        churn.pause(OUTAGE)
    churn.source.start()


def disk_full(churn: Churn) -> None:
    cursor = churn.machine.journal_cursor()
    with churn.full_disk():
        churn.source.put(churn.row("long.ini", size=LONG))
        churn.machine.wait_journal("cannot be written: No space left", unit=WATCH, since_cursor=cursor)
        # An answer that needs no room may have come in between.
        said = f"until grep -q 'No space left' {MIRROR}/state.json; do sleep 0.01; done"
        churn.machine.run("sh", "-c", said, timeout=WITHIN)
        churn.pause(OUTAGE)


FAULTS: dict[str, Callable[[Churn], None]] = {
    "killed": killed,
    "stopped": stopped,
    "frozen": frozen,
    "cut": cut,
    "mute": mute,
    "garbage": garbage,
    "disk full": disk_full,
}


@pytest.mark.soak
def test_sites_outlast_every_fault(
    churn: Churn, server: Source, counts: Counter[str], capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(SEED)  # noqa: S311 - not for secrets
    # Where there is no server, only the disk can fail.
    kinds = ["disk full"] if server.scheme == "zmq" else list(FAULTS)
    faults = kinds * ROUNDS
    chance.shuffle(faults)
    slowest = dict.fromkeys(kinds, 0.0)
    with churn.steady():
        for fault in faults:
            churn.begin(CHANGES)
            churn.pause(0.8)
            FAULTS[fault](churn)
            back = time.monotonic()
            server.finish()
            churn.converge()
            took = time.monotonic() - back
            assert took < WITHIN, (fault, took)
            slowest[fault] = max(slowest[fault], took)
            counts[f"times {server.scheme} was {fault}"] += 1
    with capsys.disabled():
        shown = ", ".join(f"{fault} {seconds:.1f} s" for fault, seconds in slowest.items())
        print(f"\n{server.scheme}: the slowest return: {shown}")  # noqa: T201


@pytest.mark.soak
def test_nothing_is_lost_to_kills(
    machine: Machine, bridge: Bridge, churn: Churn, server: Source, counts: Counter[str]
) -> None:
    with churn.steady():
        for number in range(KILLS):
            # Each change counts: no later one makes up for it.
            deleted = churn.burst()
            churn.pause(0.5)
            victim = (WATCH, FEEDER)[number % 2]
            kill(machine, victim)
            if victim == WATCH:
                machine.wait_unit(WATCH, "ActiveState", "failed")
            before = churn.picture()
            if victim == WATCH:
                machine.run("systemctl", "restart", WATCH)
            server.finish()
            if server.scheme == "zmq":
                take_what_came(churn, bridge, before["rows"], deleted)
            churn.converge()
            counts[f"kills amid changes of {server.scheme}"] += 1


def kill(machine: Machine, unit: str) -> None:
    # A feeder that was killed before is there again after a while.
    machine.run(
        "sh", "-c", f"until systemctl kill --signal=KILL --kill-whom=main {unit} 2>/dev/null; do sleep 0.01; done"
    )


def take_what_came(churn: Churn, bridge: Bridge, before: dict[str, dict[str, str]], deleted: set[str]) -> None:
    """Expect of zmq what the mirror has: the mirror may have lost none of its rows, but nobody has the rest."""
    source = churn.source
    cursor = churn.machine.journal_cursor()
    source.put(churn.row("mark.ini"))
    bridge.told(r"^mark\.ini: (added|changed)", cursor)
    has = churn.picture()
    assert before.keys() - has["rows"].keys() <= deleted
    for name in before.keys() & has["rows"].keys():
        assert version(has["rows"][name]["socket"]) >= version(before[name]["socket"])
    source.rows = {
        name: Row(name=name, config=has["texts"][name], socket=note["socket"]) for name, note in has["rows"].items()
    }


def version(address: str) -> int:
    with suppress(ValueError):
        return int(address.rpartition("-")[2].removesuffix(".sock"))
    return 0
