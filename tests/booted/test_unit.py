"""The unit tests with the Python of another suite, and the reader of configs beside its uWSGI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .suite import CHECKOUT, PYTHON, SUITE

if TYPE_CHECKING:
    from .machine import Machine


@pytest.mark.skipif(not SUITE, reason="on this machine they run as they are")
def test_the_unit_tests_pass_there(machine: Machine) -> None:
    argv = (PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit", "--ignore=tests/unit/test_gate.py")
    environment = {"HYPOTHESIS_STORAGE_DIRECTORY": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"}
    result = machine.run(*argv, check=False, cwd=str(CHECKOUT), env=environment, timeout=1800)
    assert result.returncode == 0, result.stdout
    print(result.stdout.splitlines()[-1])  # noqa: T201
