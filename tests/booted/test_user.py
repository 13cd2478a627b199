"""An ordinary user with --user, and those who have no manager, or no right, to be served by."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from .bridge import VASSALS, WATCH, Bridge, config
from .container import HERE
from .database import Database
from .process import kill
from .suite import COMMAND, PYTHON

if TYPE_CHECKING:
    from .machine import Machine, Result

HOME = "/home/ursula"
FOLDER = f"{HOME}/vassals"
SOCKET = f"{HOME}/on demand.sock"
UNITS = f"{HOME}/.config/systemd/user"
MONITOR = """\
[[monitor]]
name = "fleet"
spec = "pg://dbname=postgres;SELECT name, config, ts, uid, gid, socket FROM vassals"
"""
SEEN_BY_ALL = "find /etc/systemd /run/systemd/system /run/emperor-bridge -xdev -printf '%p %T@ %y\\n' 2>&1 | sort"


@pytest.fixture
def ursula(bridge: Bridge) -> Bridge:
    """The bridge of an ordinary user, with the settings in the user's own bridge.toml and two vassals."""
    machine = bridge.machine
    machine.add_user("ursula")
    machine.cleanups.append(lambda: machine.remove_user("ursula"))
    toml = f'emperor = "{FOLDER}"\nemperor-on-demand-extension = ".socket"\n'
    text = config("idle = 1", "die-on-idle = true")
    files: dict[str, str | bytes] = {
        f"{HOME}/.config/emperor-bridge/bridge.toml": toml,
        f"{FOLDER}/on-demand.ini": text,
        f"{FOLDER}/on-demand.ini.socket": SOCKET,
        f"{FOLDER}/always.ini": config("socket = always.sock", master=False),
    }
    machine.run("mkdir", "-p", f"{HOME}/.config/emperor-bridge", FOLDER, user="ursula")
    machine.write_many(files, owner="ursula")
    mine = Bridge(machine, options=[], user="ursula")
    machine.cleanups.append(lambda: mine.run("remove", "--yes", status=None))
    return mine


def one_sentence(result: Result, *words: str, status: int = 1) -> None:
    assert result.returncode == status, result
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr


def units(machine: Machine) -> list[str]:
    return machine.run("find", UNITS, "-type", "f", "-printf", "%f\n", check=False).stdout.split()


def test_a_users_vassals_live_their_whole_life_in_the_users_manager(ursula: Bridge) -> None:
    machine = ursula.machine
    before = machine.run("sh", "-c", SEEN_BY_ALL).stdout
    label = r"on\x2ddemand"
    ursula.sync()
    assert {f"vassal-{label}.socket", f"vassal-{label}.service", "vassal-always.service"} < set(units(machine))
    assert ursula.processes(label) == []
    first = ursula.app("uwsgi", SOCKET)
    rows = ursula.status()
    assert (rows["on-demand.ini"]["state"], rows["on-demand.ini"]["socket"]) == ("running", SOCKET)
    assert machine.run("stat", "-c", "%U", f"/proc/{first['pid']}").stdout == "ursula\n"
    ursula.wait(label, "dead")
    ursula.wait(label, "listening")
    assert ursula.status()["on-demand.ini"]["state"] == "listening"
    assert ursula.app("uwsgi", SOCKET)["ppid"] != first["ppid"]
    assert ursula.app("uwsgi", f"{FOLDER}/always.sock")
    assert "nothing to do" in ursula.sync().stdout
    ursula.run("remove", "--yes")
    assert units(machine) == []
    assert not machine.exists(SOCKET)
    assert ursula.status() == {}
    assert machine.run("sh", "-c", SEEN_BY_ALL).stdout == before


def test_a_users_vassals_return_with_the_users_manager(ursula: Bridge) -> None:
    machine = ursula.machine
    ursula.sync()
    uid = machine.run("id", "-u", "ursula").stdout.strip()
    machine.run("systemctl", "restart", f"user@{uid}.service")
    ursula.wait(r"on\x2ddemand", "listening")
    ursula.wait("always", "running")
    assert ursula.processes(r"on\x2ddemand") == []
    assert ursula.app("uwsgi", SOCKET)
    assert "nothing to do" in ursula.sync().stdout


