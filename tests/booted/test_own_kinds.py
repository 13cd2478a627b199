"""Each kind of config that binds its sockets itself is served on demand on them, throughout its life."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from .container import HERE
from .own_kinds import (
    APP,
    APP_TEXT,
    KINDS,
    LOGS,
    MAKE_CERTIFICATE,
    RUN,
    TENANT_KINDS,
    TYRANT,
    TYRANT_FILES,
    Kind,
)
from .process import Lines, kill
from .soak import FACTOR, times
from .suite import PYTHON

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Mapping, Sequence
    from subprocess import Popen

    from .bridge import Bridge
    from .machine import Machine

ROUNDS = times(5) if FACTOR > 1 else 2
"""How often each vassal is woken and left until it is idle; one with more sockets is woken by each."""
LEAST = 20
FLEETS: dict[str, tuple[Sequence[str], Mapping[str, str], Sequence[Kind]]] = {
    "plain": ((), {}, KINDS),
    "tyrant": (TYRANT, TYRANT_FILES, TENANT_KINDS),
}
Answer = dict[str, Any]


class Fleet:
    """The vassals of some kinds, all of which do everything at the same time."""

    def __init__(self, machine: Machine, bridge: Bridge, kinds: Sequence[Kind]) -> None:
        self.machine = machine
        self.bridge = bridge
        self.kinds = kinds

    def write(self) -> None:
        """Write all that the vassals need."""
        machine = self.machine
        machine.cleanups.append(partial(machine.remove, RUN, "/srv/own"))
        machine.run("mkdir", "-p", RUN)
        machine.run("mkdir", "-p", "-m", "777", LOGS)
        files = {APP: APP_TEXT}
        for kind in self.kinds:
            files |= kind.contents()
        machine.write_many(files)
        if any(protocol == "https" for kind in self.kinds for protocol, _ in kind.asked):
            machine.run(*MAKE_CERTIFICATE)
        for kind in self.kinds:
            if kind.owner != "root":
                machine.run("chown", f"{kind.owner}:{kind.owner}", kind.config)

    def show(self, name: str, kinds: Iterable[Kind]) -> dict[str, str]:
        """Return a property of the services, by kind."""
        names = [kind.name for kind in kinds]
        units = [f"vassal-{one}.service" for one in names]
        text = self.machine.run("systemctl", "show", f"--property={name}", "--value", "--", *units).stdout
        return dict(zip(names, text.rstrip("\n").split("\n\n"), strict=True))

    def wait(self, state: str, kinds: Sequence[Kind]) -> None:
        """Wait until all services are in a state."""
        units = " ".join(f"vassal-{kind.name}.service" for kind in kinds)
        count = f"systemctl show --property=SubState --value -- {units} | grep -cx {state}"
        self.machine.until(f"test $({count}) = {len(kinds)}")

    def start_asker(self, asked: list[tuple[str, str]], *arguments: str) -> tuple[Popen[bytes], Lines]:
        """Start to ask all these; all have been asked on return."""
        asker = self.machine.popen(PYTHON, str(HERE / "asker.py"), *arguments)
        self.machine.cleanups.append(partial(kill, asker))
        assert asker.stdin is not None
        asker.stdin.write(json.dumps(asked).encode() + b"\n")
        asker.stdin.flush()
        lines = Lines(asker.stdout)
        assert lines.next(time.monotonic() + 90) == "asked"
        return asker, lines

    def answers(self, lines: Lines, kinds: Sequence[Kind]) -> dict[str, list[Answer]]:
        """Return what an asker that asked each of these once or more was answered, by kind; all must have been."""
        line = lines.next(time.monotonic() + 90)
        assert line is not None
        outcomes = dict(zip((kind.name for kind in kinds), json.loads(line), strict=True))
        failed = {name: one for name, all_ in outcomes.items() for one in all_ if one["status"] != 200}
        assert not failed, json.dumps(failed, indent=1)
        return {name: [json.loads(one["body"]) for one in all_] for name, all_ in outcomes.items()}

    def ask(self, number: int, kinds: Sequence[Kind]) -> dict[str, Answer]:
        """Ask each vassal once at its address of that number; return what they say, each the right thing."""
        asked = [kind.asked[number % len(kind.asked)] for kind in kinds]
        _, lines = self.start_asker(asked)
        said = {name: one for name, (one,) in self.answers(lines, kinds).items()}
        wrong = {}
        for kind, (_, address) in zip(kinds, asked, strict=True):
            one = said[kind.name]
            expected = {"fds": list(range(3, 3 + len(kind.asked))), "names": kind.addresses, **kind.says}
            # Who asks at the wildcard address comes to another.
            is_own = one["came"] == address or one["came"].rpartition(":")[2] == address.rpartition(":")[2] != address
            if not is_own or {**one, **expected} != one:
                wrong[kind.name] = one
        assert not wrong, json.dumps(wrong, indent=1)
        return said


def masters(said: dict[str, Answer]) -> dict[str, str]:
    """Return the main process of each, as systemd should know it."""
    return {name: str(one["master"] or one["pid"]) for name, one in said.items()}


def access(fleet: Fleet) -> dict[str, str]:
    """Return mode, owners and inode of each socket file."""
    paths = [path for kind in fleet.kinds for path in kind.paths]
    lines = fleet.machine.run("stat", "--format=%a %U:%G %i", *paths).stdout.splitlines()
    return dict(zip(paths, lines, strict=True))


def begin(fleet: Fleet) -> None:
    """Have all wait at their own addresses, open to whom they would be if uWSGI had bound them."""
    fleet.write()
    fleet.bridge.options += ["--on-demand-own-sockets", "all"]
    fleet.bridge.sync()
    rows = fleet.bridge.status()
    seen = {kind.name: rows[kind.config.rpartition("/")[2]] for kind in fleet.kinds}
    waits = {kind.name: ("listening", "on-demand", kind.addresses) for kind in fleet.kinds}
    assert {name: (row["state"], row["mode"], row["sockets"]) for name, row in seen.items()} == waits
    found = access(fleet)
    expected = {path: kind.access for kind in fleet.kinds for path in kind.paths}
    assert {path: text.rpartition(" ")[0] for path, text in found.items()} == expected


def wake_and_reload(fleet: Fleet) -> None:
    """Have each woken by its first socket, answer at all others, and reload, while it is asked all the time."""
    kinds = [kind for kind in fleet.kinds if kind.has_master]
    crowd, lines = fleet.start_asker([kind.asked[0] for kind in kinds], "--renewed", "--path=/slow")
    before = masters(fleet.ask(0, fleet.kinds))
    fleet.wait("running", fleet.kinds)
    assert fleet.show("MainPID", fleet.kinds) == before
    for number in range(1, max(len(kind.asked) for kind in fleet.kinds)):
        more = [kind for kind in fleet.kinds if number < len(kind.asked)]
        again = masters(fleet.ask(number, more))
        assert again == {name: master for name, master in before.items() if name in again}
    fleet.machine.run("touch", *(kind.config for kind in kinds))
    fleet.bridge.sync()
    # All of them are answers of the app: nobody has been turned away.
    answered = fleet.answers(lines, kinds)
    assert [name for name, all_ in answered.items() if len({one["pid"] for one in all_}) < 2] == [], "not reloaded"
    after = masters({name: all_[-1] for name, all_ in answered.items()})
    assert after == {name: master for name, master in before.items() if name in after}
    crash(fleet, kinds, crowd, after)


def crash(fleet: Fleet, kinds: Sequence[Kind], crowd: Popen[bytes], before: dict[str, str]) -> None:
    """Have all die with connections in their queues, as long as a crowd keeps them busy."""
    units = [f"vassal-{kind.name}.service" for kind in kinds]
    fleet.machine.run("systemctl", "kill", "--signal=STOP", *units)
    kill(crowd)
    _, lines = fleet.start_asker([kind.asked[-1] for kind in kinds])
    fleet.machine.run("systemctl", "kill", "--signal=KILL", *units)
    revived = {name: all_[0] for name, all_ in fleet.answers(lines, kinds).items()}
    assert not set(masters(revived).values()) & set(before.values())


@pytest.mark.soak
@pytest.mark.parametrize("name", FLEETS)
@pytest.mark.usefixtures("tenants")
def test_all_its_life_it_has_its_own_sockets(machine: Machine, bridge: Bridge, name: str, counts: Counter[str]) -> None:
    options, files, kinds = FLEETS[name]
    fleet = Fleet(machine, bridge, kinds)
    bridge.options += options
    machine.write_many(files)
    for path, text in files.items():
        if text.startswith("#!"):
            machine.run("chmod", "+x", path)
    begin(fleet)
    files_before = access(fleet)
    wake_and_reload(fleet)
    idle = [kind for kind in kinds if kind.has_master]
    for number in range(ROUNDS):
        fleet.wait("dead", idle)
        assert set(fleet.show("Result", idle).values()) == {"success"}
        fleet.ask(number + 1, idle)
        counts["idle vassals with own sockets woken"] += len(idle)
    for number in range(ROUNDS + 1, max(len(kind.asked) for kind in kinds)):
        more = [kind for kind in idle if number < len(kind.asked)]
        fleet.wait("dead", more)
        fleet.ask(number, more)
    assert access(fleet) == files_before


def test_there_are_enough_kinds() -> None:
    assert len(KINDS) >= LEAST
