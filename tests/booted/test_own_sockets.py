"""systemd holds the sockets that a config binds itself, and hands them over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .bridge import config

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

DIES = ("idle = 1", "die-on-idle = true")
UNIX, TCP, WILD = "/run/own/a.sock", "127.0.0.1:9301", ":9302"


@pytest.fixture
def own(bridge: Bridge) -> Bridge:
    """A bridge whose vassals wait on their own sockets."""
    bridge.options += ["--on-demand-own-sockets", "idle"]
    return bridge


def test_three_sockets_of_one_config(machine: Machine, own: Bridge) -> None:
    lines = (f"http-socket = {UNIX}", f"socket = {TCP}", f"http-socket = {WILD}", "vacuum = true", "chmod-socket = 666")
    own.vassal("a.ini", config(*lines, *DIES))
    own.sync()
    row = own.status()["a.ini"]
    assert (row["state"], row["mode"], row["socket"]) == ("listening", "on-demand", UNIX)
    assert row["sockets"] == [UNIX, TCP, "0.0.0.0:9302"]
    inode = machine.run("stat", "-c", "%i %a", UNIX).stdout
    for protocol, address in (("http", UNIX), ("uwsgi", TCP), ("http", WILD)):
        answer = own.app(protocol, address)
        own.wait("a", "running")
        assert machine.show("vassal-a.service", "MainPID") == str(answer["ppid"])
        own.wait("a", "dead")
        own.wait("a", "listening")
        assert machine.show("vassal-a.service", "Result") == "success"
    assert machine.run("stat", "-c", "%i %a", UNIX).stdout == inode
