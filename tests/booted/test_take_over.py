"""take-over: from the real Emperor, a unit in the machine, to the bridge and back, while its sites are asked."""

from __future__ import annotations

import json
import random
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from . import soak
from .bridge import VASSALS, Bridge, config
from .container import HERE
from .process import Lines, kill
from .suite import PYTHON
from .test_interrupted import KILLED

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from .machine import Machine

UNIT = "the-emperor.service"
INI = "/srv/the-emperor/emperor.ini"
INI_TEXT = f"""\
[uwsgi]
master = true
workers = 1
emperor = {VASSALS}
emperor-on-demand-extension = .socket
emperor-freq = 1
pidfile = /run/the-emperor/emperor.pid
stats = /run/the-emperor/stats.sock
"""
# As Debian's uwsgi-emperor.service: systemd removes the folder, with all sockets in it, when the Emperor stops.
UNIT_TEXT = f"""\
[Unit]
Description=The Emperor of the tests

[Service]
Type=notify
NotifyAccess=all
ExecStart=/usr/bin/uwsgi --ini {INI}
Restart=always
KillSignal=SIGQUIT
RuntimeDirectory=the-emperor
LogRateLimitIntervalSec=0

[Install]
WantedBy=multi-user.target
"""
RUN = "/run/the-emperor"
NOTE = "/var/lib/emperor-bridge/take-over"
NUMBER, FEW = 200, 16
KILLS = soak.times(4)
LIMIT = 3.0
"""Seconds that an address may be without a server, beyond the time that its app takes to end."""
BETWEEN = 1.0
"""Seconds between two requests to an address, at most: by so much clients notice the end of a gap too late."""
THIEF = """
import socket, sys, time
host, port = sys.argv[1].split(":")
print("ready", flush=True)
while True:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((host, int(port)))
            one.listen()
        except OSError:
            continue
        print("got it", flush=True)
        sys.stdin.read()
"""


