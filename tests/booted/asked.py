"""Apps that are asked all the time while something happens to the machine."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .container import HERE
from .machine import PATIENCE
from .process import Lines, kill
from .suite import PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .machine import Machine

EVERY = 0.1
"""Seconds between a client's questions."""


def unanswered(asked: Iterable[dict[str, Any]]) -> list[str]:
    """Return the requests of `crowd.py` that were not answered as they should be: each as a line, with its error."""
    return [
        f"{one['address']} at {one['at']:.3f}, after {one['elapsed']:.3f} s: status {one['status']}, {one['error']}"
        for one in asked
        if one["status"] != 200
    ]


@contextmanager
def asked(machine: Machine, addresses: Sequence[str]) -> Iterator[None]:
    """Have a client ask the apps that run, from before to after; it must get every answer."""
    client = machine.popen(PYTHON, str(HERE / "crowd.py"), f"--every={EVERY}", *addresses)
    try:
        assert Lines(client.stderr).next(time.monotonic() + PATIENCE) == "asked"
        began = time.time()
        yield
        ended = time.time()
        answers = json.loads(client.communicate(b"\n", timeout=PATIENCE)[0])
    finally:
        kill(client)
    lost = unanswered(answers)
    assert not lost, "\n".join(lost)
    assert answers[0]["at"] < began
    # Each time after a pause, and after the answers.
    longest = max(one["elapsed"] for one in answers)
    assert len(answers) >= (ended - began) / (EVERY + len(addresses) * longest)
