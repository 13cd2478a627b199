"""In tyrant mode nobody takes a neighbour's name or address, and the neighbour's site answers all the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .bridge import VASSALS, WATCH, Bridge, config
from .machine import message
from .process import CommandError, kill
from .steady import asked
from .suite import PYTHON

if TYPE_CHECKING:
    from .machine import Machine

SITE = "127.0.0.1:9701"
YAML = "uwsgi:\n  plugin: python3\n  wsgi-file: /srv/app/app.py\n  master: true\n"
JSON = '{"uwsgi": {"plugin": "python3", "wsgi-file": "/srv/app/app.py", "master": true}}\n'
TAKE = {
    "the name": ("v.json", JSON, "127.0.0.1:9702", "name-conflict"),
    "the name, running always": ("v.yml", "uwsgi:\n  master: true\n", None, "name-conflict"),
    "the address": ("m.ini", config(), SITE, "address-conflict"),
    "the port on all addresses": ("m.ini", config(), ":9701", "address-conflict"),
    "both": ("v.json", JSON, SITE, "name-conflict"),
}


@pytest.fixture
def shared(tenants: None, bridge: Bridge) -> Bridge:
    """A folder that both tenants write to, with a vassal of alice's that is served."""
    del tenants
    bridge.options.append("--emperor-tyrant")
    bridge.machine.run("chmod", "1777", VASSALS)
    put(bridge, "alice", "v.ini", config(), SITE)
    return bridge


def put(bridge: Bridge, owner: str, name: str, text: str, address: str | None, *, folder: str = VASSALS) -> str:
    """Have a tenant write a vassal and its rule."""
    path = f"{folder}/{name}"
    files = {f"{path}.socket": f"{address}\n"} if address else {}
    bridge.machine.write_many({**files, path: text}, owner=owner)
    return path


def rename(bridge: Bridge, old: str, new: str) -> None:
    """Have alice rename her config and its rule, on a busy machine."""
    script = 'mv "$1.socket" "$2.socket"; sleep 0.05; mv "$1" "$2"'
    bridge.machine.run("sh", "-ec", script, "sh", f"{VASSALS}/{old}", f"{VASSALS}/{new}", user="alice")


def uid_of(machine: Machine, vassal: str) -> str:
    return machine.show(f"vassal-{vassal}.service", "User")


@pytest.mark.parametrize("way", TAKE)
def test_a_newcomer_takes_nothing(machine: Machine, shared: Bridge, way: str) -> None:
    name, text, address, code = TAKE[way]
    shared.sync()
    before = shared.app("uwsgi", SITE)
    with asked(machine, SITE):
        path = put(shared, "bob", name, text, address)
        for _ in range(2):
            said = shared.sync(status=1)
            assert {line.partition(":")[0] for line in said.stderr.splitlines()} == {path}
            assert f"[{code}]" in said.stderr
        assert shared.app("uwsgi", SITE) == before
        # What the last run left is lost: the units are what is known.
        machine.remove("/run/emperor-bridge")
        shared.sync(status=1)
        rows = shared.status()
    assert (rows["v.ini"]["state"], rows["v.ini"]["problem"]) == ("running", None)
    assert rows[name]["state"] == "refused"
    # Without that note a run takes every config to be new: the app was reloaded.
    assert shared.app("uwsgi", SITE)["ppid"] == before["ppid"]
    assert uid_of(machine, "v") == "4001"


def test_the_daemon_refuses_newcomers_and_goes_on_with_the_incumbent(machine: Machine, shared: Bridge) -> None:
    shared.watch()
    shared.told(r"^v\.ini: added")
    before = shared.app("uwsgi", SITE)
    with asked(machine, SITE):
        for name, text, address, code in TAKE.values():
            cursor = machine.journal_cursor()
            put(shared, "bob", name, text, address)
            shared.told(rf"/{name}: error: .*\[{code}\]", cursor)
            assert [entry for entry in machine.journal(cursor, WATCH) if "v.ini: reloaded, its" in message(entry)] == []
            # The incumbent's own change is applied beside it.
            cursor = machine.journal_cursor()
            put(shared, "alice", "v.ini", config(f"procname-master = {cursor[-8:]}"), SITE)
            shared.told(r"^v\.ini: reloaded", cursor)
            machine.run("rm", "-f", f"{VASSALS}/{name}", f"{VASSALS}/{name}.socket", user="bob")
        cursor = machine.journal_cursor()
        put(shared, "bob", "m.ini", config(), SITE)
        shared.told(r"/m\.ini: error: .*\[address-conflict\]", cursor)
        cursor = machine.journal_cursor()
        machine.run("systemctl", "restart", WATCH)
        shared.told(r"/m\.ini: error: .*\[address-conflict\]", cursor)
    assert shared.app("uwsgi", SITE)["ppid"] == before["ppid"]


