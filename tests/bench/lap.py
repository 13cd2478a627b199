"""One freshly booted machine in which one contestant is measured."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.booted.machine import Machine, MachineError
from tests.booted.service import UNITS
from tests.booted.suite import CHECKOUT, COMMAND, PYTHON

from .measures import COLD_PARTS, THOUSAND, Step, Who
from .results import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .results import Results

SHARED = frozenset({"cold", *COLD_PARTS, "boot", "pid1-boot", "version", "python", "reload", "status", "check"})
"""Measures in which it is no matter whether sync or watch made the units."""


class LapError(Exception):
    """The rest of a lap has no sense."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """The bridge that is measured: its command in the machine, and the folder of the units that ship with it."""

    command: str = COMMAND
    units: Path = UNITS


PRESENT = Version()


@dataclass(frozen=True, kw_only=True)
class Task:
    """What all laps of a round share."""

    results: Results
    size: int
    number: int
    """Of the round, from 0."""
    rounds: int
    steps: frozenset[Step]

    def wants(self, *steps: Step) -> bool:
        """Say whether any of these steps is asked for."""
        return not self.steps.isdisjoint(steps)

    @property
    def first(self) -> bool:
        """Whether this is the round for what is measured once."""
        return self.number == 0

    @property
    def repeat(self) -> int:
        """How often a round takes what takes seconds with a thousand vassals."""
        return 1 if self.size > THOUSAND else 2

    @property
    def timeout(self) -> float:
        """Seconds that one command may take."""
        return 60 + self.size * 0.06


class Lap:
    """The machine, and what is done in it."""

    def __init__(self, task: Task, who: Who, machine: Machine, version: Version = PRESENT) -> None:
        self.task = task
        self.who = who
        self.machine = machine
        self.version = version
        self.daemon = 0
        """The contestant's own process in the machine, if it has one."""

    def agent(self, step: str, *, patience: float | None = None, **arguments: object) -> Any:
        """Have the agent do a step in the machine once that is at rest; return what it says.

        The Emperor is not waited for: with thousands of vassals it never rests.
        """
        argv = (PYTHON, "-m", "tests.bench.agent", step)
        limit = (patience or 3 * self.task.timeout) + 90
        resting = [1, self.daemon] if self.who in {Who.WATCH, Who.ROWS} and self.daemon else [1]
        asked = json.dumps({"rest": resting, "arguments": arguments}).encode()
        result = self.machine.run(*argv, check=False, cwd=str(CHECKOUT), timeout=limit, input=asked)
        if result.returncode:
            raise MachineError(result.stderr.strip()[-600:] or f"{step} exited with {result.returncode}")
        answer = json.loads(result.stdout)
        self.task.results.probes.append(answer["probe"])
        return answer["found"]

    @contextmanager
    def taking(self, measure: str) -> Iterator[None]:
        """Take a measure: a failure is noted, and the next one comes."""
        task = self.task
        tell(f"{task.size:,} vassals, round {task.number + 1}/{task.rounds}, {self.who}: {measure}")
        try:
            yield
        except MachineError as error:
            self.fail(measure, error)

    def add(self, measure: str, *values: float) -> None:
        """Note samples of this contestant's."""
        who = Who.BRIDGE if measure in SHARED and self.who is Who.SYNC else self.who
        self.task.results.add(measure, who, self.task.size, values)

    def fail(self, measure: str, error: Exception) -> None:
        """Note that a measure could not be taken."""
        reason = " ".join(str(error).split()) or type(error).__name__
        self.task.results.failures.append(Failure(measure=measure, who=self.who, size=self.task.size, reason=reason))
        tell(f"FAILED {measure}, {self.who}, {self.task.size:,} vassals: {reason}", lasting=True)


_BEGAN = time.monotonic()


def tell(text: str, *, lasting: bool = False) -> None:
    """Say how far it is: on a terminal on one line, which the next takes over unless it is lasting."""
    stamp = int(time.monotonic() - _BEGAN)
    line = f"{stamp // 60:3}:{stamp % 60:02} {text}"
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{line[:110]}" + ("\n" if lasting else ""))
    else:
        sys.stderr.write(line + "\n")
    sys.stderr.flush()
