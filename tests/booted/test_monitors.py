"""Vassals of a database: the whole way, with a script in place of the feeder and everything else real."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bridge.feeder.protocol import Begin, End, Entry, Message, Put, Remove, Row, Trouble, Well, encode

from .bridge import WATCH, Bridge, config
from .container import HERE
from .service import WATCH as SHIPPED_WATCH
from .service import Service
from .suite import COMMAND

if TYPE_CHECKING:
    from .machine import Machine

TOML = "/etc/monitors.toml"
UNIT = "emperor-bridge-monitor-fleet.service"
FIFO = "/run/script-feeder"
SCRIPT = "/usr/local/lib/script_feeder.py"
SECRET = "s3cretOfTheFleet"  # noqa: S105
MIRROR = "/var/lib/emperor-bridge"
IDLE = ("idle = 1", "die-on-idle = true", "cheap = true")


class Fleet:
    """The database that the script plays."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.machine = bridge.machine

    def say(self, *messages: Message) -> None:
        """Have the feeder say this."""
        self.machine.run("tee", FIFO, input=b"".join(map(encode, messages)))

    def answer(self, *rows: Row) -> None:
        """Have it say that these are all rows."""
        self.say(Begin(), *map(Entry, rows), End())

    def hears(self, pattern: str) -> None:
        """Wait until the feeder prints this."""
        self.machine.wait_journal(pattern, unit=UNIT, since_cursor=self.bridge.cursor)


def row(name: str, *lines: str, socket: str = "", ts: float = 1.0) -> Row:
    return Row(name=name, config=config(*lines), ts=ts, socket=socket)


@pytest.fixture
def fleet(machine: Machine, bridge: Bridge) -> Fleet:
    """A monitor of pg under the watch daemon, which has not answered yet."""
    prepare(machine, bridge)
    bridge.watch()
    made = Fleet(bridge)
    made.hears("^orders$")
    return made


def prepare(machine: Machine, bridge: Bridge, spec: str = "pg://host=db user=web") -> None:
    table = f'[[monitor]]\nname = "fleet"\nspec = "{spec}"\npassword-file = "/etc/fleet.secret"\n'
    machine.write_many({"/etc/fleet.secret": f"{SECRET}\n", TOML: table}, mode=0o600)
    machine.write(SCRIPT, (HERE / "script_feeder.py").read_text())
    drop_in = f"[Service]\nExecStart=\nExecStart=/usr/bin/python3 {SCRIPT}\n"
    folder = f"/etc/systemd/system/{UNIT}.d"
    machine.write(f"{folder}/script.conf", drop_in)
    machine.run("sh", "-c", f"rm -f {FIFO}; mkfifo -m 666 {FIFO}; chmod 666 {FIFO}")
    machine.cleanups.insert(
        0, lambda: machine.remove(TOML, SCRIPT, folder, FIFO, MIRROR, "/etc/fleet.secret", "/run/emperor-bridge")
    )
    bridge.options = ["--config", TOML]


def test_a_row_is_a_site_that_wakes_and_follows_its_row(bridge: Bridge, fleet: Fleet) -> None:
    machine = bridge.machine
    fleet.answer(row("wakes.ini", *IDLE, socket="/run/wakes.sock"), row("always.ini", "socket = 127.0.0.1:9301"))
    bridge.wait("wakes", "listening")
    bridge.wait("always", "running")
    first = bridge.app("uwsgi", "/run/wakes.sock")
    # Moved, and the other is gone.
    fleet.answer(row("wakes.ini", *IDLE, socket="/run/moved.sock"))
    bridge.told("always.ini: removed")
    machine.wait_unit("vassal-wakes.socket", "Listen", "[('Stream', '/run/moved.sock')]")
    assert bridge.app("uwsgi", "/run/moved.sock")["pid"] != first["pid"]
    assert machine.request("uwsgi", "127.0.0.1:9301").status is None
    # Now it runs always.
    fleet.answer(row("wakes.ini", "socket = /run/own.sock"))
    bridge.told("wakes.ini: changed, runs always")
    bridge.app("uwsgi", "/run/own.sock")


