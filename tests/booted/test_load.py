"""What clients see while vassals reload, end idle by the hundred, or cannot start: no request is lost."""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import pytest

from bridge.lifecycle.events import Event, message_id

from .asked import unanswered
from .bridge import APP, APP_TEXT, VASSALS, WATCH, config
from .container import HERE
from .machine import Entry, Machine, MachineError, journal_filter, message
from .process import Lines, kill
from .soak import FACTOR, seed, times
from .suite import PYTHON
from .test_broken import MENDED, starts

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Mapping
    from subprocess import Popen

    from .bridge import Bridge

RELOADS = times(20)
WORKING = "/srv/app/working.py"
WORK = 0.3
"""Seconds an answer takes. uWSGI loses a connection that a worker has accepted and not begun to read when the signal
comes (`gracefully_kill` in core/uwsgi.c). With an app that answers at once that was 1 reload in 100 here; the longer an
answer takes, the smaller a part of the time that moment is."""
DEATHS, DYING_VASSALS = times(300) if FACTOR > 1 else 100, 50
OWN_DEATHS = times(1000) if FACTOR > 1 else DEATHS
ABOUT = 10.0
"""Seconds about a lost request in which the deaths of its app are told."""
IDLE = config("idle = 1", "die-on-idle = true", "disable-logging = true")
ATTEMPTS = 16 if FACTOR > 1 else 11
"""The last begins when the pauses before it, of 1, 2, 3 s and so on, are over: one minute after the first, or two."""
PAUSES = list(range(1, ATTEMPTS))
REST = 5.0
"""Seconds of a pause in which the processors' use is taken: neither its begin nor its end is among them."""
TICKS = 25
"""In so many seconds who sleeps uses none or one, and who is in a loop uses hundreds."""
TRIED = "/run/tried"
BROKEN = "/srv/app/broken.py"
# As far as an attempt gets: the moment is one between the end of a pause and the begin of the next.
BROKEN_TEXT = f"""\
import time
with open({TRIED!r}, "a") as tried:
    print(time.monotonic(), file=tried)
raise RuntimeError("broken")
"""

EMPEROR = "the-emperor.service"
EMPERORS_VASSALS = "/srv/emperors-vassals"

# Prints the CPU ticks that two processes used in some seconds, or nothing if another one ended meanwhile.
TICKS_WHILE = """
import os, select, sys

def ticks(pid):
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])

seconds, awaited, *pids = sys.argv[1:]
try:
    ended = select.poll()
    ended.register(os.pidfd_open(int(awaited)), select.POLLIN)
except ProcessLookupError:
    sys.exit()
before = [ticks(pid) for pid in pids]
if not ended.poll(float(seconds) * 1000):
    print(*(ticks(pid) - b for pid, b in zip(pids, before)))
"""


def start_crowd(machine: Machine, *arguments: str) -> Popen[bytes]:
    crowd = machine.popen(PYTHON, str(HERE / "crowd.py"), *arguments)
    machine.cleanups.append(lambda: kill(crowd))
    return crowd


def end_crowd(crowd: Popen[bytes]) -> list[dict[str, Any]]:
    out, err = crowd.communicate(timeout=300)
    assert crowd.returncode == 0, err.decode()
    asked: list[dict[str, Any]] = json.loads(out)
    return asked


def wait_entries(machine: Machine, cursor: str, pattern: str, number: int, *which: str, timeout: float) -> list[Entry]:
    """Return the first so many entries after a cursor that have the pattern, as soon as they are there."""
    deadline = time.monotonic() + timeout
    process = machine.popen("journalctl", "--follow", "--no-tail", *journal_filter(cursor, None), *which)
    found: list[Entry] = []
    try:
        lines = Lines(process.stdout)
        while len(found) < number and (line := lines.next(deadline)) is not None:
            entry: Entry = json.loads(line) if line.startswith("{") else {}
            if entry.get("__CURSOR") != cursor and re.search(pattern, message(entry)):
                found.append(entry)
    except TimeoutError as error:
        raise MachineError(f"{len(found)} of {number} entries with {pattern!r} within {timeout:g} s") from error
    finally:
        kill(process)
    return found


