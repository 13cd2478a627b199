"""The bridge ends and returns, in whatever way: that touches no app and no socket, and nothing an admin stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .bridge import VASSALS, WATCH, config
from .machine import message

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

WAYS = {
    "restart": ("restart",),
    "stop and start": ("stop", "start"),
    "SIGTERM": ("kill --signal=TERM --kill-whom=main", "start"),
    "SIGKILL": ("kill --signal=KILL --kill-whom=main", "start"),
}
ADDRESS = "127.0.0.1:9204"
RUNS = ("runs", "pauses")
"""Vassals that are woken; of the second, the app is killed."""


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def way(request: pytest.FixtureRequest) -> tuple[str, ...]:
    chosen: tuple[str, ...] = request.param
    return chosen


def end_and_return(bridge: Bridge, way: tuple[str, ...]) -> None:
    """Have the daemon end and come back; it is ready on return."""
    before = bridge.machine.show(WATCH, "MainPID")
    for verb in way:
        bridge.machine.run("systemctl", *verb.split(), WATCH)
        if verb.startswith("kill"):
            bridge.machine.wait_unit(WATCH, "MainPID", "0")
    assert bridge.machine.show(WATCH, "MainPID") not in {before, "0"}


def picture(machine: Machine) -> dict[str, str]:
    """Return what must stay: units and when they changed, files, processes and listening sockets with their inodes."""
    run = machine.run
    properties = "Id,ActiveState,SubState,MainPID,InvocationID,StateChangeTimestampMonotonic,NRestarts,Job"
    return {
        "units": run("systemctl", "show", f"--property={properties}", "vassal*", "pause-vassal*").stdout,
        "files": run("find", "/etc/systemd/system", "-name", "vassal*", "-printf", "%p %i %C@\\n").stdout,
        "sockets": run("sh", "-c", "find /run -maxdepth 1 -name '*.sock' -printf '%p %i %C@\\n' | sort").stdout,
        "kernel": run("sh", "-c", f"ss -lxHne | grep /run/.*sock | sort; ss -ltHne 'src {ADDRESS}'").stdout,
    }


def told(bridge: Bridge, cursor: str) -> list[str]:
    return [message(entry) for entry in bridge.machine.journal(cursor, WATCH) if ".ini" in message(entry)]


def test_no_app_and_no_socket_notices(machine: Machine, bridge: Bridge, way: tuple[str, ...]) -> None:
    bridge.options += ("--emperor-throttle", "170000")
    bridge.vassal("always.ini", config("socket = 127.0.0.1:9205"))
    bridge.vassal("tcp.ini", address=ADDRESS)
    for name in ("waits", *RUNS):
        bridge.vassal(f"{name}.ini", address=f"/run/{name}.sock")
    bridge.watch()
    answers = {name: bridge.app("uwsgi", f"/run/{name}.sock") for name in RUNS}
    always = bridge.app("uwsgi", "127.0.0.1:9205")
    # Only the main process: 257 would kill the pause that follows, too.
    machine.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "vassal-pauses.service")
    bridge.told(r"^pauses\.ini: throttled")
    machine.wait_unit("pause-vassal-pauses.service", "SubState", "running")

    before, cursor = picture(machine), machine.journal_cursor()
    end_and_return(bridge, way)
    assert picture(machine) == before
    assert told(bridge, cursor) == []
    assert bridge.app("uwsgi", "/run/runs.sock") == answers["runs"]
    assert bridge.app("uwsgi", "127.0.0.1:9205") == always


def test_what_an_admin_stopped_stays_so_until_it_is_synced(
    machine: Machine, watch: Bridge, way: tuple[str, ...]
) -> None:
    for name in ("before", "meanwhile", "other"):
        watch.vassal(f"{name}.ini", address=f"/run/{name}.sock")
    watch.vassal("always.ini", config(f"socket = {ADDRESS}"))
    for name in ("before", "meanwhile", "other"):
        watch.told(rf"^{name}\.ini: waiting")
    watch.told(r"^always\.ini: running")
    machine.run("systemctl", "stop", "vassal-before.socket", "vassal-always.service")
    watch.told(r"^before\.ini: closed")

    end_and_return(watch, way)
    machine.run("systemctl", "stop", WATCH)
    machine.run("systemctl", "stop", "vassal-meanwhile.socket")
    machine.run("systemctl", "start", WATCH)
    cursor = machine.journal_cursor()
    watch.vassal("new.ini", address="/run/new.sock")
    watch.told(r"^new\.ini: added", cursor)
    stopped = ("vassal-before.socket", "vassal-always.service", "vassal-meanwhile.socket")
    assert [machine.show(unit, "ActiveState") for unit in stopped] == ["inactive"] * 3
    assert machine.show("vassal-other.socket", "SubState") == "listening"

    machine.write(f"{VASSALS}/before.ini.socket", "/run/moved.sock\n")
    watch.told(r"^before\.ini: changed, on demand at /run/moved\.sock", cursor)
    watch.app("uwsgi", "/run/moved.sock")
    assert [machine.show(unit, "ActiveState") for unit in stopped[1:]] == ["inactive"] * 2

    said = watch.sync().stdout
    assert "meanwhile.ini: started" in said
    watch.app("uwsgi", "/run/meanwhile.sock")
    watch.app("uwsgi", ADDRESS)
    end_and_return(watch, way)
    watch.app("uwsgi", "/run/meanwhile.sock")


def test_vassals_that_were_stopped_all_together_stay_so(machine: Machine, watch: Bridge) -> None:
    watch.vassal("one.ini", address="/run/one.sock")
    watch.told(r"^one\.ini: waiting")
    machine.run("systemctl", "stop", WATCH)
    machine.run("systemctl", "stop", "vassals.target")
    machine.run("systemctl", "start", WATCH)
    assert machine.show("vassals.target", "ActiveState") == "inactive"
    assert machine.show("vassal-one.socket", "ActiveState") == "inactive"
    machine.run("systemctl", "start", "vassals.target")
    watch.app("uwsgi", "/run/one.sock")


@pytest.mark.parametrize("away", [False, True], ids=["watched", "unwatched"])
def test_a_folder_in_the_place_of_another_brings_new_configs(machine: Machine, watch: Bridge, *, away: bool) -> None:
    path = watch.vassal("app.ini", address="/run/app.sock")
    new = watch.vassal("app.ini", config("procname-master = new"), address="/run/app.sock", folder="/srv/new")
    machine.cleanups.append(lambda: machine.remove("/srv/new", "/srv/old"))
    watch.told(r"^app\.ini: waiting")
    # Woken only now: all that the two folders hold is older than the app.
    before = watch.app("uwsgi", "/run/app.sock")
    files = machine.run("stat", "-c", "%Z", path, new).stdout
    cursor = machine.journal_cursor()
    if away:
        machine.run("systemctl", "stop", WATCH)
    machine.run("sh", "-ec", f"mv {VASSALS} /srv/old; mv /srv/new {VASSALS}")
    if away:
        machine.run("systemctl", "start", WATCH)
    watch.told(r"^app\.ini: reloaded", cursor)
    machine.wait_journal("spawned uWSGI worker 1", unit="vassal-app.service", since_cursor=cursor)
    assert machine.run("stat", "-c", "%Z", "/srv/old/app.ini", path).stdout == files
    assert watch.app("uwsgi", "/run/app.sock")["ppid"] == before["ppid"]
    assert "new" in [process.command for process in watch.processes("app")]
    cursor = machine.journal_cursor()
    machine.run("systemctl", "restart", WATCH)
    assert told(watch, cursor) == []
