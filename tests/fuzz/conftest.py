"""The numbers of inputs that were tried, at the end of the report, where CI shows them."""

from __future__ import annotations

import pytest

from .running import Tried

TRIED = pytest.StashKey[Tried]()


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Tried:
    """Count the inputs of the whole run."""
    return request.config.stash.setdefault(TRIED, Tried())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if (tried := config.stash.get(TRIED, None)) is not None:
        terminalreporter.write_line(str(tried))