@pytest.mark.soak
def test_20_reloads_under_load_lose_no_request(watch: Bridge, counts: Counter[str]) -> None:
    """Every reload meets an answer in the making, and clients in the queue."""
    machine = watch.machine
    machine.write(WORKING, f"import time\n{APP_TEXT}".replace("    start", f"    time.sleep({WORK})\n    start", 1))
    machine.cleanups.append(lambda: machine.remove(WORKING))
    text = config("disable-logging = true").replace(APP, WORKING)
    path = watch.vassal("steady.ini", text, address="/run/steady.sock")
    watch.wait("steady", "listening")
    cursor = machine.journal_cursor()
    crowd = start_crowd(machine, "--clients=4", "/run/steady.sock")
    worker = machine.wait_journal("spawned uWSGI worker 1", unit="vassal-steady.service", since_cursor=cursor)
    latest = worker["__CURSOR"]
    for _ in range(RELOADS):
        machine.run("touch", path)
        machine.wait_journal(r"gracefully \(RE\)spawned", unit="vassal-steady.service", since_cursor=latest)
        worker = machine.wait_journal("spawned uWSGI worker 1", unit="vassal-steady.service", since_cursor=latest)
        latest = worker["__CURSOR"]
    asked = end_crowd(crowd)
    counts["reloads under load"] += RELOADS
    counts["requests amid reloads"] += len(asked)

    lost = unanswered(asked)
    assert not lost, "\n".join(lost)
    answers = [json.loads(request["body"]) for request in asked]
    assert len({answer["ppid"] for answer in answers}) == 1, "the master was started anew"
    assert len({answer["pid"] for answer in answers}) == RELOADS + 1, "not every generation of the app was asked"
    told = [entry for entry in machine.journal(cursor) if entry.get("VASSAL") == "steady.ini"]
    events = [entry["MESSAGE_ID"] for entry in told]
    assert events.count(message_id(Event.RELOADED)) == RELOADS, told


@dataclass(frozen=True)
class Deaths:
    """Many idle deaths, and the requests that were made meanwhile."""

    spans: list[tuple[str, float, float]]
    """For each death the vassal, when it found itself idle, and when it was waited for again."""
    asked: list[dict[str, Any]]

    @property
    def dying(self) -> list[dict[str, Any]]:
        """The requests that came between an app's decision to end and its end."""
        return [
            request for request in self.asked
            if any(request["address"].endswith(f"/{vassal}.sock") and begin <= request["at"] <= end
                   for vassal, begin, end in self.spans)
        ]  # fmt: skip

    def lost(self) -> list[str]:
        """Return each request that was not answered, and when its app died about that time."""
        told = []
        for request in self.asked:
            for line in unanswered([request]):
                deaths = [
                    f"{begin:.3f} to {end:.3f}" for vassal, begin, end in self.spans
                    if request["address"].endswith(f"/{vassal}.sock") and abs(begin - request["at"]) < ABOUT
                ]  # fmt: skip
                told.append(f"{line}; it died at {', '.join(deaths) or 'no time near'}")
        return told

    def of(self, letter: str) -> Deaths:
        """Return those of the vassals whose names begin with this letter."""
        spans = [span for span in self.spans if span[0].startswith(letter)]
        return Deaths(spans, [request for request in self.asked if f"/{letter}" in request["address"]])

    def row(self, name: str) -> str:
        times = [request["elapsed"] * 1000 for request in self.asked]
        last = quantiles(times, n=100)[98]
        return (
            f"{name:15}{len(self.spans):7}{len(self.asked):10}{len(self.dying):10}{len(unanswered(self.asked)):8}"
            f"{median(times):10.0f}{last:8.0f}{max(times):8.0f}"
        )


def seconds(entry: Entry) -> float:
    return int(entry.get("_SOURCE_REALTIME_TIMESTAMP") or entry["__REALTIME_TIMESTAMP"]) / 1e6


