"""A command imports only what it uses: most of the time of a short run is importing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.unit.build import ROOT

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = {
    "asyncio", "bridge.feeder.protocol", "bridge.monitors.mirrored", "bridge.reconcile.planner", "click", "ctypes",
    "_hashlib", "bridge.cli.take_over", "bridge.reconcile.drift", "bridge.state.take_over", "bridge.status.mirrors",
    "cysystemd", "defusedxml", "difflib", "email", "http", "inotify_simple", "jeepney", "jinja2", "logging",
    "lzma", "multiprocessing", "rich", "unittest", "xml", "yaml",
}  # fmt: skip
"""Modules that take milliseconds to import and that not every command uses."""
SPELLING = {"difflib"}
"""For hints at misspelt settings; some 1 ms."""
COMMANDS = {"click"}
"""For all that is more than ``--version``; some 15 ms."""
ARCHIVES = {"lzma"}
"""For shutil, with the formats of archives; some 2 ms."""
BUS = {"jeepney"}
"""For the connection to the service manager; some 10 ms."""
JOURNAL = {"cysystemd", "logging"}
"""For reading the journal; some 5 ms."""
TEMPLATES = {"_hashlib", "jinja2", "logging"}
"""For rendering units; some 30 ms."""
PLANNING = {"bridge.reconcile.drift", "bridge.reconcile.planner"}
"""For reading and judging vassals; some 15 ms."""
MAY_IMPORT = {
    ("--version",): set[str](),
    ("sync", "--help"): COMMANDS | SPELLING | ARCHIVES,
    ("status",): COMMANDS | SPELLING | BUS | JOURNAL,
    ("status", "--json"): COMMANDS | SPELLING | BUS | JOURNAL,
    ("sync",): COMMANDS | SPELLING | BUS,
    ("sync", "--json"): COMMANDS | SPELLING | BUS,
    ("retry", "nobody"): COMMANDS | SPELLING | BUS | PLANNING,
    ("check",): COMMANDS | SPELLING | ARCHIVES | BUS | PLANNING | TEMPLATES,
    ("render", "nobody"): COMMANDS | SPELLING | BUS | PLANNING | TEMPLATES,
}
"""The heavy modules that a command may import which has nothing to do, by its arguments."""
RUN = """
import json, sys
from contextlib import contextmanager

class Manager:
    '''A manager that has started the vassals' target, and accepts every call.'''

    def __getattr__(self, name):
        from bridge.model.unit import UnitState

        up = {"vassals.target": UnitState(load="loaded", active="active", sub="active")}
        return lambda *_, **__: up if name == "units" else (lambda: up) if name == "begin_units" else {}

@contextmanager
def connected(_):
    yield Manager()

heavy, connects = json.loads(sys.argv.pop(1)), json.loads(sys.argv.pop(1))
if connects:
    import bridge.systemd.manager

    bridge.systemd.manager.connected = connected
try:
    from bridge.cli import main
    main()
finally:
    sys.stdout.flush()
    print("\\n" + json.dumps(sorted(set(heavy) & set(sys.modules))))
"""


def imported(folder: Path, *arguments: str, connects: bool = True) -> set[str]:
    """Return which heavy modules a command imports for a user who has no vassals."""
    vassals = folder / "vassals"
    vassals.mkdir(exist_ok=True)
    options = ["--user", "--emperor", str(vassals), "--binary-path", "/bin/true"]
    given = [json.dumps(sorted(HEAVY)), json.dumps(connects)]
    run = subprocess.run(
        [sys.executable, "-c", RUN, *given, *arguments, *(options if not arguments[0].startswith("-") else [])],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder / "run")},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in run.stderr, run.stderr
    return set(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", MAY_IMPORT, ids=" ".join)
def test_a_command_with_nothing_to_do_imports_little(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    if "--help" not in arguments and arguments != ("--version",):
        # The first run has to write the units that all vassals share.
        assert "jinja2" in imported(tmp_path, "sync")
    allowed = MAY_IMPORT[arguments]
    assert imported(tmp_path, *arguments, connects=allowed >= BUS) <= allowed


def test_the_test_notices_what_is_imported(tmp_path: Path) -> None:
    assert {"jinja2", "ctypes", "jeepney"} <= imported(tmp_path, "sync")
