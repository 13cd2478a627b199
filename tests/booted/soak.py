"""What `make soak` multiplies, and what it tells at the end."""

from __future__ import annotations

import os
import random
import subprocess
from typing import TYPE_CHECKING

from .suite import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Mapping

FACTOR = int(os.environ.get("SOAK") or 1)
SEED = int(os.environ.get("EMPEROR_BRIDGE_SEED") or random.randrange(1 << 32))  # noqa: S311 - not for secrets


def times(number: int) -> int:
    """Return how often to do what the tests do so many times."""
    return number * FACTOR


def seed(usual: int) -> int:
    """Return the seed of a test that has the same one in every run but those of `make soak`."""
    return SEED if FACTOR > 1 else usual


def lines(counts: Mapping[str, int], failures: int) -> list[str]:
    """Return the report of a run: what was run, with which seed, how much of it, and what failed."""
    argv = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty"]
    commit = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    return [
        f"commit {commit}, {FACTOR} times, EMPEROR_BRIDGE_SEED={SEED}",
        *(f"{number:8} {what}" for what, number in counts.items()),
        f"{failures:8} failures",
    ]