REPLACE = """
import os, sys, time
path, text = sys.argv[1:]
for number in range(200):
    os.unlink(path)
    time.sleep(0.015)
    with open(path, "w") as file:
        file.write(f"{text}# {number}\\n")
    time.sleep(0.02)
"""
TOUCH = """
import sys, time
while True:
    with open(sys.argv[1], "a") as file:
        file.write("# again\\n")
    time.sleep(0.01)
"""


def test_a_config_that_is_replaced_again_and_again_loses_nothing(machine: Machine, shared: Bridge) -> None:
    """Its owner removes it each time, as git does, while a newcomer has the daemon run all the time."""
    shared.watch()
    shared.told(r"^v\.ini: added")
    before = shared.app("uwsgi", SITE)
    path = put(shared, "bob", "m.ini", config(), SITE)
    shared.told(r"/m\.ini: error: .*\[address-conflict\]")
    cursor = machine.journal_cursor()
    with asked(machine, SITE):
        touching = machine.popen(PYTHON, "-c", TOUCH, path, user="bob")
        try:
            machine.run(PYTHON, "-c", REPLACE, f"{VASSALS}/v.ini", config(), user="alice", timeout=120)
        finally:
            kill(touching)
            machine.run("pkill", "--uid", "bob", "--full", "again", check=False)
        put(shared, "alice", "v.ini", config("procname-master = last"), SITE)
        shared.told(r"^v\.ini: reloaded", cursor)
    assert [entry for entry in machine.journal(cursor, WATCH) if "v.ini: removed" in message(entry)] == []
    assert shared.app("uwsgi", SITE)["ppid"] == before["ppid"]


def test_after_a_reboot_the_incumbent_is_the_same(machine: Machine, shared: Bridge) -> None:
    shared.sync()
    put(shared, "bob", "v.json", JSON, SITE)
    put(shared, "bob", "m.ini", config(), SITE)
    shared.sync(status=1)
    machine.reboot()
    shared.wait("v", "listening")
    said = shared.sync(status=1).stderr
    assert {line.partition(":")[0] for line in said.splitlines()} == {f"{VASSALS}/v.json", f"{VASSALS}/m.ini"}
    shared.app("uwsgi", SITE)
    assert uid_of(machine, "v") == "4001"


@pytest.mark.parametrize(("old", "new", "verb"), [("v.ini", "w.ini", "added"), ("v.yml", "v.yaml", "changed")])
@pytest.mark.parametrize("is_watched", [False, True])
def test_a_renamed_file_is_served_in_the_same_run(
    machine: Machine, shared: Bridge, old: str, new: str, verb: str, *, is_watched: bool
) -> None:
    """A newcomer waits for just this moment."""
    if old == "v.yml":
        machine.remove(f"{VASSALS}/v.ini", f"{VASSALS}/v.ini.socket")
        put(shared, "alice", old, YAML, SITE)
    if is_watched:
        shared.watch()
        shared.told(rf"^{old}: added")
    else:
        shared.sync()
    put(shared, "bob", "m.ini", config(), SITE)
    put(shared, "bob", "v.xml", "<uwsgi><master/></uwsgi>", "127.0.0.1:9703")
    if is_watched:
        shared.told(r"/m\.ini: error: .*\[address-conflict\]")
        cursor = machine.journal_cursor()
        rename(shared, old, new)
        shared.told(rf"^{new}: {verb}", cursor)
    else:
        shared.sync(status=1)
        rename(shared, old, new)
        said = shared.sync(status=1)
        assert f"{new}: {verb}" in said.stdout
        assert f"{VASSALS}/m.ini: error: its address {SITE} is also wanted by" in said.stderr
    with asked(machine, SITE):
        assert uid_of(machine, new.partition(".")[0]) == "4001"


