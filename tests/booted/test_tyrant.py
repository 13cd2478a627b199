"""Tyrant mode and the rest of an emperor.ini, as the apps see it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from .bridge import VASSALS, config
from .fleets import TENANTS

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

SELF = "/srv/app/self.py"
SELF_TEXT = """\
import json, os, uwsgi

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    bounds = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("CapBnd"))
    permitted = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("CapPrm"))
    return [json.dumps({
        "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "cwd": os.getcwd(),
        "bounds": bounds, "permitted": permitted, "pid": os.getpid(), "master": uwsgi.masterpid(),
        "opt": {k: v if isinstance(v, bool) else v.decode() for k, v in uwsgi.opt.items() if not isinstance(v, list)},
        "env": {k: v for k, v in os.environ.items() if k.startswith(("UWSGI_", "WHO"))},
    }).encode()]
"""


@pytest.fixture(autouse=True)
def app_that_tells_who_it_is(machine: Machine) -> None:
    machine.write(SELF, SELF_TEXT)
    machine.cleanups.append(lambda: machine.remove(SELF))


def serve(bridge: Bridge, name: str, owner: str, *lines: str, address: str) -> str:
    """Write a vassal's config that belongs to ``owner``."""
    path = bridge.vassal(name, config(*lines).replace("/srv/app/app.py", SELF), address=address)
    bridge.machine.run("chown", f"{owner}:{owner}", path)
    return path


def ask(bridge: Bridge, address: str) -> dict[str, Any]:
    return bridge.app("uwsgi", address)


@pytest.mark.usefixtures("tenants")
def test_each_tenant_runs_as_itself_in_its_own_slice(machine: Machine, bridge: Bridge) -> None:
    bridge.options += ["--emperor-tyrant", "--tenant-socket-directory", "/run"]
    serve(bridge, "a1.ini", "alice", address="/run/a1.sock")
    serve(bridge, "a2.ini", "alice", address="127.0.0.1:9311")
    serve(bridge, "b.ini", "bob", address="@tenant-b")
    serve(bridge, "r.ini", "root", address="/run/r.sock")
    refused = bridge.sync(status=1)
    assert "r.ini: error: its owner is root, and in tyrant mode a vassal runs as its owner" in refused.stderr
    assert "[tyrant-root]" in refused.stderr

    for address, name in (("/run/a1.sock", "alice"), ("127.0.0.1:9311", "alice"), ("@tenant-b", "bob")):
        seen = ask(bridge, address)
        uid = TENANTS[name]
        assert (seen["uid"], seen["gid"], seen["groups"]) == (uid, uid, [])
        assert int(seen["permitted"], 16) == 0
        assert seen["cwd"] == VASSALS
    slices = {name: machine.show(f"vassal-{name}.service", "Slice") for name in ("a1", "a2", "b")}
    assert slices["a1"] == slices["a2"] != slices["b"]
    assert slices["a1"].endswith("-4001.slice")
    machine.run("systemctl", "set-property", "--runtime", slices["a1"], "TasksMax=77")
    assert machine.show(slices["a1"], "TasksMax") == "77"
    assert machine.run("stat", "-c", "%U:%G %a", "/run/a1.sock").stdout == "alice:alice 660\n"


@pytest.mark.usefixtures("tenants")
def test_an_owner_change_moves_the_vassal(machine: Machine, bridge: Bridge) -> None:
    bridge.options += ["--emperor-tyrant", "--tenant-socket-directory", "/run"]
    path = serve(bridge, "m.ini", "alice", address="127.0.0.1:9312")
    bridge.sync()
    assert ask(bridge, "127.0.0.1:9312")["uid"] == TENANTS["alice"]
    machine.run("chown", "bob:bob", path)
    bridge.sync()
    assert ask(bridge, "127.0.0.1:9312")["uid"] == TENANTS["bob"]
    assert machine.show("vassal-m.service", "Slice").endswith("-4002.slice")
    machine.run("chown", "root:root", path)
    assert "[tyrant-root]" in bridge.sync(status=1).stderr
    assert ask(bridge, "127.0.0.1:9312")["uid"] == TENANTS["bob"]


@pytest.mark.usefixtures("tenants")
def test_groups_on_request_and_the_symlinks_owner(machine: Machine, bridge: Bridge) -> None:
    bridge.options += ["--emperor-tyrant", "--emperor-tyrant-nofollow", "--emperor-tyrant-initgroups"]
    bridge.options += ["--tenant-socket-directory", "/run"]
    real = serve(bridge, "real.config", "alice", address="@unused")
    machine.run("ln", "-s", real, f"{VASSALS}/link.ini")
    machine.run("chown", "--no-dereference", "bob:bob", f"{VASSALS}/link.ini")
    machine.write(f"{VASSALS}/link.ini.socket", "127.0.0.1:9313\n")
    machine.remove(f"{real}.socket")
    bridge.sync()
    seen = ask(bridge, "127.0.0.1:9313")
    games = int(machine.run("getent", "group", "games").stdout.split(":")[2])
    assert (seen["uid"], sorted(seen["groups"])) == (TENANTS["bob"], sorted([games, TENANTS["bob"]]))


