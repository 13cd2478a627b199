"""Where tenants may listen, on a real systemd: the folders it makes, a reboot, fleets that come from an Emperor."""

from __future__ import annotations

import re
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.unit.config.test_emperor_ini import FEDORA

from .bridge import VASSALS
from .fleets import TENANTS

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

OWN = f"/run/vassals/{TENANTS['alice']}"
SHARED = "/run/uwsgi"
DEBIANS = "/etc/uwsgi-emperor/emperor.ini"
UNSAFE = {
    "system": "/run/systemd/system/vassals.target",
    "unit": "/etc/systemd/system/vassal-v.service",
    "docker": "/run/docker.sock",
    "session": "/run/user/4001/z/app.sock",
    "process": "/proc/1/cwd/x",
    "tmp": "/tmp/x/d/app.sock",
    "low": "127.0.0.1:81",
}


def vassal(bridge: Bridge, name: str, owner: str, address: str, *, rule_owner: str = "root") -> str:
    path = bridge.vassal(name, address=address)
    bridge.machine.run("chown", f"{owner}:{owner}", path)
    bridge.machine.run("chown", rule_owner, f"{path}.socket")
    return path


# The tenants come before the bridge, whose end they outlive.
@pytest.fixture(autouse=True)
def tyrant(machine: Machine, tenants: None, bridge: Bridge) -> None:
    del tenants
    bridge.options.append("--emperor-tyrant")
    machine.cleanups.append(lambda: machine.remove("/run/vassals", SHARED))


def test_a_tenants_own_folder_is_made_by_systemd_also_at_a_boot_without_the_bridge(
    machine: Machine, bridge: Bridge
) -> None:
    vassal(bridge, "own.ini", "alice", f"{OWN}/own.sock")
    bridge.sync()
    for boots in range(2):
        if boots:
            machine.reboot()
        folders = machine.run("stat", "-c", "%U %a", "/run/vassals", OWN).stdout
        assert folders == "root 711\nroot 711\n"
        assert machine.run("stat", "-c", "%U:%G %a", f"{OWN}/own.sock").stdout == "alice:alice 660\n"
        assert bridge.app("uwsgi", f"{OWN}/own.sock")["path"] == "/"


def test_nothing_outside_is_made_or_touched(machine: Machine, bridge: Bridge) -> None:
    for name, address in UNSAFE.items():
        vassal(bridge, f"{name}.ini", "alice", address)
    vassal(bridge, "good.ini", "bob", "@boundary-good")
    before = machine.run("find", "/run", "/etc/systemd", "/tmp", "-newermt", "now").stdout
    refused = bridge.sync(status=1).stderr.splitlines()
    assert len(refused) == len(UNSAFE)
    assert all(line.endswith("[socket-folder]") for line in refused)
    assert all("tenant-socket-directory = " in line or "tenant-first-port = 81" in line for line in refused)
    assert bridge.app("uwsgi", "@boundary-good")
    assert before == ""
    for path in ("/run/docker.sock", "/tmp/x", "/run/user/4001", "/run/systemd/system/vassals.target"):
        assert not machine.exists(path)
    assert machine.run("systemctl", "is-active", "vassals.target").stdout == "active\n"


def hinted(bridge: Bridge) -> Counter[str]:
    """Return which settings check proposes, and how often; nothing else is an error."""
    told = bridge.run("check", status=1).stdout.splitlines()
    found = [re.search(r"let the admin set [^)]+", line) for line in told if ": error: " in line]
    assert all(found), "\n".join(told)
    return Counter(one[0] for one in found if one)


def test_one_setting_admits_a_fleet_that_listens_in_one_folder(machine: Machine, bridge: Bridge) -> None:
    machine.run("install", "-d", "-o", "www-data", "-g", "www-data", "-m", "775", SHARED)
    for name, owner in (("a", "alice"), ("b", "bob")):
        path = vassal(bridge, f"{name}.ini", owner, f"{SHARED}/{name}.sock", rule_owner=owner)
        machine.run("sh", "-c", f"echo 'chown-socket = {owner}:www-data' >>{path}")
    hints = [
        f'let the admin set tenant-socket-directory = "{SHARED}"',
        'let the admin set tenant-socket-groups = "www-data"',
    ]
    # All of it in one run: each vassal lacks both.
    assert hinted(bridge) == Counter(dict.fromkeys(hints, 2))
    bridge.options += ["--tenant-socket-directory", SHARED]
    assert hinted(bridge) == Counter({hints[1]: 2})
    bridge.options += ["--tenant-socket-groups", "www-data"]
    bridge.sync()
    for name, owner in (("a", "alice"), ("b", "bob")):
        assert machine.run("stat", "-c", "%U:%G", f"{SHARED}/{name}.sock").stdout == f"{owner}:www-data\n"
        assert bridge.app("uwsgi", f"{SHARED}/{name}.sock")


