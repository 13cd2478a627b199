"""The manual says of each option of an Emperor what becomes of it, as the code and the installed uWSGI have them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter

import pytest

from bridge.config.emperor_ini import HOOKS, REPLACED
from bridge.config.settings import NAMES

from .test_manual import entries, page, section, subsection

PAGE = section(page("emperor-bridge-migration.7"), "OPTION BY OPTION")
OWN = {
    "max-running", "max-starting", "on-demand-own-sockets", "tenant-first-port", "tenant-socket-directory",
    "tenant-socket-group", "tenant-socket-groups",
}  # fmt: skip
"""Settings of the bridge that no Emperor has."""
LATER = {
    "emperor-chdir-attr", "emperor-collect-attr", "emperor-collect-attribute", "emperor-command-socket",
    "emperor-fork-server-attr", "emperor-subreaper", "emperor-trigger-socket", "emperor-tyrant-initgroups",
    "emperor-use-fork-server", "emperor-wait-for-command", "emperor-wait-for-command-ignore", "emperor-wrapper-attr",
    "vassal-fork-base",
}  # fmt: skip
"""Options that no uWSGI 2.0 has, but its next version (core/uwsgi.c of the branch master)."""
STATS = {
    "accepting", "attempt", "born", "cursed", "first_attempt", "first_run", "gid", "id", "last_accepting",
    "last_attempt", "last_heartbeat", "last_loyal", "last_mod", "last_ready", "last_run", "loyal", "monitor",
    "on_demand", "pid", "ready", "respawns", "throttle_level", "uid", "zerg",
}  # fmt: skip
"""What emperor-stats says of a vassal (core/emperor.c, emperor_send_stats)."""


@pytest.fixture(scope="module")
def installed() -> set[str]:
    """Return the options of the installed uWSGI; the tests of this machine need one."""
    program = shutil.which("uwsgi")
    assert program
    shown = subprocess.run([program, "--help"], check=True, capture_output=True, text=True, timeout=60).stdout
    return set(re.findall(r"^ +(?:-.\|)?--([a-z0-9-]+)", shown, re.MULTILINE))


def test_no_option_is_named_twice() -> None:
    assert [name for name, times in Counter(entries(PAGE)).items() if times > 1] == []


def test_what_the_bridge_reads_is_what_the_code_reads() -> None:
    assert set(entries(subsection(PAGE, "Read by the bridge"))) == NAMES.keys() - OWN


def test_what_is_replaced_is_what_the_code_says() -> None:
    hooks = set(entries(subsection(PAGE, "Hooks")))
    assert hooks
    assert all(name.startswith(HOOKS) for name in hooks)
    assert set(entries(PAGE)) - hooks == REPLACED.keys() | (NAMES.keys() - OWN)


def test_every_option_of_the_installed_emperor_is_there(installed: set[str]) -> None:
    of_an_emperor = {name for name in installed if re.search("emperor|vassal|imperial|heartbeat", name)}
    assert len(of_an_emperor) >= 60
    assert of_an_emperor - set(entries(PAGE)) == set()


def test_no_other_option_is_there(installed: set[str]) -> None:
    named = {name for name in entries(PAGE) if re.search("emperor|vassal|imperial|heartbeat", name)}
    assert named - installed == LATER
    assert OWN & installed == set()


def test_every_key_of_emperor_stats_is_in_the_recipes() -> None:
    metrics = section(page("emperor-bridge-recipes.7"), "METRICS")
    assert set(entries(subsection(metrics, "What emperor-stats said"))) == STATS
