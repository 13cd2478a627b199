"""What stands at a rule's address and is not the bridge's: never removed, never taken over."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from .bridge import config
from .process import Lines, kill
from .suite import PYTHON

if TYPE_CHECKING:
    from .bridge import Bridge

HOLD = """
import ctypes, os, socket, sys
AF_UNIX, AF_INET, AF_INET6 = socket.AF_UNIX, socket.AF_INET, socket.AF_INET6
STREAM, DGRAM, SEQPACKET = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET
os.makedirs("/run/taken/folder/deep", exist_ok=True)
os.symlink("folder", "/run/taken/link")
os.chdir("/run/taken/folder")
held = []
for family, kind, address in (
    (AF_UNIX, STREAM, "/run/taken/stream"),
    (AF_UNIX, DGRAM, "/run/taken/dgram"),
    (AF_UNIX, SEQPACKET, "/run/taken/seqpacket"),
    (AF_UNIX, STREAM, "/run/taken/link/linked"),
    (AF_UNIX, STREAM, "relative"),
    (AF_UNIX, STREAM, chr(0) + "taken"),
    (AF_INET, STREAM, ("127.0.0.1", 7001)),
    (AF_INET, STREAM, ("127.0.0.1", 7002)),
    (AF_INET, STREAM, ("127.0.0.1", 7003)),
    (AF_INET6, STREAM, ("::1", 7004)),
):
    one = socket.socket(family, kind)
    one.bind(address)
    held.append(one)
    if kind != DGRAM:
        one.listen()
CLONE_NEWNET = 0x40000000
ctypes.CDLL(None).unshare(CLONE_NEWNET)
apart = socket.socket(AF_UNIX)
apart.bind("/run/taken/apart")
apart.listen()
print("ready", flush=True)
sys.stdin.read()
"""
INODES = "find /run/taken /run/dbus /run/systemd/notify /run/systemd/private /dev/log -printf '%p %i %y %l\\n' | sort"


@pytest.fixture
def beside(bridge: Bridge) -> Bridge:
    """The bridge with a vassal that nothing is wrong with."""
    bridge.machine.run("mkdir", "/run/taken")
    bridge.machine.cleanups.append(lambda: bridge.machine.remove("/run/taken"))
    bridge.vassal("good.ini", config(master=False), address="/run/taken/good.sock")
    return bridge


def add(bridge: Bridge, addresses: dict[str, str]) -> None:
    for stem, address in addresses.items():
        bridge.vassal(f"{stem}.ini", address=address)


def all_refused(bridge: Bridge, addresses: dict[str, str]) -> None:
    """Sync; every one of these vassals is refused for its address, and the good one is served."""
    said = bridge.sync(status=1).stderr.splitlines()
    for stem in addresses:
        lines = [line for line in said if f"/{stem}.ini: error: it is to wait on" in line]
        assert len(lines) == 1, (stem, said)
        assert "[address-occupied]" in lines[0]
    assert len(said) == len(addresses)
    assert bridge.app("uwsgi", "/run/taken/good.sock")


def test_what_is_not_a_socket_is_never_removed(beside: Bridge) -> None:
    machine = beside.machine
    make = """
        echo precious > file; mkdir folder; echo inside > folder/file; mkfifo fifo
        ln -s file to-file; ln -s folder to-folder; ln -s nowhere to-nowhere; ln -s good.sock to-socket
    """
    machine.run("sh", "-ec", make, cwd="/run/taken")
    listed = machine.run("sh", "-c", INODES).stdout
    names = ("file", "folder", "fifo", "to-file", "to-folder", "to-nowhere", "to-socket")
    addresses = {name: f"/run/taken/{name}" for name in names} | {"inside": "/run/taken/to-folder/file"}
    add(beside, addresses)
    all_refused(beside, addresses)
    beside.run("remove", "--yes")
    assert machine.run("sh", "-c", INODES).stdout == listed
    assert machine.read("/run/taken/file") == "precious\n"
    assert machine.read("/run/taken/folder/file") == "inside\n"


def test_the_socket_of_another_process_is_never_taken(beside: Bridge) -> None:
    machine = beside.machine
    holder = machine.popen(PYTHON, "-c", HOLD)
    machine.cleanups.append(lambda: kill(holder))
    assert Lines(holder.stdout).next(time.monotonic() + 10) == "ready"
    listed = machine.run("sh", "-c", INODES).stdout
    addresses = {
        "stream": "/run/taken/stream",
        "dgram": "/run/taken/dgram",
        "seqpacket": "/run/taken/seqpacket",
        "linked": "/run/taken/folder/linked",
        "by-link": "/var/run/taken/link/relative",
        "apart": "/run/taken/apart",
        "abstract": "@taken",
        "ipv4": "127.0.0.1:7001",
        "ipv4-wild": ":7002",
        "ipv6-wild": "[::]:7003",
        "ipv6": "[::1]:7004",
        "dbus": "/run/dbus/system_bus_socket",
        "notify": "/run/systemd/notify",
        "private": "../../../../../run/systemd/private",
        "journal": "/dev/log",
        "journal-itself": "/run/systemd/journal/dev-log",
    }
    add(beside, addresses)
    all_refused(beside, addresses)
    beside.run("remove", "--yes")
    assert machine.run("sh", "-c", INODES).stdout == listed
    holder_is_there = "import socket; socket.socket(socket.AF_UNIX).connect('/run/taken/apart')"
    machine.run(PYTHON, "-c", holder_is_there)


def test_a_socket_nobody_holds_any_more_is_no_obstacle(beside: Bridge) -> None:
    leave = "import socket; socket.socket(socket.AF_UNIX).bind('/run/taken/stale')"
    beside.machine.run(PYTHON, "-c", leave)
    beside.vassal("stale.ini", config(master=False), address="/run/taken/stale")
    beside.sync()
    assert beside.app("uwsgi", "/run/taken/stale")


def test_an_address_taken_while_the_vassal_runs_leaves_it_running(beside: Bridge) -> None:
    """Its rule now names another's socket: it goes on where it was."""
    beside.sync()
    pid = beside.app("uwsgi", "/run/taken/good.sock")["pid"]
    beside.vassal("good.ini", config(master=False), address="/run/dbus/system_bus_socket")
    said = beside.sync(status=1).stderr
    assert "another process listens on /run/dbus/system_bus_socket" in said
    assert beside.app("uwsgi", "/run/taken/good.sock")["pid"] == pid
    assert beside.status()["good.ini"]["socket"] == "/run/taken/good.sock"
