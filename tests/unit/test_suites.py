"""What the booted tests must keep to, so that they run on each Debian suite alike."""

from __future__ import annotations

from tests.booted import suite
from tests.booted.conftest import CORE
from tests.unit.build import ROOT

ON_THE_HOST = {"container.py", "suite.py", "test_machine.py"}
"""Modules that start the tests' own interpreter on this machine."""


def test_only_the_harness_uses_the_interpreter_of_the_tests() -> None:
    modules = {path.name: path.read_text("utf-8") for path in (ROOT / "tests/booted").glob("*.py")}
    assert {name for name, text in modules.items() if "sys.executable" in text} == ON_THE_HOST, "use suite.PYTHON"


def test_a_tree_has_what_the_tests_and_the_bridge_need() -> None:
    assert {"uwsgi-core", "systemd", "python3"} <= set(suite.packages())
    needed = " ".join(suite.requirements())
    assert all(name in needed for name in ("jeepney", "cysystemd", "pytest", "hypothesis"))
    assert "ruff" not in needed


def test_every_core_module_is_there() -> None:
    assert [name for name in sorted(CORE) if not (ROOT / f"tests/booted/test_{name}.py").exists()] == []