def test_a_file_that_is_renamed_to_a_neighbours_name_leaves_its_site_up(machine: Machine, shared: Bridge) -> None:
    put(shared, "bob", "w.json", JSON, "127.0.0.1:9702")
    shared.sync()
    before = shared.app("uwsgi", SITE)
    with asked(machine, SITE, "127.0.0.1:9702"):
        rename(shared, "v.ini", "w.ini")
        said = shared.sync(status=1).stderr
        assert said.startswith(f"{VASSALS}/w.ini: error: the unit name vassal-w is also wanted by {VASSALS}/w.json")
    assert shared.app("uwsgi", SITE) == before
    rename(shared, "w.ini", "x.ini")
    shared.sync()
    assert (shared.app("uwsgi", SITE)["pid"] == before["pid"], uid_of(machine, "x")) == (False, "4001")


@pytest.mark.parametrize("is_first", [True, False])
def test_a_link_to_a_neighbours_folder_takes_nothing(
    machine: Machine, tenants: None, bridge: Bridge, *, is_first: bool
) -> None:
    del tenants
    bridge.options = ["--emperor", "glob:///srv/homes/*/vassals/*.ini", "--emperor-on-demand-extension", ".socket"]
    bridge.options.append("--emperor-tyrant")
    machine.cleanups.append(lambda: machine.remove("/srv/homes"))
    for name in ("alice", "bob"):
        machine.run("install", "-d", "-o", name, f"/srv/homes/{name}")
    put(bridge, "alice", "v.ini", config(), SITE, folder="/srv/homes/alice/vassals")
    link = ("ln", "-sn", "../alice/vassals", "/srv/homes/bob/vassals")
    if is_first:
        machine.run(*link, user="bob")
    result = bridge.sync(status=None)
    with asked(machine, SITE):
        if not is_first:
            machine.run(*link, user="bob")
            result = bridge.sync(status=None)
        assert "/srv/homes/alice" not in result.stderr.partition(": error:")[0]
        said = bridge.sync(status=None).stderr
        assert all(line.startswith("/srv/homes/bob/") for line in said.splitlines())
        units = machine.run("systemctl", "list-units", "--plain", "--no-legend", "vassal-*.socket").stdout
        assert [line.split()[0] for line in units.splitlines()] == ["vassal-srv-homes-alice-vassals-v.socket"]


@pytest.mark.usefixtures("tenants")
def test_at_the_first_run_roots_config_comes_first(machine: Machine, bridge: Bridge) -> None:
    machine.run("chmod", "1777", VASSALS)
    put(bridge, "bob", "a.ini", config(), SITE)
    put(bridge, "bob", "v.json", JSON, "127.0.0.1:9702")
    put(bridge, "root", "v.ini", config(), SITE)
    said = bridge.sync(status=1).stderr
    assert {line.partition(":")[0] for line in said.splitlines()} == {f"{VASSALS}/a.ini", f"{VASSALS}/v.json"}
    bridge.app("uwsgi", SITE)
    with pytest.raises(CommandError):
        machine.run("systemctl", "cat", "vassal-a.socket")


def test_a_rule_that_is_renamed_before_its_config_is_in_force_in_the_end(machine: Machine, shared: Bridge) -> None:
    """In between, the config has no rule: it is taken to run always, and the address is nobody's."""
    shared.watch()
    shared.app("uwsgi", SITE)
    cursor = machine.journal_cursor()
    machine.run("mv", f"{VASSALS}/v.ini.socket", f"{VASSALS}/w.ini.socket", user="alice")
    shared.told(r"v\.ini: changed", since_cursor=cursor)
    machine.run("mv", f"{VASSALS}/v.ini", f"{VASSALS}/w.ini", user="alice")
    shared.wait("w", "listening")
    assert shared.app("uwsgi", SITE)
    assert machine.show("vassal-v.service", "LoadState") == "not-found"
    assert uid_of(machine, "w") == "4001"
