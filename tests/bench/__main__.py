"""`python -m tests.bench`: see --help, and README.md beside this file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.booted.machine import MachineError
from tests.booted.suite import CHECKOUT, SUITE

from .lap import tell
from .measures import LARGE, ROUNDS, SIZES, Step
from .plots import draw
from .report import full, headline, replace_section, section
from .results import Results

HERE = Path(__file__).resolve().parent
FILE = HERE / f"results{SUITE and '-'}{SUITE}.json"
PART = CHECKOUT / ".bench"
"""For runs of less than everything: what the READMEs show stays as it is."""
PAGE, README = HERE / "README.md", CHECKOUT / "README.md"


def main() -> int:
    """Read the arguments, measure, report."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="The bridge beside the Emperor.")
    parser.add_argument("--sizes", default="", help=f"numbers of vassals, at most {LARGE}; default: {SIZES}")
    parser.add_argument("--rounds", type=int, help="how often each contestant is measured at each size")
    parser.add_argument("--measures", default="", help=f"some of {','.join(Step)}")
    parser.add_argument("--base", metavar="COMMIT", help="measure the bridge beside that of another commit or folder")
    parser.add_argument("--report", type=Path, metavar="FILE", help="measure nothing, report what a file has")
    parser.add_argument("--readme", action="store_true", help="measure nothing, write the READMEs and the plots")
    arguments = parser.parse_args()
    try:
        sizes = [int(size) for size in arguments.sizes.replace(",", " ").split()] or list(SIZES)
        steps = frozenset(Step(name) for name in arguments.measures.split(",") if name) or frozenset(Step)
    except ValueError as error:
        parser.error(str(error))
    if not all(1 <= size <= LARGE for size in sizes):
        parser.error(f"sizes are from 1 to {LARGE}: more sockets break PID 1's limit of descriptors")
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error("--rounds is at least 1")
    if arguments.readme:
        write_readmes(Results.load(FILE))
        return 0
    if arguments.report:
        sys.stdout.write(full(Results.load(arguments.report)))
        return 0
    if arguments.base:
        return compare(arguments.base, sizes, arguments.rounds or ROUNDS, steps)
    return measure(sizes, arguments.rounds, steps)


def measure(sizes: list[int], rounds: int | None, steps: frozenset[Step]) -> int:
    """Measure, and keep what was found."""
    from .running import run

    PART.mkdir(exist_ok=True)
    part = PART / "results.json"
    try:
        results = run(sizes, rounds, steps, lambda found: keep(part, found))
    except MachineError as error:
        tell(f"no machine: {error}", lasting=True)
        return 1
    keep(part, results)
    if set(sizes) >= set(SIZES) and steps == frozenset(Step):
        keep(FILE, results)
        write_readmes(results)
    else:
        draw(results, PART)
    tell(f"written: {part.parent}", lasting=True)
    sys.stdout.write(full(results))
    return 1 if results.failures else 0


def compare(base: str, sizes: list[int], rounds: int, steps: frozenset[Step]) -> int:
    """Measure the bridge of this checkout and of another in turn, and report what the change costs."""
    from .comparing import base_files, compared, report

    PART.mkdir(exist_ok=True)
    try:
        with base_files(base, PART / "base") as folder:
            before, after = compared(folder, sizes, rounds, steps)
    except MachineError as error:
        tell(f"no machine: {error}", lasting=True)
        return 1
    keep(PART / "base.json", before)
    keep(PART / "present.json", after)
    sys.stdout.write(report(before, after))
    return 1 if before.failures or after.failures else 0


def keep(path: Path, results: Results) -> None:
    """Write the samples."""
    path.write_text(results.text())


def write_readmes(results: Results) -> None:
    """Write the table and the plots that it shows; of this machine's own suite also the figure in the main README."""
    draw(results, HERE / SUITE)
    PAGE.write_text(replace_section(PAGE.read_text(), section(results, SUITE)))
    if not SUITE:
        README.write_text(replace_section(README.read_text(), headline(results)))


if __name__ == "__main__":
    sys.exit(main())
