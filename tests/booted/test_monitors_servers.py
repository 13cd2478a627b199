"""Vassals that come from real servers, the whole way: a row, or a message, is a site that wakes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from .bridge import WATCH, Bridge
from .fleets import TENANTS
from .sources import IDLE, MIRROR, SERVERS, Zmq, follow, vassal

if TYPE_CHECKING:
    from .machine import Machine
    from .sources import Source

SOON = 5.0
"""Seconds in which a change must be in force; the manual says half a second for the notification alone."""
BACK = 10.0
"""Seconds in which a server's change must be in force after it was away."""
STDIN_LISTENS = """
inode=$(readlink "/proc/$1/fd/0" | tr -dc 0-9)
ss -lxHne src "$2" | grep -qw "$inode"
"""

servers = pytest.mark.parametrize("server", SERVERS, indirect=True, scope="module")
"""Marks a test that has no meaning where there is no server to lose."""


def own_pid(bridge: Bridge, stem: str) -> str:
    return bridge.machine.show(f"vassal-{stem}.service", "MainPID")


def refuses(machine: Machine, address: str) -> bool:
    return machine.request("uwsgi", address).status is None


def test_a_row_wakes_idles_and_wakes_again(machine: Machine, bridge: Bridge, source: Source) -> None:
    source.put(vassal("always.ini", "socket = 127.0.0.1:9321"))
    bridge.wait("always", "running")
    bridge.app("uwsgi", "127.0.0.1:9321")

    source.put(vassal("a.ini", *IDLE, socket="/run/a.sock"))
    bridge.told(r"^a\.ini: added", timeout=SOON)
    first = bridge.app("uwsgi", "/run/a.sock")
    machine.run("sh", "-c", STDIN_LISTENS, "sh", own_pid(bridge, "a"), "/run/a.sock")
    bridge.wait("a", "dead")
    assert machine.show("vassal-a.socket", "SubState") == "listening"
    assert bridge.app("uwsgi", "/run/a.sock")["ppid"] != first["ppid"]

    source.delete("a.ini")
    bridge.told(r"^a\.ini: removed", timeout=SOON)
    assert refuses(machine, "/run/a.sock")
    bridge.app("uwsgi", "127.0.0.1:9321")


def test_a_row_that_changes_reloads_moves_and_runs_always(machine: Machine, bridge: Bridge, source: Source) -> None:
    row = vassal("a.ini", socket="/run/a.sock")
    source.put(row)
    bridge.wait("a", "listening")
    first = bridge.app("uwsgi", "/run/a.sock")
    master = own_pid(bridge, "a")

    # Newer, and nothing else. Then another text, in a database without a newer time.
    cursor = machine.journal_cursor()
    source.touch("a.ini")
    bridge.told(r"^a\.ini: reloaded", cursor)
    assert bridge.app("uwsgi", "/run/a.sock")["pid"] != first["pid"]
    cursor = machine.journal_cursor()
    source.put(vassal("a.ini", "procname-prefix = changed-", socket="/run/a.sock", ts=source.rows["a.ini"].ts))
    bridge.told(r"^a\.ini: reloaded", cursor)
    bridge.app("uwsgi", "/run/a.sock")
    assert any("changed-" in process.command for process in bridge.processes("a"))
    assert own_pid(bridge, "a") == master

    source.put(vassal("a.ini", socket="/run/b.sock"))
    machine.wait_unit("vassal-a.socket", "Listen", "[('Stream', '/run/b.sock')]")
    bridge.app("uwsgi", "/run/b.sock")
    assert refuses(machine, "/run/a.sock")

    source.put(vassal("a.ini", "socket = /run/own.sock"))
    bridge.told(r"^a\.ini: changed, runs always")
    bridge.app("uwsgi", "/run/own.sock")
    assert refuses(machine, "/run/b.sock")
    # What it has bound itself until now is the address at which it waits.
    source.put(vassal("a.ini", socket="/run/own.sock"))
    # Runs for all vassals are put off after a while, those for one row are not. An app takes a second or two to stop.
    bridge.told(r"^a\.ini: changed, on demand at /run/own\.sock", timeout=2 * SOON)
    bridge.app("uwsgi", "/run/own.sock")


