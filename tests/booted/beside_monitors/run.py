"""Run inside the machine: takes the worlds of each stage through their rounds, and prints what was seen of each case.

`python -m tests.booted.beside_monitors.run [PATTERN]`, in the checkout; with a pattern only the worlds that match.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import feeds
from .differences import expected
from .feeds import Broker, Databases
from .model import (
    APP,
    APP_TEXT,
    CWD,
    RUN,
    TOP,
    Act,
    Case,
    Delete,
    Event,
    Kill,
    Publish,
    Put,
    Remove,
    Restart,
    Send,
    Server,
    Sql,
    Stage,
    Step,
    World,
    Write,
)
from .pg import SECRET
from .sides import EMPERORS, BridgeSide, EmperorSide, ask, make_folders
from .stages import STAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .sides import Side

PATIENCE = 40.0
"""Seconds until what should be seen counts as not to be seen."""
CALM = 2.5
"""Seconds without a change after which nothing more is expected: two looks of an Emperor and a reload."""
TICK = 0.4
AGAIN = 3.0
"""Seconds after which a beacon is sent again, as the first may have been sent to nobody."""
ASKING = ("answer", "moved", "process")
Seen = dict[str, dict[str, str]]


def log(text: str) -> None:
    """Tell how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)  # noqa: T201


