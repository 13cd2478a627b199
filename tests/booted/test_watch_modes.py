"""A vassal that failed changes its way of life: from always-on to on demand, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .bridge import APP, APP_TEXT, WATCH, config
from .test_watch_lives import ask

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

FAILING = "/srv/app/failing.py"
ADDRESS = "127.0.0.1:9203"
SOCKET = "/run/mode.sock"
FAILURES = {"throttled": 1, "exiled": 26}
"""What becomes of a vassal that exits with a status."""
LONG = ("--emperor-throttle", "170000")
"""Whatever ends such a pause within the test was not time."""


@pytest.fixture
def failing(machine: Machine, bridge: Bridge) -> Bridge:
    """The bridge, not yet watching, with long pauses, and a place for an app that fails."""
    machine.cleanups.append(lambda: machine.remove(FAILING))
    bridge.options += LONG
    return bridge


def change(bridge: Bridge, rule: str | None, config_path: str, *, away: bool) -> str:
    """Mend the app, and give the vassal a rule or take its rule away; return the journal's end before it."""
    cursor = bridge.machine.journal_cursor()
    if away:
        bridge.machine.run("systemctl", "kill", "--signal=SIGKILL", WATCH)
        bridge.machine.wait_unit(WATCH, "ActiveState", "failed")
    bridge.machine.write(FAILING, APP_TEXT)
    if rule is None:
        bridge.machine.remove(f"{config_path}.socket")
    else:
        bridge.machine.write(f"{config_path}.socket", f"{rule}\n")
    if away:
        bridge.machine.run("systemctl", "start", WATCH)
    return cursor


def nothing_is_left(bridge: Bridge) -> None:
    bridge.machine.wait_unit("pause-vassal-mode.service", "ActiveState", "inactive")
    assert bridge.run("sync", "--dry-run").stdout.endswith("1 vassal: nothing to do\n")


@pytest.mark.parametrize("away", [False, True], ids=["watched", "unwatched"])
@pytest.mark.parametrize("failure", FAILURES)
def test_an_always_on_vassal_that_failed_gets_a_rule(
    machine: Machine, failing: Bridge, failure: str, *, away: bool
) -> None:
    machine.write(FAILING, f"import os\nos._exit({FAILURES[failure]})\n")
    path = failing.vassal("mode.ini", config(f"socket = {ADDRESS}").replace(APP, FAILING))
    failing.watch()
    failing.told(rf"^mode\.ini: {failure}")

    cursor = change(failing, SOCKET, path, away=away)
    failing.told(rf"^mode\.ini: changed, on demand at {SOCKET} \(before: ran always\)", cursor)
    assert machine.show("vassal-mode.service", "ActiveState") == "inactive"
    failing.app("uwsgi", SOCKET)
    nothing_is_left(failing)


@pytest.mark.parametrize("away", [False, True], ids=["watched", "unwatched"])
@pytest.mark.parametrize("failure", FAILURES)
def test_an_on_demand_vassal_that_failed_loses_its_rule(
    machine: Machine, failing: Bridge, failure: str, *, away: bool
) -> None:
    machine.write(FAILING, f"import os\nos._exit({FAILURES[failure]})\n")
    path = failing.vassal("mode.ini", config(f"socket = {ADDRESS}").replace(APP, FAILING), address=SOCKET)
    failing.watch()
    client = ask(machine, SOCKET)
    failing.told(rf"^mode\.ini: {failure}")

    cursor = change(failing, None, path, away=away)
    failing.told(rf"^mode\.ini: changed, runs always \(before: at {SOCKET}\)", cursor)
    failing.wait("mode", "running")
    failing.app("uwsgi", ADDRESS)
    assert not machine.exists(SOCKET)
    client.communicate(timeout=90)
    nothing_is_left(failing)
