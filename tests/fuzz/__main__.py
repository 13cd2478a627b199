"""`make fuzz`: the strategies of the tests for as long as one likes, and the reader of configs, guided by coverage.

An input that fails is kept in tests/fuzz/cases, where the tests try it from then on.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import traceback
from pathlib import Path

from . import running
from .properties import CHECKS

GUIDED_SHARE = 0.25
"""The share of the time that is guided by coverage."""
SLICE = 60.0
"""Seconds after which it is told how far it is."""


def main() -> int:
    """Fuzz for the seconds on the command line; return 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--corpus", type=Path, default=Path(".fuzz/corpus"))
    parser.add_argument("--only", choices=[*CHECKS, "guided"], action="append", help="may be given several times")
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    tried = running.Tried() if arguments.seed is None else running.Tried(seed=arguments.seed)
    wanted = arguments.only or [*CHECKS, "guided"]
    plain = [name for name in CHECKS if name in wanted]
    guided = arguments.seconds * (GUIDED_SHARE if plain else 1) if "guided" in wanted else 0.0
    found = fuzz_all(plain, arguments.seconds - guided, tried)
    if guided:
        found += fuzz_guided(arguments.corpus, guided, tried)
    sys.stdout.write(f"{tried}\n{found} found\n")
    return 1 if found else 0


def fuzz_all(names: list[str], seconds: float, tried: running.Tried) -> int:
    """Fuzz each kind in turn, in slices, until the time is over; return how many kinds failed."""
    failed: set[str] = set()
    left = seconds
    while left > 0 and len(failed) < len(names):
        rest = [name for name in names if name not in failed]
        now = min(left, SLICE)
        for name in rest:
            try:
                running.fuzz(name, now * running.share(name, 1, rest), tried)
            except Exception:
                failed.add(name)
                traceback.print_exc()
                if (value := tried.failing.get(name)) is not None:
                    sys.stdout.write(f"kept as {running.keep(name, value)}\n")
        left -= now
        tried.seed += 1
        sys.stdout.write(f"{tried}\n")
        sys.stdout.flush()
    return len(failed)


def fuzz_guided(corpus: Path, seconds: float, tried: running.Tried) -> int:
    """Fuzz the reader guided by coverage, in a process of its own; return 1 if it failed."""
    argv = [sys.executable, "-m", "tests.fuzz.guided", str(corpus), str(max(1, round(seconds)))]
    run = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    log = run.stdout.decode(errors="replace")
    tried.counts["guided"] = executed(log)
    if run.returncode:
        sys.stdout.write(log[-6000:])
    return 1 if run.returncode else 0


def executed(log: str) -> int:
    """Return how many inputs libFuzzer's report counts."""
    counts = re.findall(r"^(?:#|stat::number_of_executed_units: )([0-9]+)", log, re.MULTILINE)
    return max(map(int, counts), default=0)


if __name__ == "__main__":
    sys.exit(main())
