"""A config with ``daemonize`` does what it does under an Emperor: it logs to a file, and stays where it is."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import pytest

from .bridge import VASSALS, config

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

LOGS = "/srv/logs"
SPAWNED = re.compile(r"spawned uWSGI master process \(pid: ([0-9]+)\)")


@pytest.fixture
def logs(machine: Machine) -> str:
    """A folder for logs that only root can write."""
    machine.run("install", "-d", LOGS)
    machine.cleanups.append(partial(machine.remove, LOGS))
    return LOGS


def masters(machine: Machine, path: str) -> list[int]:
    """Return the process of each start and reload that a log tells of."""
    return [int(pid) for pid in SPAWNED.findall(machine.run("cat", path).stdout)]


def woken(machine: Machine, bridge: Bridge) -> int:
    """Ask d.ini, see that its processes are those of its service, and return the master."""
    answer = bridge.app("uwsgi", "/run/d.sock")
    bridge.wait("d", "running")
    assert {process.pid for process in bridge.processes("d")} == {answer["ppid"], answer["pid"]}
    assert machine.show("vassal-d.service", "MainPID") == str(answer["ppid"])
    assert machine.run("stat", "-c", "%a", "/run/d.sock").stdout == "666\n"
    return int(answer["ppid"])


@pytest.mark.parametrize("option", ["daemonize", "daemonize2"])
@pytest.mark.parametrize("user", [(), ("uid = www-data", "gid = www-data")], ids=["root", "www-data"])
def test_it_is_woken_reloads_and_ends_idle(
    machine: Machine, bridge: Bridge, logs: str, option: str, user: tuple[str, ...]
) -> None:
    if user and option == "daemonize2":
        machine.run("chmod", "777", logs)
    log = f"{logs}/d.log"
    lines = (f"{option} = {log}", "chmod-socket = 666", *user)
    # Other tests have had a vassal of this name.
    cursor = machine.journal_cursor()
    bridge.vassal("d.ini", config(*lines), address="/run/d.sock")
    bridge.sync()
    first = woken(machine, bridge)
    bridge.vassal("d.ini", config(*lines, "idle = 1", "die-on-idle = true"), address="/run/d.sock")
    bridge.sync()
    bridge.wait("d", "dead")
    assert machine.show("vassal-d.service", "Result") == "success"
    second = woken(machine, bridge)
    bridge.wait("d", "dead")
    bridge.wait("d", "listening")
    assert masters(machine, log) == [first, first, second]
    shown = "\n".join(str(entry.get("MESSAGE")) for entry in machine.journal(cursor, unit="vassal-d.service"))
    assert "uWSGI master process" not in shown


@pytest.mark.parametrize(
    ("option", "folder"),
    [("daemonize", VASSALS), ("logto", VASSALS), ("logto2", VASSALS), ("daemonize2", "/srv")],
)
def test_a_relative_file_and_an_app_that_runs_always(
    machine: Machine, bridge: Bridge, option: str, folder: str
) -> None:
    machine.cleanups.append(partial(machine.remove, "/srv/always.log"))
    lines = (f"{option} = always.log", "chdir = /srv", "socket = 127.0.0.1:9341")
    bridge.vassal("always.ini", config(*lines))
    bridge.sync()
    bridge.wait("always", "running")
    pid = bridge.app("uwsgi", "127.0.0.1:9341")["ppid"]
    assert machine.show("vassal-always.service", "MainPID") == str(pid)
    assert masters(machine, f"{folder}/always.log") == [pid]


def test_what_check_warns_of_is_so(machine: Machine, bridge: Bridge, logs: str) -> None:
    lines = (f"daemonize = {logs}/w.log", "pidfile = /run/w.pid")
    bridge.vassal("w.ini", config(*lines), address="127.0.0.1:9344")
    warned = bridge.run("check").stdout.splitlines()
    assert len(warned) == 2
    assert all(line.endswith("[daemonize]") for line in warned)
    bridge.sync()
    bridge.app("uwsgi", "127.0.0.1:9344")
    assert machine.run("test", "-e", "/run/w.pid", check=False).returncode == 1


def test_left_to_itself_it_leaves_its_service(machine: Machine, bridge: Bridge, logs: str) -> None:
    drop_in = "/etc/systemd/system/vassal-l.service.d"
    machine.write(f"{drop_in}/left.conf", "[Service]\nUnsetEnvironment=UWSGI_RELOADS\n")
    machine.cleanups.append(partial(machine.remove, drop_in))
    bridge.vassal("l.ini", config(f"daemonize = {logs}/l.log"), address="127.0.0.1:9345")
    bridge.sync()
    machine.run("systemctl", "start", "vassal-l.service", check=False)
    machine.wait_journal("Failed with result 'protocol'", unit="vassal-l.service")


def test_a_tenants_daemon(machine: Machine, bridge: Bridge, logs: str) -> None:
    bridge.options += ["--emperor-tyrant", "--tenant-socket-directory", "/run"]
    machine.run("chown", "www-data:www-data", logs)
    lines = (f"daemonize = {logs}/t.log", "chroot = /srv")
    path = bridge.vassal("t.ini", config(*lines), address="127.0.0.1:9342")
    machine.run("chown", "www-data:www-data", path)
    assert "[daemonize-reload]" in bridge.sync(status=1).stderr
    bridge.vassal("t.ini", config(lines[0]), address="127.0.0.1:9342")
    machine.run("chown", "www-data:www-data", path)
    bridge.sync()
    pid = bridge.app("uwsgi", "127.0.0.1:9342")["ppid"]
    assert machine.show("vassal-t.service", "MainPID") == str(pid)
    assert machine.run("stat", "-c", "%U", f"{logs}/t.log").stdout == "www-data\n"


def test_what_only_a_first_start_does_is_refused(machine: Machine, bridge: Bridge, logs: str) -> None:
    lines = (f"daemonize = {logs}/x.log", "if-not-reload =", "env = FIRST=1", "end-if =")
    path = bridge.vassal("x.ini", config(*lines), address="127.0.0.1:9343")
    number = config(*lines).splitlines().index("env = FIRST=1") + 1
    assert bridge.sync(status=1).stderr.startswith(f"{path}:{number}: error: with daemonize ")
    assert machine.request("uwsgi", "127.0.0.1:9343").status is None