@pytest.mark.usefixtures("tenants")
def test_in_tyrant_mode_a_row_can_go_to_another_tenant(machine: Machine, bridge: Bridge, server: Source) -> None:
    server.clear()
    bridge.options = ["--emperor-tyrant"]
    follow(bridge, server.table())
    for (name, uid), what in zip(TENANTS.items(), ("added", "changed"), strict=True):
        server.put(vassal("mine.ini", socket="127.0.0.1:9322", uid=uid, gid=uid))
        bridge.told(rf"^mine\.ini: {what}", timeout=20)
        bridge.app("uwsgi", "127.0.0.1:9322")
        owners = {machine.run("stat", "-c", "%U", f"/proc/{one.pid}").stdout for one in bridge.processes("mine")}
        assert owners == {f"{name}\n"}
        text = machine.run("sh", "-c", f"echo {MIRROR}/configs/mine.ini").stdout.strip()
        readers = {one for one in TENANTS if machine.run("cat", text, user=one, check=False).returncode == 0}
        assert readers == {name}


@servers
def test_sites_go_on_while_their_server_is_dead(machine: Machine, bridge: Bridge, source: Source) -> None:
    source.put(vassal("a.ini", socket="/run/a.sock"), vassal("b.ini", socket="/run/b.sock"))
    bridge.wait("a", "listening")
    bridge.wait("b", "listening")
    running = bridge.app("uwsgi", "/run/a.sock")
    source.kill()
    bridge.told("fleet: error: as of .*; cannot be asked since ")
    assert bridge.app("uwsgi", "/run/a.sock")["pid"] == running["pid"]
    bridge.app("uwsgi", "/run/b.sock")
    assert "cannot be asked since" in bridge.run("status").stdout

    source.start()
    began = time.monotonic()
    source.delete("b.ini")
    bridge.told(r"^b\.ini: removed", timeout=BACK)
    assert time.monotonic() - began < BACK
    assert bridge.app("uwsgi", "/run/a.sock")["pid"] == running["pid"]

    bridge.unwatch()
    source.kill()
    assert "cannot be asked" in bridge.sync(status=1).stderr
    bridge.app("uwsgi", "/run/a.sock")
    source.start()
    everything = machine.run(
        "sh", "-c", "journalctl --no-pager; systemctl show '*'; cat /etc/systemd/system/vassal*; ps axww", check=False
    ).stdout
    assert not source.secret or source.secret not in everything.replace("default_pass", "")


@servers
def test_what_changes_without_the_daemon_waits_for_it(bridge: Bridge, source: Source) -> None:
    source.put(vassal("a.ini", socket="/run/a.sock"), vassal("stays.ini", socket="/run/stays.sock"))
    bridge.wait("a", "listening")
    bridge.wait("stays", "listening")
    bridge.unwatch()
    source.put(vassal("b.ini", socket="/run/b.sock"))
    source.delete("a.ini")
    source.stop()
    source.start()
    bridge.app("uwsgi", "/run/a.sock")
    bridge.watch()
    bridge.told(r"^b\.ini: added")
    bridge.told(r"^a\.ini: removed")
    bridge.app("uwsgi", "/run/b.sock")
    bridge.app("uwsgi", "/run/stays.sock")


def test_changes_count_in_their_order_and_outlive_the_daemon(machine: Machine, bridge: Bridge, source: Source) -> None:
    numbered = (vassal("b.ini", f"env = N={number}", "socket = 127.0.0.1:9331") for number in range(3))
    source.put(vassal("a.ini", socket="/run/a.sock"), *numbered, vassal("c.ini", socket="/run/c"))
    bridge.told(r"^c\.ini: added")
    bridge.wait("b", "running")
    assert "N=2" in machine.run("sh", "-c", f"cat {MIRROR}/configs/b.ini").stdout
    if isinstance(source, Zmq):
        assert machine.run("stat", "-c", "%a %U", source.path).stdout == "600 bus\n"

    machine.run("systemctl", "kill", "--signal=SIGKILL", WATCH)
    machine.wait_unit(WATCH, "ActiveState", "failed")
    bridge.app("uwsgi", "/run/c")
    cursor = machine.journal_cursor()
    machine.run("systemctl", "restart", WATCH)
    machine.wait_journal("Started emperor-bridge-monitor-fleet", since_cursor=cursor)
    source.delete("a.ini", "b.ini")
    source.put(vassal("b.ini", socket="/run/b"))
    bridge.told(r"^a\.ini: removed", cursor)
    machine.wait_unit("vassal-b.socket", "Listen", "[('Stream', '/run/b')]")
    bridge.app("uwsgi", "/run/b")
    bridge.app("uwsgi", "/run/c")