def test_files_the_user_may_not_read_are_refused_and_what_ran_goes_on(ursula: Bridge) -> None:
    machine = ursula.machine
    ursula.sync()
    pid = ursula.app("uwsgi", f"{FOLDER}/always.sock")["pid"]
    machine.run("chmod", "000", f"{FOLDER}/always.ini", f"{FOLDER}/on-demand.ini.socket")
    machine.run("ln", "-s", "/etc/shadow", f"{FOLDER}/shadow.ini")
    lines = sorted(ursula.sync(status=1).stderr.splitlines())
    assert [line.split(" (")[0] for line in lines] == [
        f"{FOLDER}/always.ini: error: cannot be read: Permission denied",
        f"{FOLDER}/on-demand.ini.socket: error: the rule file cannot be read: Permission denied",
        f"{FOLDER}/shadow.ini: error: cannot be read: Permission denied",
    ]
    assert ursula.app("uwsgi", f"{FOLDER}/always.sock")["pid"] == pid
    assert ursula.app("uwsgi", SOCKET)
    machine.run("chmod", "000", FOLDER)
    said = ursula.sync(status=1).stderr
    assert f"{FOLDER}: error: the directory of vassals cannot be read: Permission denied" in said
    assert ursula.app("uwsgi", SOCKET)
    machine.run("chmod", "000", f"{HOME}/.config/emperor-bridge/bridge.toml")
    one_sentence(ursula.run("sync", status=None), "bridge.toml", "Permission denied", status=2)


def test_without_a_session_of_its_own_user_says_so(ursula: Bridge) -> None:
    machine = ursula.machine
    bare = ["env", "--unset=XDG_RUNTIME_DIR", "--unset=DBUS_SESSION_BUS_ADDRESS"]
    for name in ("sync", "check", "status", "remove"):
        result = machine.run(*bare, *ursula.command(name), user="ursula", check=False)
        one_sentence(result, "XDG_RUNTIME_DIR is not set", "loginctl enable-linger")
    gone = ["env", "XDG_RUNTIME_DIR=/run/user/1", "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1/bus"]
    result = machine.run(*gone, *ursula.command("sync"), user="ursula", check=False)
    one_sentence(result, "your own service manager cannot be reached", "systemctl --user status")
    assert units(machine) == []


@pytest.mark.usefixtures("ursula")
def test_an_ordinary_user_cannot_change_the_system_and_is_told_so(bridge: Bridge) -> None:
    machine = bridge.machine
    bridge.vassal("good.ini", config(master=False), address="/run/user-good.sock")
    before = machine.run("sh", "-c", SEEN_BY_ALL).stdout
    options = ["--emperor", VASSALS, "--emperor-on-demand-extension", ".socket"]
    one_sentence(machine.run(COMMAND, "sync", *options, user="ursula", check=False), "Permission denied", "--user")
    assert machine.run("sh", "-c", SEEN_BY_ALL).stdout == before
    bridge.sync()
    before = machine.run("sh", "-c", SEEN_BY_ALL).stdout
    bridge.vassal("more.ini")
    for command in (["sync", *options], ["remove", "--yes"]):
        one_sentence(machine.run(COMMAND, *command, user="ursula", check=False), "Permission denied", "--user")
    assert machine.run("sh", "-c", SEEN_BY_ALL).stdout == before
    assert bridge.app("uwsgi", "/run/user-good.sock")
    shown = machine.run(COMMAND, "sync", "--dry-run", *options, user="ursula")
    assert "more.ini: would be added" in shown.stdout


def test_where_no_systemd_can_be_reached_check_works_and_the_rest_says_why(bridge: Bridge) -> None:
    machine = bridge.machine
    bridge.vassal("good.ini", config(master=False), address="/run/user-good.sock")
    hide = 'mount -t tmpfs none /run/dbus; mount -t tmpfs none /run/systemd; exec "$@"'
    apart = ["unshare", "--mount", "sh", "-ec", hide, "sh"]
    for name in ("sync", "status", "remove"):
        result = machine.run(*apart, *bridge.command(name), check=False)
        one_sentence(result, "systemd cannot be reached over D-Bus", "the host must run systemd")
    one_sentence(machine.run(*apart, *bridge.command("sync", "--dry-run"), check=False), "cannot be reached")
    result = machine.run(*apart, *bridge.command("check"))
    assert (result.stdout, result.stderr) == ("", "")
    assert "[Socket]" in machine.run(*apart, *bridge.command("render", "good.ini")).stdout
    bridge.vassal("bad.ini", address=":0")
    result = machine.run(*apart, *bridge.command("check"), check=False)
    assert result.returncode == 1
    assert result.stdout.startswith(f"{VASSALS}/bad.ini.socket:1: error: port 0 is out of range")
    assert not machine.exists("/run/emperor-bridge")


