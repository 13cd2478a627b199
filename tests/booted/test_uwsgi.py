"""The reader of configs beside the uWSGI of another suite; on this machine the unit tests compare the two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .suite import CHECKOUT, PYTHON, SUITE

if TYPE_CHECKING:
    from .machine import Machine


@pytest.mark.skipif(not SUITE, reason="tests/unit/uwsgi runs on this machine as it is")
def test_the_bridge_reads_configs_as_this_uwsgi_does(machine: Machine) -> None:
    argv = (PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/uwsgi")
    result = machine.run(
        *argv, check=False, cwd=str(CHECKOUT), env={"HYPOTHESIS_STORAGE_DIRECTORY": "/tmp"}, timeout=600
    )
    assert result.returncode == 0, result.stdout
