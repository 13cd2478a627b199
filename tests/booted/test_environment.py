"""The environment that systemd gives a vassal, beside the one in which the bridge reads the vassal's config."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from .bridge import FOLDER, VASSALS, Bridge, config
from .suite import PYTHON

if TYPE_CHECKING:
    from .machine import Machine

HOME = "/home/ursula"
EACH_START = {"INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "MANAGERPID"} | {
    "MANAGERPIDFDID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
}
ASSUMED = """
import json, sys
from bridge.config.paths import make_paths
from bridge.model.vassal import SpawnSpec
from bridge.systemd.manager import connected
from bridge.vassals.environment import Environments

scope, user, *variables = sys.argv[1:]
tenant = int(user) if scope == "tenant" else None
spawn = SpawnSpec(argv=("uwsgi",), user=user, environment=tuple(variables), tenant=tenant)
with connected(make_paths(user=scope == "user", runtime=False)) as manager:
    environments = Environments(manager, user_manager=scope == "user")
    print(json.dumps({**environments.of(spawn, "/srv/vassals"), **environments.login(spawn)}))
"""


@pytest.fixture
def ursula(bridge: Bridge) -> Machine:
    bridge.machine.add_user("ursula")
    bridge.machine.cleanups.append(lambda: bridge.machine.remove_user("ursula"))
    return bridge.machine


def compare(bridge: Bridge, *given: str, scope: str = "system") -> dict[str, str]:
    """Return what both agree on; what differs at each start is only there."""
    machine = bridge.machine
    pid = machine.show("vassal-a.service", "MainPID", user=bridge.user)
    text = machine.run("cat", f"/proc/{pid}/environ").stdout
    real = dict(one.split("=", 1) for one in text.split("\0") if one)
    said = machine.run(PYTHON, "-c", ASSUMED, scope, *given, user=bridge.user).stdout
    assumed: dict[str, str] = json.loads(said)
    assert real.keys() == assumed.keys()
    differing = {name for name in real if real[name] != assumed[name]}
    assert differing == EACH_START & real.keys()
    assert all(assumed[name] == f"${{{name}}}" for name in differing)
    return {name: real[name] for name in real.keys() - differing}


def test_of_roots_vassals(bridge: Bridge) -> None:
    machine = bridge.machine
    machine.run("systemctl", "set-environment", "TEAM=a b")
    machine.cleanups.append(lambda: machine.run("systemctl", "unset-environment", "TEAM"))
    bridge.vassal("a.ini", config(), address="/run/a.sock")
    bridge.options += ["--env", "OWN=1"]
    bridge.sync()
    bridge.app("uwsgi", "/run/a.sock")
    agreed = compare(bridge, "", "OWN=1")
    assert (agreed["TEAM"], agreed["OWN"]) == ("a b", "1")
    assert "HOME" not in agreed


@pytest.mark.parametrize("user", ["www-data", "33", "nobody", "daemon"])
def test_of_the_vassals_of_one_user(bridge: Bridge, user: str) -> None:
    bridge.vassal("a.ini", config(), address="/run/a.sock")
    bridge.options += ["--uid", user]
    bridge.sync()
    bridge.app("uwsgi", "/run/a.sock")
    agreed = compare(bridge, user)
    assert agreed.get("HOME") == {"nobody": None, "daemon": "/usr/sbin"}.get(user, "/var/www")


@pytest.mark.usefixtures("tenants")
def test_of_a_tenants_vassal(bridge: Bridge) -> None:
    path = bridge.vassal("a.ini", config(), address="/run/vassals/4001/a.sock")
    bridge.machine.run("chown", "alice:alice", path)
    bridge.options.append("--emperor-tyrant")
    bridge.sync()
    bridge.app("uwsgi", "/run/vassals/4001/a.sock")
    agreed = compare(bridge, "4001", scope="tenant")
    assert agreed["PWD"] == VASSALS
    assert (agreed["HOME"], agreed["USER"], agreed["SHELL"]) == ("/home/alice", "alice", "/bin/sh")


def test_of_a_users_own_vassal(ursula: Machine) -> None:
    mine = Bridge(ursula, options=["--emperor", f"{HOME}/v", "--emperor-on-demand-extension", ".socket"], user="ursula")
    ursula.cleanups.append(lambda: mine.run("remove", "--yes", status=None))
    ursula.run("mkdir", f"{HOME}/v", user="ursula")
    files: dict[str, str | bytes] = {f"{HOME}/v/a.ini": config(), f"{HOME}/v/a.ini.socket": f"{HOME}/a.sock"}
    ursula.write_many(files, owner="ursula")
    mine.sync()
    mine.app("uwsgi", f"{HOME}/a.sock")
    agreed = compare(mine, "", scope="user")
    assert (agreed["HOME"], agreed["USER"]) == (HOME, "ursula")
    assert agreed["XDG_RUNTIME_DIR"].startswith("/run/user/")


def test_an_address_of_a_variable_is_seen(bridge: Bridge) -> None:
    bridge.vassal("a.ini", config("socket = $(HOME)/run/a.sock"), address="/var/www/run/a.sock")
    bridge.vassal("b.ini", config("socket = $(HOME)/run//b.sock"), address="/var/www/run/b.sock")
    bridge.options = [*FOLDER, "--emperor-on-demand-extension", ".socket", "--uid", "www-data"]
    result = bridge.sync(status=1)
    assert result.stderr.startswith(f"{VASSALS}/b.ini:6: error: socket = /var/www/run//b.sock")
    assert "[socket-is-rules]" in result.stderr
    assert bridge.status()["a.ini"]["sockets"] == ["/var/www/run/a.sock"]