def let_die(
    machine: Machine, addresses: Iterable[str], idle: str, gone: str, *which: str, enough: Mapping[str, int]
) -> Deaths:
    """Visit the vassals until the journal has each pattern of `enough` so often.

    ``idle`` and ``gone`` find the vassal in what the journal says of it.
    """
    cursor = machine.journal_cursor()
    crowd = start_crowd(machine, f"--seed={seed(3)}", *addresses)
    for pattern, number in enough.items():
        wait_entries(machine, cursor, pattern, number, *which, timeout=times(1200))
    asked = end_crowd(crowd)
    spans = []
    began: dict[str, float] = {}
    for entry in sorted(machine.journal(cursor), key=seconds):
        text = f"{entry.get('_SYSTEMD_UNIT', '')} {entry.get('_PID')} {message(entry)}"
        if found := re.search(idle, text):
            began.setdefault(found[1], seconds(entry))
        elif (found := re.search(gone, text)) and found[1] in began:
            spans.append((found[1], began.pop(found[1]), seconds(entry)))
    return Deaths(spans, asked)


@pytest.mark.soak
def test_100_idle_deaths_lose_no_request(
    bridge: Bridge, capsys: pytest.CaptureFixture[str], counts: Counter[str]
) -> None:
    """Half of the vassals have sockets of their own; beside the Emperor, whose figures are for comparison only."""
    machine = bridge.machine
    bridge.options += ["--on-demand-own-sockets", "idle"]
    names = [f"{letter}{number}" for number in range(DYING_VASSALS // 2) for letter in "vo"]
    configs = {name: IDLE + f"socket = /run/dying/{name}.sock\n" * name.startswith("o") for name in names}
    rule = {f"{VASSALS}/{name}.ini.socket": f"/run/dying/{name}.sock" for name in names if name.startswith("v")}
    machine.write_many({**rule, **{f"{VASSALS}/{name}.ini": text for name, text in configs.items()}})
    bridge.watch()
    for name in names:
        bridge.wait(name, "listening")
    idle = r"^vassal-([vo]\d+)\.service \d+ workers have been inactive"
    gone = r"vassal-(%s\d+)\.service: Deactivated successfully"
    enough = {gone % "v": DEATHS, gone % "o": OWN_DEATHS}
    addresses = [f"/run/dying/{name}.sock" for name in names]
    bridged = let_die(machine, addresses, idle, gone % "[vo]", "_PID=1", enough=enough)

    counts["idle deaths"] += len(bridged.of("v").spans)
    counts["idle deaths on own sockets"] += len(bridged.of("o").spans)
    counts["requests amid idle deaths"] += len(bridged.asked)
    rows = [bridged.of("v").row("fd 0"), bridged.of("o").row("own sockets")]
    # What it cannot do is no failure of the bridge's.
    with suppress(MachineError):
        rows.append(emperors_deaths(machine).row("Emperor"))
    with capsys.disabled():
        print("\n                deaths  requests  in death  failed median ms  p99 ms  max ms")  # noqa: T201
        print(*rows, sep="\n")  # noqa: T201

    lost = bridged.lost()
    assert not lost, "\n".join(lost)
    for letter, number in (("v", DEATHS), ("o", OWN_DEATHS)):
        some = bridged.of(letter)
        assert len(some.spans) >= number
        assert len(some.dying) >= number // 10, "too few requests came in the dying second"
    assert {machine.show(f"vassal-{name}.socket", "ActiveState") for name in names} == {"active"}


def emperors_deaths(machine: Machine) -> Deaths:
    folder = EMPERORS_VASSALS
    names = [f"v{number}" for number in range(DYING_VASSALS)]
    machine.cleanups.append(lambda: machine.remove(folder, "/run/imperial"))
    machine.run("mkdir", "-p", "/run/imperial")
    rule = {f"{folder}/{name}.ini.socket": f"/run/imperial/{name}.sock" for name in names}
    machine.write_many({**rule, **{f"{folder}/{name}.ini": IDLE for name in names}})
    command = ["uwsgi", "--emperor", folder, "--emperor-on-demand-extension", ".socket"]
    # It logs for all its vassals: more than journald takes from one unit.
    options = ["--collect", "--property=LogRateLimitIntervalSec=0", "--property=KillSignal=SIGINT"]
    cursor = machine.journal_cursor()
    machine.cleanups.append(lambda: machine.run("systemctl", "stop", EMPEROR, check=False))
    machine.run("systemd-run", f"--unit={EMPEROR}", *options, *command)
    wait_entries(machine, cursor, "instance detected", len(names), f"--unit={EMPEROR}", timeout=180)
    idle, gone = r"bringing back instance (v\d+)\.ini", r'(v\d+)\.ini -> back to "on demand" mode'
    addresses = [f"/run/imperial/{name}.sock" for name in names]
    return let_die(machine, addresses, idle, gone, f"--unit={EMPEROR}", enough={gone: DEATHS})


def ticks_in_pause(machine: Machine) -> list[int]:
    """Return the CPU ticks of PID 1 and of the bridge amid the pause that has begun; none if it is over."""
    awaited, bridge = (machine.show(unit, "MainPID") for unit in ("pause-vassal-broken.service", WATCH))
    argv = (str(REST), awaited, "1", bridge)
    return [int(ticks) for ticks in machine.run(PYTHON, "-c", TICKS_WHILE, *argv).stdout.split()]


def tried(machine: Machine) -> list[float]:
    """Return when the broken vassal was tried, on the clock that nobody sets."""
    return [float(line) for line in machine.read(TRIED).splitlines()]


@pytest.mark.soak
def test_a_crash_loop_follows_the_delays_and_rests_between_them(
    watch: Bridge, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a slow machine adds to a gap is no misbehaviour: there is a bound to the whole, but to no gap alone."""
    machine = watch.machine
    machine.cleanups.append(lambda: machine.remove(BROKEN, TRIED))
    machine.write(BROKEN, BROKEN_TEXT)
    broken = MENDED.replace(APP, BROKEN)
    path = watch.vassal("broken.ini", broken, address="/run/broken.sock")
    watch.vassal("lonely.ini", broken, address="/run/lonely.sock")
    for name in ("broken", "lonely"):
        watch.wait(name, "listening")
    cursor = machine.journal_cursor()
    argv = [str(HERE / "client.py"), "--timeout=1200", "uwsgi", "/run/broken.sock"]
    client = machine.popen(PYTHON, *argv)
    machine.cleanups.append(lambda: kill(client))
    throttled = r"^broken\.ini: throttled: next attempt in"
    resting = []
    latest = cursor
    for number in range(1, ATTEMPTS + 1):
        latest = machine.wait_journal(throttled, unit=WATCH, since_cursor=latest, timeout=120)["__CURSOR"]
        if number in {ATTEMPTS - 2, ATTEMPTS - 1}:
            resting += ticks_in_pause(machine)
    assert client.poll() is None

    # The last pause has only begun: the attempt after it comes because the config changed.
    machine.write(path, MENDED)
    machine.wait_journal(r"^broken\.ini: retried", unit=WATCH, since_cursor=latest)
    answer = json.loads(client.communicate(timeout=60)[0])
    assert answer["status"] == 200, answer

    attempts = tried(machine)
    gaps = [later - earlier for earlier, later in pairwise(attempts)]
    told = [message(entry) for entry in machine.journal(cursor, WATCH) if re.search(throttled, message(entry))]
    with capsys.disabled():
        print("\ngaps:", *(f"{gap:.2f}" for gap in gaps), "ticks at rest:", *resting)  # noqa: T201
    assert told == [f"broken.ini: throttled: next attempt in {seconds} s" for seconds in [*PAUSES, ATTEMPTS]]
    assert len(attempts) == ATTEMPTS
    assert all(gap >= pause for gap, pause in zip(gaps, PAUSES, strict=True)), gaps
    assert sum(gaps) < 2 * sum(PAUSES), gaps
    assert resting, "both pauses were over before they could be looked at"
    assert max(resting) <= TICKS, resting
    assert len(starts(machine, cursor, "broken")) == ATTEMPTS + 1
    assert starts(machine, cursor, "lonely") == []
