"""The packages that `make deb` has built, an overlay of the tree to look at them in, and a machine that boots it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.booted.bridge import install
from tests.booted.machine import Machine
from tests.booted.suite import CHECKOUT

from .package import Package
from .tree import Opened, opened, tree

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = os.environ.get("PACKAGES", "")
"""Where they are; without it, these tests are not run: `make package-tests` sets it."""
collect_ignore_glob = [] if FOLDER else ["test_*.py"]


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder of the packages."""
    return Path(FOLDER).resolve()


@pytest.fixture(scope="module")
def looked_at(built: Path) -> Iterator[Opened]:
    """An overlay of the tree with the packages in the shared folder `built`; nothing is booted."""
    with opened() as made:
        shutil.copytree(built, made.shared / "built")
        yield made


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """The tree, booted. It has no network and no emperor-bridge."""
    lower = tree()
    plan = {"tree": str(lower), "lock": f"{lower}.lock", "binds": [str(CHECKOUT)]}
    with Machine(plan=plan) as booted:
        install(booted)
        yield booted


@pytest.fixture(scope="module")
def package(machine: Machine, built: Path) -> Package:
    """The packages in the machine, not installed."""
    made = Package(machine)
    made.bring(built)
    return made
