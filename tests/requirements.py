"""Prints for pip what the unit tests need: ``python -m tests.requirements lowest``, or ``debian``."""

from __future__ import annotations

import sys

from tests.booted.suite import TESTS, requirements

SERVERS = "nx-27017"
"""The unit tests need no server, and this one needs a newer driver than the bridge does."""
NOT_IN_DEBIAN = ("cysystemd", "inotify-simple")


def lowest() -> list[str]:
    """Return the lower bounds of pyproject.toml as the versions to install."""
    return [one.replace(">=", "==") for one in requirements() if not one.startswith(SERVERS)]


def debian() -> list[str]:
    """Return what Debian has not, and the tests' own tools."""
    return [one for one in requirements() if one.startswith((*NOT_IN_DEBIAN, *TESTS)) and not one.startswith(SERVERS)]


if __name__ == "__main__":
    print("\n".join({"lowest": lowest, "debian": debian}[sys.argv[1]]()))  # noqa: T201