@pytest.mark.usefixtures("tenants")
def test_a_tenant_cannot_swap_the_folder_of_its_socket(machine: Machine, bridge: Bridge) -> None:
    bridge.options += ["--emperor-tyrant", "--tenant-socket-directory", "/run"]
    machine.run("install", "-d", "-o", "alice", "/srv/alice")
    machine.cleanups.append(lambda: machine.remove("/srv/alice"))
    serve(bridge, "own.ini", "alice", address="/srv/alice/run/own.sock")
    machine.run("ln", "-s", "/srv/alice", "/run/looks-safe")
    machine.cleanups.append(lambda: machine.remove("/run/looks-safe"))
    serve(bridge, "link.ini", "alice", address="/run/looks-safe/link.sock")
    serve(bridge, "tmp.ini", "alice", address="/tmp/tenant.sock")
    serve(bridge, "his.ini", "alice", address=f"/run/vassals/{TENANTS['alice']}/his.sock")
    refused = bridge.sync(status=1).stderr.splitlines()
    assert all(line.endswith("[socket-folder]") for line in refused)
    assert {line.partition(":")[0] for line in refused} == {f"{VASSALS}/{name}.ini" for name in ("own", "link", "tmp")}
    assert all('tenant-socket-directory = "' in line for line in refused)
    assert ask(bridge, f"/run/vassals/{TENANTS['alice']}/his.sock")["uid"] == TENANTS["alice"]
    folders = machine.run("stat", "-c", "%U %a", "/run/vassals", f"/run/vassals/{TENANTS['alice']}").stdout
    assert folders == "root 711\nroot 711\n"
    machine.cleanups.append(lambda: machine.remove("/run/vassals"))


@pytest.mark.usefixtures("tenants")
def test_an_emperors_ini_reaches_the_vassals(machine: Machine, bridge: Bridge) -> None:
    ini = "/srv/emperor.ini"
    machine.write("/srv/hook", '#!/bin/sh\necho "$0 $1 $(id -un) $UWSGI_VASSALS_DIR" >>/run/hooks-$(id -un)\n')
    machine.run("chmod", "755", "/srv/hook")
    machine.run("install", "-o", "www-data", "/dev/null", "/run/hooks-www-data")
    machine.write("/srv/t.ini", "[uwsgi]\nset-ph = template = %n\nprocname-prefix = t\n")
    lines = [
        *("[uwsgi]", f"emperor = {VASSALS}", "emperor-on-demand-extension = .socket", "uid = www-data"),
        *(
            "gid = www-data",
            "vassals-set = threads=3",
            "vassals-inherit = /srv/t.ini",
            "env = UWSGI_VASSAL_HARAKIRI=55",
        ),
        *("env = WHO=%%a b", "vassals-start-hook = /srv/hook", "vassals-stop-hook = /srv/hook"),
        *("emperor-cap = kill", "heartbeat = 5", ""),
    ]
    machine.write(ini, "\n".join(lines))
    for path in (ini, "/srv/hook", "/srv/t.ini", "/run/hooks-www-data", "/run/hooks-root"):
        # After the bridge, which needs the configuration to remove the vassals.
        machine.cleanups.insert(0, partial(machine.remove, path))
    bridge.options = ["--emperor-ini", ini]
    serve(bridge, "e.ini", "root", address="/run/e.sock")
    told = bridge.sync()
    assert told.stderr == (
        f"{ini}:13: warning: heartbeat has no effect here (replaced by a drop-in of the vassal's service, "
        "such as WatchdogSec= or TimeoutStopSec=) [emperor-option]\n"
    )
    seen = ask(bridge, "/run/e.sock")
    www = int(machine.run("id", "-u", "www-data").stdout)
    assert (seen["uid"], seen["gid"]) == (www, www)
    assert seen["opt"]["threads"] == "3"
    assert seen["opt"]["procname-prefix"] == "t"
    assert seen["opt"]["harakiri"] == "55"
    assert seen["env"]["WHO"] == "%a b"
    assert int(seen["bounds"], 16) == (1 << 5) | (1 << 8)
    assert seen["master"] > 0
    assert machine.run("cat", "/run/hooks-www-data").stdout == f"/srv/hook e.ini www-data {VASSALS}\n"
    assert machine.run("stat", "-c", "%U:%G %a", "/run/e.sock").stdout == "www-data:www-data 660\n"
    machine.run("systemctl", "stop", "vassal-e.service")
    assert machine.run("cat", "/run/hooks-root").stdout == f"/srv/hook e.ini root {VASSALS}\n"