def test_a_changed_text_reloads_without_a_new_time(bridge: Bridge, fleet: Fleet) -> None:
    fleet.answer(row("app.ini", socket="/run/app.sock"))
    bridge.wait("app", "listening")
    bridge.app("uwsgi", "/run/app.sock")
    fleet.answer(row("app.ini", "procname-prefix = changed-", socket="/run/app.sock"))
    bridge.told("app.ini: reloaded")
    bridge.app("uwsgi", "/run/app.sock")
    assert any("changed-" in process.command for process in bridge.processes("app"))


def test_the_feeder_is_nobody_and_fenced(bridge: Bridge, fleet: Fleet) -> None:
    entry = bridge.machine.wait_journal("^started ", unit=UNIT, since_cursor=bridge.cursor)
    facts = json.loads(str(entry["MESSAGE"]).removeprefix("started "))
    assert int(facts["Uid"]) >= 61184
    assert (int(facts["CapEff"], 16), int(facts["CapBnd"], 16)) == (0, 0)
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
    fleet.answer()


def test_no_secret_is_anywhere(bridge: Bridge, fleet: Fleet) -> None:
    machine = bridge.machine
    fleet.answer(row("app.ini", f"env = PASSWORD={SECRET}", socket="/run/app.sock"))
    bridge.wait("app", "listening")
    fleet.say(Trouble(message="gone"))
    bridge.told("cannot be asked since")
    places = f"/etc/systemd /run {MIRROR}"
    as_nobody = machine.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "grep", "-rs", SECRET,
                            *places.split(), check=False).stdout  # fmt: skip
    as_root = machine.run("grep", "-rsl", "--exclude-dir=systemd", SECRET, "/etc/systemd", "/run/emperor-bridge",
                          "/run/systemd/transient", check=False).stdout  # fmt: skip
    shown = machine.run(
        "sh", "-c", f"ps axww -o args; systemctl show {UNIT} {WATCH}; journalctl --no-pager -o export"
    ).stdout
    told = bridge.run("status", "--json").stdout + bridge.run("check", "--json", status=None).stdout
    # What reads is among the processes, with the secret as its argument.
    assert as_nobody == as_root == ""
    assert SECRET not in shown
    assert SECRET not in told


def test_when_the_database_is_down_sites_go_on_and_start_at_boot(bridge: Bridge, fleet: Fleet) -> None:
    machine = bridge.machine
    fleet.answer(row("app.ini", socket="/run/app.sock"))
    bridge.wait("app", "listening")
    fleet.say(Trouble(message="no route to host", hint="see the cable"))
    entry = bridge.told("cannot be asked since")
    assert "pg:fleet: error: as of " in str(entry["MESSAGE"])
    machine.reboot()
    bridge.app("uwsgi", "/run/app.sock")
    # The daemon's feeder asks, and is not answered.
    bridge.cursor = None
    machine.run("mkfifo", "-m", "666", FIFO)
    machine.run("systemctl", "start", WATCH)
    fleet.hears("^orders$")
    bridge.app("uwsgi", "/run/app.sock")
    shown = bridge.run("status").stdout
    assert re.search(r"^pg:fleet: as of .*; cannot be asked since .*: no route to host$", shown, re.MULTILINE)
    state = bridge.status()["app.ini"]
    assert (state["monitor"], state["unreachable"]) == ("pg:fleet", "no route to host")
    fleet.say(Well())
    fleet.answer(row("app.ini", socket="/run/new.sock"))
    bridge.told("app.ini: changed, on demand at /run/new.sock")
    bridge.app("uwsgi", "/run/new.sock")


