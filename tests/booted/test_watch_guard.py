"""The guard against removals by mistake counts each monitor for itself, and lets each tenant do as he likes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .bridge import VASSALS, WATCH, Bridge, config
from .test_watch_places import listening, removed

if TYPE_CHECKING:
    from .machine import Machine

MORE = "/srv/more"
ALICES, BOBS = 11, 9


def add(bridge: Bridge, *stems: str, folder: str = VASSALS, owner: str = "root") -> None:
    """Write vassals that belong to somebody, and wait until all listen."""
    cursor = bridge.machine.journal_cursor()
    # The rule first: without it a vassal would be taken to run always.
    files = {f"{folder}/{stem}.ini.socket": f"/run/{stem}.sock" for stem in stems}
    bridge.machine.write_many(files | {f"{folder}/{stem}.ini": config() for stem in stems}, owner=owner)
    for stem in stems:
        bridge.told(rf"^{stem}\.ini: added, on demand", cursor)


def stems(letter: str, number: int) -> list[str]:
    return [f"{letter}{one}" for one in range(number)]


@pytest.fixture
def tyrant(bridge: Bridge) -> Bridge:
    """The daemon in tyrant mode, with vassals of two tenants of whom one has the most, one of each tenant's running."""
    bridge.options += ["--emperor-tyrant", "--tenant-socket-directory", "/run"]
    bridge.watch()
    add(bridge, *stems("a", ALICES), owner="alice")
    add(bridge, *stems("b", BOBS), owner="bob")
    for stem in ("a0", "b0"):
        bridge.app("uwsgi", f"/run/{stem}.sock")
    return bridge


def test_a_folder_that_is_emptied_beside_a_larger_one_removes_nothing(machine: Machine, bridge: Bridge) -> None:
    machine.cleanups.append(lambda: machine.remove(MORE))
    machine.run("mkdir", MORE)
    bridge.options += ["--emperor", MORE]
    bridge.watch()
    add(bridge, *stems("a", 30))
    add(bridge, *stems("b", 20), folder=MORE)
    before = bridge.app("uwsgi", "/run/b0.sock")

    cursor = machine.journal_cursor()
    # A busy machine may hold rm up on its way, and the daemon is not to look meanwhile.
    machine.run("systemctl", "kill", "--signal=SIGSTOP", WATCH)
    machine.run("sh", "-c", f"rm {MORE}/*")
    machine.run("systemctl", "kill", "--signal=SIGCONT", WATCH)
    entry = bridge.told(r"20 of 20 vassals.* none of them is removed", cursor)
    assert (entry["EMPEROR_BRIDGE_CODE"], entry["PRIORITY"]) == ("mass-removal", "3")
    # Another one's changes are followed as ever.
    add(bridge, "later")
    machine.remove(f"{VASSALS}/a0.ini")
    bridge.told(r"^a0\.ini: removed", cursor)
    assert len(removed(bridge, cursor)) == 1
    assert bridge.app("uwsgi", "/run/b0.sock") == before
    assert listening(machine) == 30 + 1 - 1 + 20 - 1

    bridge.sync("--allow-mass-removal")
    assert listening(machine) == 30


@pytest.mark.usefixtures("tenants")
def test_a_tenant_may_remove_all_of_his_vassals(machine: Machine, tyrant: Bridge) -> None:
    before = tyrant.app("uwsgi", "/run/b0.sock")
    cursor = machine.journal_cursor()
    machine.run("sh", "-c", f"rm {VASSALS}/a*")
    for stem in stems("a", ALICES):
        tyrant.told(rf"^{stem}\.ini: removed", cursor)
    add(tyrant, "later", owner="bob")
    assert len(removed(tyrant, cursor)) == ALICES
    assert tyrant.processes("a0") == []
    assert tyrant.app("uwsgi", "/run/b0.sock") == before
    assert listening(machine) == BOBS - 1 + 1


@pytest.mark.usefixtures("tenants")
def test_what_more_than_one_tenant_loses_at_once_removes_nothing(machine: Machine, tyrant: Bridge) -> None:
    before = {stem: tyrant.app("uwsgi", f"/run/{stem}.sock") for stem in ("a0", "b0")}
    cursor = machine.journal_cursor()
    machine.run("sh", "-c", f"mv {VASSALS} {VASSALS}.away && mkdir {VASSALS}")
    machine.cleanups.append(lambda: machine.remove(f"{VASSALS}.away"))
    tyrant.told(r"none of them is removed", cursor)
    assert removed(tyrant, cursor) == []
    assert {stem: tyrant.app("uwsgi", f"/run/{stem}.sock") for stem in before} == before
    assert listening(machine) == ALICES + BOBS - 2
