"""Prints for pip what the unit tests need: ``python -m tests.requirements lowest`` (``newest``, ``debian``)."""

from __future__ import annotations

import sys

from tests.booted.suite import TESTS, requirements

SERVERS = "nx-27017"
"""The unit tests need no server, and this one needs a newer driver than the bridge does."""
NOT_IN_DEBIAN = ("cysystemd", "inotify-simple")


def newest() -> list[str]:
    """Return all of it, with the bounds of pyproject.toml."""
    return [one for one in requirements() if not one.startswith(SERVERS)]


def lowest() -> list[str]:
    """Return the lower bounds as the versions to install."""
    return [one.replace(">=", "==") for one in newest()]


def debian() -> list[str]:
    """Return what Debian has not, and the tests' own tools."""
    return [one for one in newest() if one.startswith((*NOT_IN_DEBIAN, *TESTS))]


if __name__ == "__main__":
    print("\n".join({"newest": newest, "lowest": lowest, "debian": debian}[sys.argv[1]]()))  # noqa: T201
