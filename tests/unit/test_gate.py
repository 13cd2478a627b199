"""The linters are tests, so that the test command is the only gate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = "from importlinter.cli import lint_imports_command; lint_imports_command()"
"""What the program ``lint-imports`` does; ``python -m`` does not start it."""


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "ruff", "check", "."),
        ("-m", "ruff", "format", "--check", "."),
        ("-m", "mypy"),
        ("-c", LAYERS, "--no-cache", "--no-logo"),
    ],
    ids=["ruff check", "ruff format", "mypy", "lint-imports"],
)
def test_gate(command: tuple[str, ...]) -> None:
    result = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