def test_single_changes_are_answered_and_outlive_a_kill(bridge: Bridge, fleet: Fleet) -> None:
    machine = bridge.machine
    fleet.say(
        Put(row=row("app.ini", socket="/run/app.sock"), id=1), Put(row=row("gone.ini", socket="/run/gone.sock"), id=2)
    )
    fleet.hears(r'^done {"id": 2}$')
    machine.run("systemctl", "kill", "--signal=KILL", WATCH)
    machine.wait_unit(UNIT, "ActiveState", "inactive")
    machine.run("systemctl", "reset-failed", WATCH, check=False)
    bridge.cursor = machine.journal_cursor()
    machine.run("systemctl", "start", WATCH)
    bridge.app("uwsgi", "/run/app.sock")
    bridge.app("uwsgi", "/run/gone.sock")
    fleet.hears("^orders$")
    fleet.say(Remove(name="gone.ini", id=1))
    bridge.told("gone.ini: removed")
    assert machine.request("uwsgi", "/run/gone.sock").status is None


def test_a_bad_row_is_told_of_and_what_it_was_goes_on(bridge: Bridge, fleet: Fleet) -> None:
    fleet.answer(row("app.ini", socket="/run/app.sock"))
    bridge.wait("app", "listening")
    bad = Row(name="app.ini", config="x", ts=float(1 << 64), socket="/run/app.sock")
    fleet.answer(bad, row("nodot", "x"), row("wrong.ini", socket="127.0.0.1:99999"))
    bridge.told(r"pg:fleet app.ini: error: .*\[row-ts\]")
    bridge.told(r"pg:fleet nodot: error: .*\[row-name\]")
    bridge.told(r"pg:fleet wrong.ini: error: .*\[rule-invalid\]")
    bridge.app("uwsgi", "/run/app.sock")


def test_most_vassals_gone_at_once_stay_and_can_start(bridge: Bridge, fleet: Fleet) -> None:
    rows = [row(f"app{number}.ini", socket=f"/run/app{number}.sock") for number in range(10)]
    fleet.answer(*rows)
    bridge.wait("app9", "listening")
    fleet.answer(*rows[:2])
    bridge.told("8 of 10 vassals of pg:fleet are gone at once")
    bridge.app("uwsgi", "/run/app9.sock")
    bridge.sync("--allow-mass-removal")
    assert bridge.machine.request("uwsgi", "/run/app9.sock").status is None
    bridge.app("uwsgi", "/run/app1.sock")


def test_sync_without_the_daemon_asks_once_and_goes_on_with_the_mirror(machine: Machine, bridge: Bridge) -> None:
    prepare(machine, bridge)
    fleet = Fleet(bridge)
    bridge.cursor = machine.journal_cursor()
    process = bridge.start("sync")
    fleet.hears("^orders$")
    fleet.answer(row("app.ini", socket="/run/app.sock"))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, (out, err)
    bridge.app("uwsgi", "/run/app.sock")
    machine.wait_unit(UNIT, "ActiveState", "inactive")
    # It says nothing this time.
    told = bridge.sync(status=1)
    assert "pg:fleet: error: as of " in told.stderr
    assert "it has not answered within 10 s" in told.stderr
    assert "1 vassal: nothing to do; 1 problem" in told.stdout
    bridge.app("uwsgi", "/run/app.sock")


def test_in_tyrant_mode_the_row_says_whose_it_is(machine: Machine, tenants: None, bridge: Bridge) -> None:
    del tenants
    prepare(machine, bridge)
    alice = int(machine.run("id", "-u", "alice").stdout)
    group = int(machine.run("id", "-g", "alice").stdout)
    bridge.options += ["--emperor-tyrant"]
    bridge.watch()
    fleet = Fleet(bridge)
    fleet.hears("^orders$")
    mine = Row(name="mine.ini", config=config(), ts=1.0, uid=alice, gid=group, socket=f"/run/vassals/{alice}/a.sock")
    roots = Row(name="roots.ini", config=config(), ts=1.0, uid=0, gid=0, socket="/run/vassals/0/a.sock")
    fleet.answer(mine, roots)
    bridge.told(r"pg:fleet roots.ini: error: .*\[row-owner\]")
    bridge.app("uwsgi", mine.socket)
    assert {int(machine.run("stat", "-c", "%u", f"/proc/{one.pid}").stdout) for one in bridge.processes("mine")} == {
        alice
    }
    text = machine.run("find", MIRROR, "-path", "*/configs/mine.ini").stdout.strip()
    for user, can_read in (("alice", True), ("bob", False)):
        assert (machine.run("cat", text, user=user, check=False).returncode == 0) == can_read