@pytest.fixture(params=["Fedora", "Debian"])
def emperor_ini(machine: Machine, request: pytest.FixtureRequest) -> tuple[str, str]:
    """The emperor.ini of a distribution in tyrant mode, and its folder of vassals."""
    # The bridge, which needs it to remove the vassals, ends before.
    if request.param == "Debian":
        before = machine.read(DEBIANS)
        machine.write(DEBIANS, f"{before}\nemperor-tyrant = true\n")
        machine.cleanups.insert(0, partial(machine.write, DEBIANS, before))
        return DEBIANS, "/etc/uwsgi-emperor/vassals"
    machine.run("useradd", "--system", "--user-group", "uwsgi")
    machine.run("mkdir", "/etc/uwsgi.d")
    machine.write("/etc/uwsgi.ini", FEDORA)
    machine.cleanups.insert(0, partial(machine.run, "userdel", "uwsgi"))
    machine.cleanups.insert(0, partial(machine.remove, "/etc/uwsgi.ini", "/etc/uwsgi.d"))
    return "/etc/uwsgi.ini", "/etc/uwsgi.d"


def test_a_distributions_emperor_ini_works_after_the_one_setting(
    emperor_ini: tuple[str, str], machine: Machine, bridge: Bridge
) -> None:
    ini, folder = emperor_ini
    machine.run("install", "-d", "-o", "www-data", "-g", "www-data", "-m", "775", SHARED)
    bridge.options = ["--emperor-ini", ini, "--emperor-on-demand-extension", ".socket"]
    for name, owner in (("a", "alice"), ("b", "bob")):
        path = bridge.vassal(f"{name}.ini", address=f"{SHARED}/{name}.sock", folder=folder)
        machine.cleanups.append(partial(machine.remove, path, f"{path}.socket"))
        machine.run("chown", f"{owner}:{owner}", path)
    assert hinted(bridge) == Counter({f'let the admin set tenant-socket-directory = "{SHARED}"': 2})
    bridge.options += ["--tenant-socket-directory", SHARED]
    bridge.sync()
    for name, owner in (("a", "alice"), ("b", "bob")):
        assert bridge.app("uwsgi", f"{SHARED}/{name}.sock")
        assert machine.show(f"vassal-{name}.service", "User") == str(TENANTS[owner])


def test_a_neighbours_rule_file_does_not_count(machine: Machine, bridge: Bridge) -> None:
    vassal(bridge, "v.ini", "alice", "127.0.0.1:9377", rule_owner="bob")
    machine.run("sh", "-c", f"echo 'socket = 127.0.0.1:9379' >>{VASSALS}/v.ini")
    told = bridge.sync()
    assert "[rule-owner]" in told.stderr
    assert bridge.app("uwsgi", "127.0.0.1:9379")
    assert not machine.exists("/etc/systemd/system/vassal-v.socket")
    machine.run("chown", "alice", f"{VASSALS}/v.ini.socket")
    bridge.sync()
    assert bridge.app("uwsgi", "127.0.0.1:9377")


def test_a_neighbours_symlink_is_no_vassal(machine: Machine, bridge: Bridge) -> None:
    real = vassal(bridge, "real.config", "alice", "@unused")
    machine.run("sh", "-c", f"echo 'socket = 127.0.0.1:9380' >>{real}")
    machine.run("ln", "-s", real, f"{VASSALS}/link.ini")
    machine.run("chown", "--no-dereference", "bob", f"{VASSALS}/link.ini")
    assert "[link-owner]" in bridge.sync(status=1).stderr
    assert not machine.exists("/etc/systemd/system/vassal-link.service")
    machine.run("chown", "--no-dereference", "alice", f"{VASSALS}/link.ini")
    bridge.sync()
    assert machine.exists("/etc/systemd/system/vassal-link.service")


def test_a_service_refuses_a_config_that_is_no_longer_its_users(machine: Machine, bridge: Bridge) -> None:
    path = vassal(bridge, "v.ini", "alice", "127.0.0.1:9378")
    bridge.sync()
    # The bridge does not run: the unit still says User=alice.
    machine.remove(path)
    bridge.vassal("v.ini", "[uwsgi]\nexec-asap = touch /tmp/as-alice\n", address="127.0.0.1:9378")
    machine.run("chown", "bob:bob", path)
    cursor = machine.journal_cursor()
    machine.run("systemctl", "start", "vassal-v.service", check=False)
    machine.wait_journal("does not belong to uid 4001", unit="vassal-v.service", since_cursor=cursor)
    assert not machine.exists("/tmp/as-alice")
    bridge.vassal("v.ini", address="127.0.0.1:9378")
    machine.run("chown", "bob:bob", path)
    bridge.sync()
    assert bridge.app("uwsgi", "127.0.0.1:9378")
    pid = machine.show("vassal-v.service", "MainPID")
    assert machine.run("stat", "-c", "%U", f"/proc/{pid}").stdout == "bob\n"
