"""The numbers of inputs that were tried, at the end of the report, where CI shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .running import Tried

if TYPE_CHECKING:
    from collections.abc import Iterator

TRIED = "fuzzing tried, seed "


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Iterator[Tried]:
    """Count the inputs of a test; its report has the numbers, also if another process ran it."""
    counted = Tried()
    yield counted
    request.node.user_properties.extend((f"{TRIED}{counted.seed}", item) for item in counted.counts.items())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    parts = []
    total = 0
    for report in terminalreporter.getreports(""):
        if isinstance(report, pytest.TestReport) and report.when == "teardown":
            for name, item in report.user_properties:
                if name.startswith(TRIED) and isinstance(item, tuple | list):
                    parts.append(f"{item[0]} {item[1]:,} (seed {name.removeprefix(TRIED)})")
                    total += int(item[1])
    if parts:
        terminalreporter.write_line(f"fuzzing tried {total:,} inputs: {', '.join(sorted(parts))}")