def test_a_bus_without_systemd_is_as_good_as_none(bridge: Bridge) -> None:
    """As in a container that runs D-Bus for something else."""
    machine = bridge.machine
    bridge.vassal("good.ini", config(master=False), address="/run/user-good.sock")
    script = 'export DBUS_SYSTEM_BUS_ADDRESS="$DBUS_SESSION_BUS_ADDRESS"; exec "$@"'
    alone = ["dbus-run-session", "--", "sh", "-c", script, "sh"]
    result = machine.run(*alone, *bridge.command("sync"), check=False)
    said = [line for line in result.stderr.splitlines() if not line.startswith("dbus-daemon")]
    assert (result.returncode, len(said)) == (1, 1)
    assert said[0].startswith("error: systemd cannot be reached over D-Bus: ")
    machine.run(*alone, *bridge.command("check"))


def test_a_users_vassal_that_cannot_start_waits_for_its_pause(ursula: Bridge) -> None:
    machine = ursula.machine
    drop_ins = {"env": "[Service]\nEnvironmentFile=%h/file", "closed": "[Unit]\nConditionPathExists=%h/file"}
    files = {f"{UNITS}/vassal-{name}.service.d/x.conf": f"{text}\n" for name, text in drop_ins.items()}
    machine.run("mkdir", "-p", UNITS, user="ursula")
    machine.write_many(files, owner="ursula")
    for name in drop_ins:
        ini = f"{FOLDER}/{name}.ini"
        machine.write_many({f"{ini}.socket": f"{HOME}/{name}", ini: config()}, owner="ursula")
    ursula.sync()
    for name in drop_ins:
        asked = machine.popen(PYTHON, str(HERE / "client.py"), "--timeout=60", "uwsgi", f"{HOME}/{name}", user="ursula")
        machine.cleanups.append(partial(kill, asked))
        machine.wait_unit(f"pause-vassal-{name}.service", "ActiveState", "activating", user="ursula")
    assert {ursula.status()[f"{name}.ini"]["state"] for name in drop_ins} == {"failed"}
    machine.write(f"{HOME}/file", "", owner="ursula")
    for name in drop_ins:
        machine.wait_unit(f"vassal-{name}.socket", "ActiveState", "active", user="ursula")
        ursula.app("uwsgi", f"{HOME}/{name}")


def test_a_users_own_database_is_followed_by_watch_and_asked_by_sync(ursula: Bridge) -> None:
    machine = ursula.machine
    database = Database(machine)
    database.make()
    machine.cleanups.insert(0, database.remove)
    # Nobody needs a password: the server knows whose process asks.
    database.sql(
        "CREATE TABLE vassals (name text, config text, ts timestamptz DEFAULT now(), uid int, gid int, socket text);"
        "CREATE ROLE ursula LOGIN; GRANT SELECT ON vassals TO ursula;" + machine.run(COMMAND, "pg-trigger").stdout
    )
    toml = f"{HOME}/fleet.toml"
    machine.write(toml, MONITOR, owner="ursula")
    ursula.options = ["--config", toml]
    assert "monitor-user" not in ursula.run("check").stdout
    watch = ["systemd-run", "--user", "--quiet", f"--unit={WATCH}", "--property=Type=notify"]
    cursor = machine.journal_cursor()
    machine.run(*watch, *ursula.command("watch"), user="ursula")
    database.put("a.ini", f"{HOME}/a.sock", "idle = 1", "die-on-idle = true")
    machine.wait_journal(r"^a\.ini: added, on demand", since_cursor=cursor)
    first = ursula.app("uwsgi", f"{HOME}/a.sock")
    assert machine.run("stat", "-c", "%U", f"/proc/{first['pid']}").stdout == "ursula\n"
    ursula.wait("a", "dead")
    assert ursula.app("uwsgi", f"{HOME}/a.sock")["ppid"] != first["ppid"]
    feeder = "emperor-bridge-monitor-fleet.service"
    machine.wait_unit(feeder, "ActiveState", "active", user="ursula")
    machine.run("systemctl", "--user", "stop", WATCH, user="ursula")
    machine.wait_unit(feeder, "ActiveState", "inactive", user="ursula")

    database.put("b.ini", f"{HOME}/b.sock")
    database.sql("DELETE FROM vassals WHERE name = 'a.ini';")
    ursula.sync()
    assert ursula.app("uwsgi", f"{HOME}/b.sock")
    assert list(ursula.status()) == ["b.ini"]
    machine.write(toml, f'{MONITOR}user = "postgres"\n', owner="ursula")
    assert "cannot run its process as postgres" in ursula.sync(status=1).stderr
    assert ursula.app("uwsgi", f"{HOME}/b.sock")