def test_the_shipped_unit_asks_from_behind_its_fence(machine: Machine, bridge: Bridge) -> None:
    prepare(machine, bridge)
    service = Service(bridge)
    service.install()
    service.drop_in(SHIPPED_WATCH, "venv", f"[Service]\nExecStart=\nExecStart={COMMAND} watch --config {TOML}\n")
    machine.run("systemctl", "daemon-reload")
    bridge.cursor = machine.journal_cursor()
    service.start()
    fleet = Fleet(bridge)
    fleet.hears("^orders$")
    fleet.answer(row("app.ini", socket="/run/app.sock"))
    machine.wait_journal("app.ini: added", unit=SHIPPED_WATCH, since_cursor=bridge.cursor)
    bridge.app("uwsgi", "/run/app.sock")
    machine.run("systemctl", "stop", SHIPPED_WATCH)
    machine.wait_unit(UNIT, "ActiveState", "inactive")
    bridge.app("uwsgi", "/run/app.sock")


def test_a_users_own_manager_has_monitors_too(machine: Machine, bridge: Bridge) -> None:
    prepare(machine, bridge)
    machine.add_user("dora")
    machine.cleanups.append(lambda: machine.remove_user("dora"))
    home = "/home/dora"
    drop_in = machine.run("cat", f"/etc/systemd/system/{UNIT}.d/script.conf").stdout
    table = '[[monitor]]\nname = "fleet"\nspec = "pg://host=db"\n'
    machine.run("mkdir", "-p", f"{home}/.config/systemd/user/{UNIT}.d", user="dora")
    machine.write_many(
        {f"{home}/.config/systemd/user/{UNIT}.d/script.conf": drop_in, f"{home}/fleet.toml": table}, owner="dora"
    )
    mine = Bridge(machine, options=["--config", f"{home}/fleet.toml"], user="dora")
    cursor = machine.journal_cursor()
    process = mine.start("sync")
    machine.wait_journal("^orders$", since_cursor=cursor)
    Fleet(mine).answer(row("app.ini", socket=f"{home}/app.sock"))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, (out, err)
    mine.app("uwsgi", f"{home}/app.sock")
    texts = machine.run(
        "find", home, "-path", "*/.local/state/emperor-bridge/*/configs/app.ini", "-printf", "%u %m"
    ).stdout
    assert texts == "dora 600"
    mine.run("remove", "--yes")
    assert not machine.exists(f"{home}/.local/state/emperor-bridge/monitors")


def test_a_path_follows_the_rule_in_force_its_file_and_its_messages(machine: Machine, bridge: Bridge) -> None:
    prepare(machine, bridge, "amqp://mq")
    path = bridge.vassal("path.ini", address="/run/path.sock")
    bridge.options += ["--emperor-on-demand-extension", ".socket"]
    bridge.watch()
    fleet = Fleet(bridge)
    fleet.hears("^orders$")
    message = Row(name=path, ts=1.0, has_rule=False)
    fleet.say(Put(row=message, id=1))
    bridge.told(f"{path}: added, on demand at /run/path.sock")
    bridge.app("uwsgi", "/run/path.sock")
    # Published again.
    cursor = machine.journal_cursor()
    fleet.say(Put(row=replace(message, ts=2.0), id=2))
    bridge.told(f"{path}: reloaded", cursor)
    # The file itself, and its rule.
    cursor = machine.journal_cursor()
    bridge.vassal("path.ini", config("procname-prefix = new-"), address="/run/path.sock")
    bridge.told(f"{path}: reloaded", cursor)
    machine.write(f"{path}.socket", "/run/moved.sock\n")
    bridge.told(f"{path}: changed, on demand at /run/moved.sock")
    bridge.app("uwsgi", "/run/moved.sock")
    fleet.say(Remove(name=path, id=3))
    bridge.told(f"{path}: removed")