class Player:
    """Takes one world through its rounds."""

    def __init__(self, world: World, stage: Stage, servers: Servers, bridge: BridgeSide) -> None:
        self.world = world
        self.emperors = {one.name: EmperorSide(one, stage) for one in world.emperors}
        self.bridge = bridge
        self.seen: dict[str, Seen] = {case.name: {"emperor": {}, "bridge": {}} for case in world.cases}
        self._main = self.emperors[world.emperors[0].name]
        self._servers = servers
        self._facts: dict[tuple[str, str], dict[str, Any]] = {}

    def prepare(self) -> None:
        """Do what must be done before anything starts."""
        for act in self.world.prepare:
            self._perform(act, None)

    def play(self) -> None:
        """Go through all rounds but the last."""
        for number in range(self.world.rounds):
            log(f"{self.world.name} {number}")
            event = self.world.events.get(number, Event(acts=()))
            for act in event.acts:
                self._perform(act, None)
            self._wait_for_logs(event)
            if event.acts or number == 0:
                self._beacon(f"{number}a", event.beacon)
            steps = {case: case.steps[number - case.start] for case in self.world.cases if self._is_on(case, number)}
            for case, step in steps.items():
                for act in step.acts:
                    self._perform(act, case)
            self._beacon(str(number), event.beacon)
            self._look(steps, {case: str(number - case.start + 1) for case in steps})

    def finish(self) -> None:
        """See what is there in the end."""
        steps = {case: Step((), case.last) for case in self.world.cases if case.last}
        self._look(steps, dict.fromkeys(steps, "end"))

    def restart(self) -> None:
        """Start every Emperor anew."""
        for emperor in self.emperors.values():
            emperor.stop()
            emperor.start()

    def stop(self) -> None:
        """Stop every Emperor."""
        for emperor in self.emperors.values():
            emperor.stop()

    @staticmethod
    def _is_on(case: Case, number: int) -> bool:
        return 0 <= number - case.start < len(case.steps)

    def _sides(self, case: Case) -> tuple[Side, Side]:
        return (self.emperors[case.emperor] if case.emperor else self._main, self.bridge)

    # What is done

    def _perform(self, act: Act, case: Case | None, name: str = "") -> None:
        name = name or (case.name if case else "")
        if isinstance(act, Restart):
            self._main.stop()
            self._main.start()
        elif isinstance(act, Kill):
            assert case is not None
            for side in self._sides(case):
                vassal = case.fill(case.vassal)
                if pid := side.states([vassal]).get(vassal):
                    os.kill(pid, signal.SIGKILL)
        elif isinstance(act, Send):
            messages = [[part.replace("NAME", name) for part in message] for message in act.messages]
            for side in (self._main, self.bridge):
                feeds.send(f"{side.run}/bus/zmq", messages)
        elif isinstance(act, Write | Remove):
            self._change_file(act, name)
        else:
            self._servers.perform(act, name)

    def _change_file(self, act: Write | Remove, name: str) -> None:
        path = act.path.replace("NAME", name)
        for folder in {CWD, *(one.cwd for one in self.emperors.values())}:
            place = Path(folder, path)
            if isinstance(act, Remove):
                place.unlink(missing_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(act.text.replace("NAME", name))

    def _beacon(self, label: str, sides: Sequence[str]) -> None:
        """Wait until something that is put in now is known on these sides."""
        deadline = time.monotonic() + PATIENCE
        names: list[str] = []
        sent = 0.0
        while sides and time.monotonic() < deadline:
            if time.monotonic() > sent + AGAIN:
                names.append(f"beacon-{self.world.name}-{label}-{len(names)}")
                for act in self.world.beacon:
                    self._perform(act, None, names[-1])
                sent = time.monotonic()
            if all(self._knows(side, names) for side in (self._main, self.bridge) if side.name in sides):
                return
            time.sleep(TICK)
        if sides:
            log(f"{self.world.name}: beacon {label} is not known")

    def _knows(self, side: Side, names: Sequence[str]) -> bool:
        """Tell whether a side knows one of several beacons that were sent, from each monitor of the world."""
        wanted = self.world.beacons if side is self.bridge else self.world.beacons[:1]
        sent = {one: [one.replace("NAME", name) for name in names] for one in wanted}
        known = side.states([name for several in sent.values() for name in several])
        return all(any(name in known for name in several) for several in sent.values())

    def _wait_for_logs(self, event: Event) -> None:
        sides: tuple[Side, Side] = (self._main, self.bridge)
        for side, pattern in zip(sides, event.logs, strict=True):
            deadline = time.monotonic() + PATIENCE
            while pattern and not re.search(pattern, side.log()):
                if time.monotonic() > deadline:
                    log(f"{self.world.name}: {side.name} does not say {pattern!r}")
                    break
                time.sleep(TICK)

    # What is seen

    def _look(self, steps: Mapping[Case, Step], labels: Mapping[Case, str]) -> None:
        """See each case on both sides, once all are as they should be and have been for a while."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = self._look_quietly(steps)
            if all(
                value == expected(side, case.name, f"{labels[case]} {aspect}", steps[case].then[aspect])
                for (case, side), aspects in found.items()
                for aspect, value in aspects.items()
            ):
                break
            if time.monotonic() > deadline:
                break
            time.sleep(TICK)
        time.sleep(CALM)
        for (case, side), aspects in self._look_quietly(steps).items():
            self.seen[case.name][side] |= {f"{labels[case]} {aspect}": value for aspect, value in aspects.items()}
        with ThreadPoolExecutor(8) as pool:
            jobs = [
                pool.submit(self._ask, case, step, labels[case], side)
                for case, step in steps.items()
                for side in self._sides(case)
            ]
            for job in jobs:
                job.result()

    def _look_quietly(self, steps: Mapping[Case, Step]) -> dict[tuple[Case, str], dict[str, str]]:
        """See what can be seen without a connection."""
        found: dict[tuple[Case, str], dict[str, str]] = {}
        by_side: dict[Side, list[Case]] = {}
        for case in steps:
            for side in self._sides(case):
                by_side.setdefault(side, []).append(case)
        for side, cases in by_side.items():
            states = side.states([case.fill(case.vassal) for case in cases if "state" in steps[case].then])
            told = side.log() if any("log" in steps[case].then for case in cases) else ""
            for case in cases:
                state = said(states.get(case.fill(case.vassal)))
                wanted = steps[case].then
                found[case, side.name] = {
                    aspect: seen for aspect, seen in quiet_looks(case, side, state, told).items() if aspect in wanted
                }
        return found

    def _ask(self, case: Case, step: Step, label: str, side: Side) -> None:
        seen = self.seen[case.name][side.name]
        for aspect, address in (("answer", case.address), ("moved", case.other_address)):
            if aspect not in step.then:
                continue
            before = self._facts.get((case.name, side.name), {})
            wanted = {one: expected(side.name, case.name, f"{label} {one}", step.then[one]) for one in step.then}
            deadline = time.monotonic() + PATIENCE
            while True:
                facts = ask(side, address)
                got = {aspect: shown(case, facts)}
                if "process" in step.then and aspect == "answer":
                    got["process"] = compared(before, facts)
                if all(value == wanted[one] for one, value in got.items()) or time.monotonic() > deadline:
                    break
                time.sleep(TICK)
            seen |= {f"{label} {one}": value for one, value in got.items()}
            if aspect == "answer":
                self._facts[case.name, side.name] = facts
        if "lives" in step.then:
            seen[f"{label} lives"] = lives(side, case.fill(case.vassal))
        if "secret" in step.then:
            seen[f"{label} secret"] = " ".join(side.secret_places(SECRET)) or "nowhere"


def quiet_looks(case: Case, side: Side, state: str, told: str) -> dict[str, str]:
    """Return what can be seen of a vassal without a connection, by aspect."""
    pattern = case.logs[side.name == "bridge"]
    return {
        "state": state,
        "path": there(case.address.replace(RUN, side.run, 1)),
        "touch": there(f"{side.cwd}/touch"),
        "log": "told" if re.search(pattern, told) else "silent",
    }


def said(pid: int | None) -> str:
    """Say in what state a vassal is, by its process."""
    return "none" if pid is None else "runs" if pid else "waits"


def there(path: str) -> str:
    """Say whether there is a file."""
    return "there" if Path(path).exists() else "gone"


def shown(case: Case, facts: Mapping[str, Any]) -> str:
    """Return what counts of an answer."""
    if "error" in facts:
        return str(facts["error"])
    return re.sub(
        r"/var/lib/emperor-bridge/monitors/[^/]+/", "/MIRROR/", " ".join(str(facts[one]) for one in case.shows)
    )


def compared(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say whether an answer is of the same process as the one before."""
    if "error" in now or "error" in before or not before:
        return "none"
    if before["ppid"] != now["ppid"]:
        return "other"
    return "same" if before["pid"] == now["pid"] else "reloaded"


def lives(side: Side, vassal: str) -> str:
    """Say whether a vassal starts again and again."""
    first = side.states([vassal]).get(vassal)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (now := side.states([vassal]).get(vassal)) and now != first:
            return "restarts"
        time.sleep(TICK)
    return "stays"


class Servers:
    """All servers, and what is done with them."""

    def __init__(self) -> None:
        self.databases = Databases()
        self.broker = Broker()

    def perform(self, act: Put | Delete | Sql | Publish | Server, name: str) -> None:
        """Do something for the vassal ``name``."""

        def fill(text: str) -> str:
            return text.replace("NAME", name)

        if isinstance(act, Put):
            row = {key: fill(value) if isinstance(value, str) else value for key, value in act.row.items()}
            self.databases.put(act.table, row, adds=act.adds)
        elif isinstance(act, Delete):
            self.databases.delete(act.table, fill(act.name))
        elif isinstance(act, Sql):
            self.databases.execute(act.text)
        elif isinstance(act, Publish):
            headers = {key: fill(value) for key, value in act.headers.items()}
            self.broker.publish(act.vhosts, fill(act.key), fill(act.body), headers)
        else:
            self.control(act)

    def control(self, act: Server) -> None:
        """Start or stop a server."""
        actions: dict[tuple[str, str], Callable[[], object]] = {
            ("pg", "start"): self.databases.pg.start,
            ("pg", "stop"): self.databases.pg.stop,
            ("mongodb", "start"): self.databases.mongodb.start,
            ("mongodb", "stop"): self.databases.mongodb.stop,
            ("amqp", "start new"): lambda: self.broker.start(is_new=True),
            ("amqp", "lift limit"): self.broker.lift_limit,
            ("amqp", "start"): lambda: self.broker.start(is_new=False),
            ("amqp", "restart"): self.broker.restart,
        }
        actions[act.name, act.what]()

    def stop(self) -> None:
        """Stop all."""
        self.databases.pg.stop()
        self.databases.mongodb.stop()
        self.broker.close()

    def resume(self) -> None:
        """Start the databases again."""
        self.databases.pg.start()
        self.databases.mongodb.start()

    def close(self) -> None:
        """Stop all for good."""
        self.broker.close()
        self.databases.close()


def play(stage: Stage, servers: Servers) -> dict[str, Seen]:
    """Take all worlds of a stage through their rounds."""
    log(stage.name)
    make_folders(RUN, CWD)
    bridge = BridgeSide(stage)
    players = [Player(world, stage, servers, bridge) for world in stage.worlds]
    try:
        for player in players:
            player.prepare()
        for player in players:
            player.restart()
        bridge.start()
        with ThreadPoolExecutor(len(players)) as pool:
            list(pool.map(Player.play, players))
            if any(case.last for world in stage.worlds for case in world.cases):
                log("without servers")
                servers.stop()
                for player in players:
                    player.restart()
                bridge.stop()
                bridge.start()
                list(pool.map(Player.finish, players))
                servers.resume()
    finally:
        bridge.stop()
        bridge.remove()
        for player in players:
            player.stop()
    return {name: seen for player in players for name, seen in player.seen.items()}


def chosen(stages: Iterable[Stage], pattern: str) -> Iterable[Stage]:
    """Yield the stages with the worlds whose names match."""
    for stage in stages:
        worlds = tuple(world for world in stage.worlds if fnmatchcase(world.name, pattern))
        if worlds:
            yield replace(stage, worlds=worlds)


def main() -> None:
    """Run all stages, and print what was seen."""
    Path(TOP).mkdir(parents=True)
    Path(APP).write_text(APP_TEXT)
    for folder in ("dir", "mute", "mute-amqp", "neighbours", "taken", "paths"):
        Path(TOP, folder).mkdir()
    servers = Servers()
    seen: dict[str, Seen] = {}
    try:
        servers.databases.create()
        for stage in chosen(STAGES, sys.argv[1] if len(sys.argv) > 1 else "*"):
            seen |= play(stage, servers)
    finally:
        servers.close()
        for folder in (TOP, RUN, EMPERORS):
            shutil.rmtree(folder, ignore_errors=True)
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
