"""The service of a feeder."""

from __future__ import annotations

import pytest

from bridge.mirror.unit import FeederUnit, properties

UNIT = FeederUnit(description="d", program="/usr/bin/python3", library="/usr/lib/python3/dist-packages")


def test_a_feeder_is_fenced_and_nobody() -> None:
    found = dict(properties(UNIT, 7))
    assert found["StandardInputFileDescriptor"] == ("h", 7)
    assert found["DynamicUser"] == ("b", True)
    assert "User" not in found
    assert found["CapabilityBoundingSet"] == ("t", 0)
    assert found["ProtectHome"] == ("s", "yes")
    assert not found.keys() & {"RuntimeMaxUSec", "BindsTo", "ReadWritePaths"}


def test_a_named_user_and_a_limit() -> None:
    unit = FeederUnit(
        description="d", program="/root/venv/bin/python", library="/l", user="web", bound_to="x.service",
        writable=("/run/z",), seconds=2.5,
    )  # fmt: skip
    found = dict(properties(unit, 7))
    assert found["User"] == ("s", "web")
    assert "DynamicUser" not in found
    assert found["ProtectHome"] == ("s", "read-only")
    assert found["RuntimeMaxUSec"] == ("t", 2_500_000)
    assert found["BindsTo"] == found["After"] == ("as", ["x.service"])
    assert found["ReadWritePaths"] == ("as", ["/run/z"])


def test_a_users_manager_fences_little() -> None:
    unit = FeederUnit(description="d", program="/p", library="/l", is_users=True)
    assert not dict(properties(unit, 7)).keys() & {"ProtectSystem", "DynamicUser", "User", "CapabilityBoundingSet"}


@pytest.mark.parametrize(("path", "home"), [("/root/.pyenv/bin/python3", "read-only"), ("/usr/bin/python3.11", "yes")])
def test_an_interpreter_in_a_home_can_be_run(path: str, home: str) -> None:
    """In a venv it is a link."""
    unit = FeederUnit(description="d", program="/opt/venv/bin/python", library="/l", reads=(path,))
    assert dict(properties(unit, 7))["ProtectHome"] == ("s", home)
