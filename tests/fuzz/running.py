"""Draw inputs of a strategy and check them until a time is over; keep what is found as a case."""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, given, seed, settings

from . import strategies
from .properties import CHECKS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from hypothesis.strategies import SearchStrategy

    from .strategies import Value

CASES = Path(__file__).parent / "cases"
STRATEGIES: dict[str, SearchStrategy[Value]] = {
    "config": strategies.config(),
    "large": strategies.large(),
    "vassal": strategies.vassal(),
    "toml": strategies.TOML,
    "emperor-ini": strategies.EMPEROR_INI,
    "settings": strategies.SETTINGS_VALUES,
    "address": strategies.ADDRESSES | strategies.VALUES,
    "unit-files": strategies.UNIT_FILES,
    "journal": strategies.ENTRIES,
    "bus": strategies.BUS,
}
WEIGHTS = {"config": 4, "vassal": 6, "large": 3}
"""Shares of the time; all others have one."""
_BATCH = 60


@dataclass
class Tried:
    """How many inputs were tried of each kind."""

    seed: int = field(default_factory=lambda: random.SystemRandom().randrange(2**32))
    counts: dict[str, int] = field(default_factory=dict)
    failing: dict[str, Value] = field(default_factory=dict)
    """The last input of each kind that failed."""

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {count:,}" for name, count in sorted(self.counts.items()))
        return f"fuzzing tried {sum(self.counts.values()):,} inputs ({parts}); seed {self.seed}"


def share(name: str, seconds: float, names: Collection[str] = CHECKS.keys()) -> float:
    """Return the seconds for one kind of inputs of these."""
    return seconds * WEIGHTS.get(name, 1) / sum(WEIGHTS.get(one, 1) for one in names)


def fuzz(name: str, seconds: float, tried: Tried) -> None:
    """Try inputs of one kind for so long; raise what the first that fails raises, with the least such input."""
    until = time.monotonic() + seconds
    check = CHECKS[name]
    batch = 0

    def try_one(value: Value) -> None:
        tried.counts[name] = tried.counts.get(name, 0) + 1
        try:
            check(value)
        except BaseException:
            tried.failing[name] = value
            raise

    while time.monotonic() < until:
        run = given(STRATEGIES[name])(try_one)
        run = settings(
            max_examples=_BATCH,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )(run)
        try:
            seed(tried.seed + batch)(run)()
        except BaseException as error:
            if name in tried.failing:
                error.add_note(f"the input, for tests/fuzz/cases/{name}: {as_case(tried.failing[name])}")
                error.add_note(f"seed {tried.seed}, batch {batch}")
            raise
        batch += 1


def as_case(value: Value) -> str:
    """Write an input as it is kept."""
    return json.dumps(value)


def keep(name: str, value: Value) -> Path:
    """Keep an input as a case; return its path."""
    text = as_case(value)
    path = CASES / name / f"{blake2b(text.encode(), digest_size=6).hexdigest()}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", "utf-8")
    return path


def cases() -> Iterator[tuple[str, Path]]:
    """Yield the kind and the path of each case."""
    for name in CHECKS:
        for path in sorted((CASES / name).glob("*.json")):
            yield name, path