@dataclass
class Fleet:
    """Vassals of an Emperor, by kind; the address of each by its name."""

    bridge: Bridge
    waiting: dict[str, str] = field(default_factory=dict)
    """On demand at unix paths."""
    ports: dict[str, str] = field(default_factory=dict)
    """On demand at TCP ports."""
    always: dict[str, str] = field(default_factory=dict)
    """These bind their own sockets, at unix paths and TCP ports, and run always."""
    own: dict[str, list[str]] = field(default_factory=dict)
    """These bind their own sockets, too. The Emperor runs them always, and the bridge on demand."""

    @property
    def machine(self) -> Machine:
        return self.bridge.machine

    @property
    def names(self) -> dict[str, str]:
        """The name of the vassal by each address."""
        single = {address: name for name, address in (self.waiting | self.ports | self.always).items()}
        return single | {address: name for name, addresses in self.own.items() for address in addresses}

    @property
    def addresses(self) -> list[str]:
        return list(self.names)

    def make(self, number: int, mode: str) -> None:
        """Write so many vassals; ``mode`` says which of those with own sockets are to be on demand."""
        self.bridge.options = ["--emperor-ini", INI, "--on-demand-own-sockets", mode]
        idles = ["idle = 600", "die-on-idle = true"] if mode == "idle" else []
        files: dict[str, str | bytes] = {}
        for at in range(number):
            name, path, port = f"v{at}", f"{RUN}/v{at}.sock", f"127.0.0.1:{7000 + at}"
            match at % 8:
                case 0 | 1 | 2:
                    self.waiting[name] = path
                case 3:
                    self.ports[name] = port
                case 4:
                    self.always[name] = path if at % 16 == 4 else port
                case 5:
                    self.own[name] = [path, port]
                case 6:
                    self.own[name] = [path, f"{RUN}/v{at}.more.sock"]
                case _:
                    self.own[name] = [port]
            lines: list[str] = []
            if rule := self.waiting.get(name) or self.ports.get(name):
                files[f"{VASSALS}/{name}.ini.socket"] = f"{rule}\n"
            else:
                bound = self.own.get(name) or [self.always[name]]
                # Without vacuum the Emperor leaves the files of unix sockets behind.
                lines = [*(f"socket = {one}" for one in bound), f"vacuum = {'true' if at % 16 < 8 else 'false'}"]
                lines += idles if name in self.own else ["cron = 0 0 1 1 -1 true"]
            files[f"{VASSALS}/{name}.ini"] = config(*lines)
        self.machine.write_many(files)

    def start(self) -> None:
        """Start the Emperor, and enable it; all addresses listen on return."""
        self.machine.write_many({INI: INI_TEXT, f"/etc/systemd/system/{UNIT}": UNIT_TEXT})
        self.machine.cleanups.append(self.clear)
        self.machine.run("systemctl", "daemon-reload")
        self.machine.run("systemctl", "enable", "--now", "--quiet", UNIT)
        self.listens()

    def emperors_start(self) -> float:
        """Stop the Emperor and start it, amid requests; return the seconds until all addresses listen again."""
        running = [*self.always.values(), *(address for addresses in self.own.values() for address in addresses)]
        with asking(self.machine, running):
            self.machine.run("systemctl", "stop", UNIT)
            began = time.monotonic()
            self.machine.run("systemctl", "start", UNIT)
            self.listens()
            return time.monotonic() - began

    def clear(self) -> None:
        """Take all of it away."""
        self.bridge.run("remove", "--yes", status=None)
        self.machine.run("systemctl", "disable", "--now", "--quiet", UNIT, check=False)
        self.machine.run("systemctl", "reset-failed", UNIT, check=False)
        self.machine.remove(f"/etc/systemd/system/{UNIT}", "/srv/the-emperor", RUN, NOTE)
        self.machine.run("systemctl", "daemon-reload")

    def listens(self) -> None:
        """Wait until every address listens."""
        wanted = " ".join(self.addresses)
        look = f'all=$(ss -lxtHn); for one in {wanted}; do echo "$all" | grep -qF "$one " || exit 1; done'
        self.machine.until(f"sh -c '{look}'")

    def all_answer(self) -> None:
        """Ask every site once."""
        with asking(self.machine, steady=self.addresses) as made:
            pass
        assert {address for address in self.addresses if made[address][0][2] is None} == {*self.addresses}, made

    def take_over(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        """Run take-over; return what it says in JSON."""
        said: dict[str, Any] = json.loads(self.bridge.run("take-over", "--json", *arguments, status=status).stdout)
        return said

    def is_enabled(self) -> bool:
        return self.machine.run("systemctl", "is-enabled", UNIT, check=False).stdout == "enabled\n"

    def no_emperor_is_left(self) -> None:
        """See that nothing of the Emperor runs, starts at boot or is in the way."""
        machine = self.machine
        assert machine.show(UNIT, "ActiveState") == "inactive"
        assert machine.show(UNIT, "NeedDaemonReload") == "no"
        assert not self.is_enabled()
        assert machine.run("systemctl", "is-enabled", "vassals.target").stdout == "enabled\n"
        groups = machine.run("sh", "-c", "cat $(pgrep -x uwsgi-core | sed 's|.*|/proc/&/cgroup|')", check=False).stdout
        assert [line for line in groups.splitlines() if "systemd:" in line and "/vassal-" not in line] == []
        assert machine.run("find", "/run/systemd/system", "-name", "*take-over*").stdout == ""
        assert machine.run("find", RUN, "-name", "emperor.pid", "-o", "-name", "stats.sock").stdout == ""

    def no_bridge_is_left(self) -> None:
        """See that the Emperor is in charge, and nothing of the bridge is there."""
        machine = self.machine
        assert machine.show(UNIT, "ActiveState") == "active"
        assert self.is_enabled()
        assert machine.run("sh", "-c", "ls /etc/systemd/system | grep vassal", check=False).stdout == ""
        assert machine.run("systemctl", "list-units", "--plain", "--no-legend", "vassal-*").stdout == ""
        assert machine.run("find", "/var/lib/emperor-bridge", "-name", "take-over*", check=False).stdout == ""


Made = dict[str, list[tuple[float, float, str | None]]]
"""The requests to each address: when each was made, when it ended, and what went wrong."""


@contextmanager
def asking(machine: Machine, steady: list[str], once: list[str] | None = None) -> Iterator[Made]:
    """Ask as `asking.py` says for as long as the block lasts; what came of it is known afterwards."""
    made: Made = {}
    process = machine.popen(PYTHON, str(HERE / "asking.py"), "--steady", *steady, "--once", *(once or []))
    try:
        lines = Lines(process.stdout)
        assert lines.next(time.monotonic() + 60) == "asking"
        yield made
        assert process.stdin is not None
        process.stdin.close()
        line = lines.next(time.monotonic() + 90)
        assert line is not None
        made.update(json.loads(line))
    finally:
        kill(process)


@contextmanager
def ending(machine: Machine) -> Iterator[dict[str, float]]:
    """Watch the Emperor's apps in the block, in which they end; how long each took for that is known afterwards.

    It is from the moment in which systemd stops the Emperor.
    """
    took: dict[str, float] = {}
    cursor = machine.journal_cursor()
    process = machine.popen(PYTHON, str(HERE / "ends.py"), UNIT)
    try:
        lines = Lines(process.stdout)
        assert lines.next(time.monotonic() + 60) == "watching"
        yield took
        line = lines.next(time.monotonic() + 60)
        assert line is not None
    finally:
        kill(process)
    entry = machine.wait_journal(r"^Stopping .*The Emperor of the tests", since_cursor=cursor)
    stopped = int(entry["_SOURCE_REALTIME_TIMESTAMP"]) / 1e6
    took.update({name: at - stopped for name, at in json.loads(line).items() if name != "emperor.ini"})


def refused(requests: list[tuple[float, float, str | None]]) -> float:
    """Return the longest time in which requests failed, from the first of them to the next that was let in."""
    longest, since = 0.0, None
    for began, ended, wrong in requests:
        if since is not None:
            longest = max(longest, began - since)
        if wrong is None:
            since = None
        elif since is None:
            since = began
            longest = max(longest, ended - since)
    return longest


def make_fleet(bridge: Bridge, number: int, mode: str) -> Fleet:
    """Return so many vassals under the Emperor."""
    made = Fleet(bridge)
    made.make(number, mode)
    made.start()
    return made


@pytest.fixture
def fleet(bridge: Bridge) -> Fleet:
    return make_fleet(bridge, NUMBER, "idle")


@pytest.fixture
def few(bridge: Bridge) -> Fleet:
    return make_fleet(bridge, FEW, "all")


@pytest.mark.soak
def test_there_and_back_while_the_sites_are_asked(fleet: Fleet, counts: Counter[str]) -> None:
    waiting = list(fleet.waiting.values())
    half = len(waiting) // 2
    own = [address for addresses in list(fleet.own.values())[::2] for address in addresses]
    steady = [*waiting[:half], *list(fleet.ports.values())[::2], *list(fleet.always.values())[::2], *own]
    assert 2 * len(steady) >= len(fleet.addresses) - 8
    emperors_start = fleet.emperors_start()
    planned = fleet.take_over("--dry-run")
    assert (planned["outcome"], planned["emperor"], len(planned["changes"])) == ("planned", [UNIT], NUMBER)
    fleet.no_bridge_is_left()

    with asking(fleet.machine, steady, once=waiting[half:]) as made, ending(fleet.machine) as took:
        said = fleet.take_over()
    counts["vassals taken over"] += NUMBER

    assert said["outcome"] == "done", said
    assert {d["severity"] for d in said["diagnostics"]} <= {"warning"}
    worst = {address: refused(requests) for address, requests in made.items()}
    print("refused, as clients saw it:", sorted(worst.items(), key=lambda one: -one[1])[:5])  # noqa: T201
    print("measured by the bridge:", said["gap"])  # noqa: T201
    print("the apps took to end:", sorted(took.values())[:: max(1, len(took) // 8)])  # noqa: T201
    ran = {*fleet.always, *fleet.own, *list(fleet.ports)[::2], *list(fleet.waiting)[:half]}
    assert {f"{name}.ini" for name in ran} <= took.keys()
    # One that was woken later has ended with the others.
    stop_time = {a: took.get(f"{name}.ini", max(took.values())) for a, name in fleet.names.items()}
    # Where two processors have more to do, the Emperor beside it says how long the apps' own start takes there.
    limit = max(LIMIT, emperors_start)
    print(f"the Emperor took {emperors_start:.1f} s to start them; the limit is {limit:.1f} s")  # noqa: T201
    assert {a: (s, stop_time[a]) for a, s in worst.items() if s > limit + stop_time[a]} == {}
    # Nobody who came to a vassal that only waited was refused.
    assert {address: worst[address] for address in waiting[half:] if worst.get(address)} == {}
    assert len([address for address in waiting[half:] if address in made]) >= 5
    assert said["gap"]["addresses"] == len(fleet.addresses)
    # Those that nobody had asked before were handed over without a gap.
    assert said["gap"]["refused"] < len(fleet.addresses)
    assert 0 < said["gap"]["worst"] <= limit + stop_time[said["gap"]["worst_address"]]
    # While an app is being stopped, the bridge takes its address to be served.
    assert said["gap"]["worst"] >= max(seconds - stop_time[address] for address, seconds in worst.items()) - BETWEEN
    fleet.no_emperor_is_left()
    fleet.all_answer()
    rows = fleet.bridge.status()
    assert {row["state"] for row in rows.values()} <= {"running", "listening"}
    assert {name: rows[f"{name}.ini"]["sockets"] for name in fleet.own} == fleet.own
    assert {rows[f"{name}.ini"]["mode"] for name in fleet.always} == {"always"}
    assert fleet.bridge.sync().stdout == f"{NUMBER} vassals: nothing to do\n"

    back = fleet.take_over("--back")
    assert back["outcome"] == "back", back
    fleet.no_bridge_is_left()
    # The Emperor binds one socket after the other.
    fleet.listens()
    fleet.all_answer()


@pytest.mark.soak
def test_killed_anywhere_the_next_run_finishes_it(few: Fleet, counts: Counter[str]) -> None:
    chance = random.Random(soak.seed(12))  # noqa: S311 - not for secrets
    bridge, machine = few.bridge, few.machine
    run = partial(machine.run, PYTHON, "-c", KILLED, check=False, timeout=120.0)
    command = bridge.command("take-over")[1:]
    calls = int(run("0", *command).stdout.rpartition("calls: ")[2])
    ways = ["--back", "", "sync", "back", ""]
    for number in range(KILLS):
        way = ways[number % len(ways)]
        if few.is_enabled():
            point = chance.randint(1, calls)
            result = run(str(point), *command)
            assert result.returncode in {-9, 0}, result.stderr
        if way == "back":
            # The way back is killed too.
            if not is_noted(machine):
                few.take_over()
            run(str(chance.randint(1, 60)), *command, "--back")
        if way == "sync" and is_noted(machine) and is_unfinished(machine):
            assert "[take-over-unfinished]" in bridge.run("sync", status=1).stderr
        if way == "--back" and is_noted(machine):
            few.take_over("--back")
            few.no_bridge_is_left()
            few.listens()
        elif not is_noted(machine) or is_unfinished(machine):
            assert few.take_over()["outcome"] == "done"
            few.no_emperor_is_left()
        few.all_answer()
        counts["kills of take-over"] += 1
        if is_noted(machine):
            few.take_over("--back")
        few.no_bridge_is_left()
        few.listens()


def is_noted(machine: Machine) -> bool:
    return machine.run("test", "-e", NOTE, check=False).returncode == 0


def is_unfinished(machine: Machine) -> bool:
    noted: dict[str, str] = json.loads(machine.read(NOTE))
    return noted["step"] != "done"


def test_what_cannot_come_up_leads_back_to_the_emperor(few: Fleet) -> None:
    name, address = next(iter(few.ports.items()))
    thief = few.machine.popen(PYTHON, "-c", THIEF, address)
    try:
        lines = Lines(thief.stdout)
        assert lines.next(time.monotonic() + 30) == "ready"
        said = few.take_over(status=1)
        assert lines.next(time.monotonic() + 30) == "got it"
    finally:
        kill(thief)
    assert said["outcome"] == "back"
    assert [(d["code"], d["vassal"]) for d in said["diagnostics"] if d["code"] == "not-listening"] == [
        ("not-listening", f"{name}.ini")
    ]
    few.no_bridge_is_left()
    few.listens()
    few.all_answer()


def test_a_vassal_that_is_refused_keeps_the_emperor_in_charge(few: Fleet) -> None:
    pid = few.machine.show(UNIT, "MainPID")
    for named in ((), (UNIT,), (UNIT.removesuffix(".service"),), (pid,)):
        assert few.take_over("--dry-run", *named)["emperor"] == [UNIT]
    few.bridge.vassal("bad.ini", address="/run/../nothing/\x01:99999")
    said = few.take_over(status=1)
    assert said["outcome"] == "refused"
    assert said["changes"] == []
    assert few.machine.show(UNIT, "MainPID") == pid
    few.no_bridge_is_left()
