"""Two versions of the bridge beside each other, in turn on the same machine: what a change costs."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.booted.machine import MachineError
from tests.booted.suite import CHECKOUT, PYTHON, compile_code

from .disk import fresh_disk
from .figures import quantity
from .lap import Task, Version, tell
from .measures import ROWS
from .report import OURS, aligned, facts, noise
from .results import Results
from .running import LAPS, commit_of, lap_of
from .running import facts as machine_facts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .measures import Step

BAR = 1.05
"""What the present figure may be at most, as a multiple of the base's."""
PROGRAM = """\
#!{interpreter}
import sys
sys.path.insert(0, {checkout!r})
from bridge.cli import main
sys.exit(main())
"""
COMMAND = "/usr/local/bin/emperor-bridge"


@contextmanager
def base_files(name: str, folder: Path) -> Iterator[Path]:
    """Yield the folder that ``name`` is, or the files of the commit that it names, which are in ``folder`` meanwhile.

    Raises:
        MachineError: there is no such folder and no such commit.
    """
    if Path(name).is_dir():
        yield Path(name).resolve()
        return
    git = ["git", "-C", str(CHECKOUT), "worktree"]
    remove = [*git, "remove", "--force", str(folder)]
    # A run that was killed has left it.
    subprocess.run(remove, capture_output=True, check=False)
    made = subprocess.run(
        [*git, "add", "--quiet", "--detach", "--force", str(folder), name], capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise MachineError(f"--base {name}: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(remove, check=False)


def compared(base: Path, sizes: Sequence[int], rounds: int, steps: frozenset[Step]) -> tuple[Results, Results]:
    """Measure the base's bridge and the present one, each first in every other round; return what was found of each."""
    checkouts = (base, CHECKOUT)
    results = Results(sizes=sorted(sizes)), Results(sizes=sorted(sizes))
    for checkout, found in zip(checkouts, results, strict=True):
        found.facts = {"emperor-bridge": commit_of(checkout) or str(checkout)}
    for checkout in checkouts:
        compile_code(checkout)
    with fresh_disk() as disk:
        results[1].facts = machine_facts() | {"disk": disk}
        for size in results[0].sizes:
            for number in range(rounds):
                pairs = [
                    (checkout, Task(results=found, size=size, number=number, rounds=rounds, steps=steps))
                    for checkout, found in zip(checkouts, results, strict=True)
                ]
                for checkout, task in pairs[:: -1 if number % 2 else 1]:
                    _round(checkout, task)
    return results


def _round(checkout: Path, task: Task) -> None:
    """Measure one version once, through sync and through watch; both versions' commands start in the same way."""
    tell(f"{checkout}:", lasting=True)
    version = Version(command=COMMAND, units=checkout / "units")
    text = PROGRAM.format(interpreter=PYTHON, checkout=str(checkout))
    for who, race, steps in LAPS:
        if who in OURS and task.wants(*steps):
            lap_of(task, who, race, version=version, prepare=lambda machine: machine.write(COMMAND, text, mode=0o755))


def report(before: Results, after: Results) -> str:
    """Return the figures of both, and which of the present ones are more than they may be.

    The ratio of the least samples is there as well: on a machine that others use it varies less than the medians'.
    """
    head = ("vassals", "base", "quartiles", "present", "quartiles", "n", "of least", "ratio", f"\u2264 {BAR:g}")
    parts = [facts(before), facts(after)]
    missed = 0
    for row in (row for row in ROWS if row.who in OURS):
        lines = []
        for size in before.sizes:
            old, new = (results.of(row.measure, row.who, size) for results in (before, after))
            if old is None or new is None:
                continue
            ratio, of_least = _over(new.median, old.median), _over(new.least, old.least)
            missed += ratio > BAR
            cells = [(quantity(of.median, row.unit), _spread(of.low, of.high, row.unit)) for of in (old, new)]
            word = "met" if ratio <= BAR else "MISS"
            lines.append(
                (f"{size:,}", *cells[0], *cells[1], f"{old.count}/{new.count}", f"{of_least:.3f}", f"{ratio:.3f}", word)
            )
        if lines:
            parts.append(f"{row.title}\n{aligned([head, *lines])}")
    for name, results in (("base", before), ("present", after)):
        parts += [f"FAILED {name}: {one.measure}, {one.who}, {one.size:,}: {one.reason}" for one in results.failures]
        parts.append(f"{name}: {noise(results)}")
    return "\n\n".join([*parts, f"{missed} figures missed."]) + "\n"


def _over(new: float, old: float) -> float:
    """Return the ratio of two figures; of two that are nothing it is 1."""
    return new / old if old else 1.0 if not new else float("inf")


def _spread(low: float, high: float, unit: str) -> str:
    return f"{quantity(low, unit)} - {quantity(high, unit)}"
