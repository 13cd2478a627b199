"""Several bridge.toml on one machine: each works on its own vassals, and the others' sites answer all the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .bridge import VASSALS, WATCH, Bridge, config
from .machine import message
from .steady import asked

if TYPE_CHECKING:
    from .machine import Machine

ETC = "/etc/emperor-bridge"
USUAL, SECOND = f"{ETC}/bridge.toml", f"{ETC}/second.toml"
SECOND_WATCH = "second-watch.service"
UNITS = "/etc/systemd/system"
# Has the units as the version before made them.
FORGET = """
find /etc/systemd/system -type f -name 'vassal*' -exec \
    sed -i -e '/^\\(# \\)\\?Configuration=/d' -e 's/Format="[0-9]*"/Format="2"/' {} +
rm -r /run/emperor-bridge
systemctl daemon-reload
"""
FIRST_SITES, SECOND_SITES = ("/run/one.sock", "127.0.0.1:9711"), ("/run/two.sock", "127.0.0.1:9712")


def toml(machine: Machine, path: str, folder: str) -> Bridge:
    """Write a bridge.toml; return the bridge that works under it."""
    machine.write(path, f'emperor = "{folder}"\nemperor-on-demand-extension = ".socket"\n')
    machine.cleanups.append(lambda: machine.remove(path))
    made = Bridge(machine, options=[] if path == USUAL else ["--config", path])
    machine.cleanups.append(made.clear)
    return made


@pytest.fixture
def both(machine: Machine, bridge: Bridge) -> tuple[Bridge, Bridge]:
    """The usual configuration and a second one, each with a vassal that waits and one that runs always."""
    first, second = toml(machine, USUAL, VASSALS), toml(machine, SECOND, "/srv/second")
    machine.cleanups.append(lambda: machine.remove("/srv/second"))
    bridge.vassal("one.ini", address=FIRST_SITES[0])
    bridge.vassal("always-one.ini", config(f"socket = {FIRST_SITES[1]}"))
    bridge.vassal("two.ini", address=SECOND_SITES[0], folder="/srv/second")
    bridge.vassal("always-two.ini", config(f"socket = {SECOND_SITES[1]}"), folder="/srv/second")
    return first, second


def pids(bridge: Bridge, addresses: tuple[str, ...]) -> list[int]:
    return [bridge.app("uwsgi", address)["pid"] for address in addresses]


def second_watch(machine: Machine, second: Bridge) -> None:
    """Run the daemon of the second configuration until the test ends."""
    command = " ".join(second.command("watch"))
    machine.write(f"{UNITS}/{SECOND_WATCH}", f"[Service]\nType=notify\nExecStart={command}\n")
    machine.cleanups.append(lambda: machine.run("systemctl", "daemon-reload"))
    machine.cleanups.append(lambda: machine.remove(f"{UNITS}/{SECOND_WATCH}"))
    machine.cleanups.append(lambda: machine.run("systemctl", "stop", SECOND_WATCH))
    machine.run("systemctl", "start", SECOND_WATCH)


def test_each_syncs_twice_and_one_is_removed(machine: Machine, both: tuple[Bridge, Bridge]) -> None:
    first, second = both
    first.sync()
    before = pids(first, FIRST_SITES)
    with asked(machine, *FIRST_SITES):
        assert second.sync().stdout.count(": added") == 2
        with asked(machine, *SECOND_SITES):
            running = pids(first, SECOND_SITES)
            for bridge in (first, second):
                assert bridge.sync().stdout == "2 vassals: nothing to do\n"
                assert bridge.run("check").stdout == ""
            assert set(first.status()) == {"one.ini", "always-one.ini"}
            assert set(second.status()) == {"two.ini", "always-two.ini"}
            assert {row["state"] for row in second.status().values()} == {"running"}
            assert "there is no vassal 'one'" in second.run("retry", "one", status=1).stderr
            second.run("retry", "two")
            assert pids(first, SECOND_SITES) == running
        assert second.run("remove", "--yes").stdout.splitlines()[-1] == "2 vassals: 2 removed"
        assert second.run("remove", "--yes").stdout == "nothing to remove\n"
        assert first.sync().stdout == "2 vassals: nothing to do\n"
    assert pids(first, FIRST_SITES) == before
    second.sync()
    # The other way round: the second needs the units that all share.
    with asked(machine, *SECOND_SITES):
        first.run("remove", "--yes")
        assert second.sync().stdout == "2 vassals: nothing to do\n"
    machine.reboot()
    second.wait("two", "listening")
    second.app("uwsgi", SECOND_SITES[0])
    second.run("remove", "--yes")
    assert machine.run("find", UNITS, "-name", "vassal*").stdout == ""
    assert not machine.exists("/run/emperor-bridge")


def test_neither_takes_a_name_or_an_address_of_the_other(machine: Machine, both: tuple[Bridge, Bridge]) -> None:
    first, second = both
    first.sync()
    second.sync()
    with asked(machine, *FIRST_SITES, *SECOND_SITES):
        second.vassal("one.ini", address="/run/other.sock", folder="/srv/second")
        second.vassal("thief.ini", address=FIRST_SITES[0], folder="/srv/second")
        for _ in range(2):
            said = second.sync(status=1).stderr
            assert "the unit name vassal-one is also wanted by /srv/vassals/one.ini" in said
            assert "/srv/second/thief.ini: error: " in said
            assert first.sync().stdout == "2 vassals: nothing to do\n"


def test_two_daemons_at_once(machine: Machine, both: tuple[Bridge, Bridge]) -> None:
    first, second = both
    first.watch()
    second_watch(machine, second)
    cursor = machine.journal_cursor()
    with asked(machine, *FIRST_SITES, *SECOND_SITES):
        for number in range(3):
            first.vassal(f"n{number}.ini", address=f"/run/n{number}.sock")
            second.vassal(f"m{number}.ini", address=f"/run/m{number}.sock", folder="/srv/second")
        for number in range(3):
            first.told(rf"^n{number}\.ini: added", cursor)
            machine.wait_journal(rf"^m{number}\.ini: added", unit=SECOND_WATCH, since_cursor=cursor)
        first.app("uwsgi", "/run/n0.sock")
        first.app("uwsgi", "/run/m0.sock")
        first.told(r"^n0\.ini: running", cursor)
        machine.wait_journal(r"^m0\.ini: running", unit=SECOND_WATCH, since_cursor=cursor)
        # A name or an address of the other's newest vassal is not taken either.
        first.vassal("m0.ini", address="/run/x.sock")
        first.vassal("thief.ini", address="/run/m1.sock")
        first.told(r"m0\.ini: error: .*\[name-conflict\]", cursor)
        first.told(r"thief\.ini: error: .*\[address-(conflict|occupied)\]", cursor)
        machine.remove("/srv/second/m0.ini")
        machine.wait_journal(r"^m0\.ini: removed", unit=SECOND_WATCH, since_cursor=cursor)
    told = {
        unit: {message(entry).partition(":")[0] for entry in machine.journal(cursor, unit)}
        for unit in (WATCH, SECOND_WATCH)
    }
    assert not told[WATCH] & {"m1.ini", "m2.ini", "two.ini", "always-two.ini", "m1", "m2", "two", "always-two"}
    assert not any(name.startswith(("n", "one", "always-one")) for name in told[SECOND_WATCH])
    story = machine.run("journalctl", "VASSAL=m1.ini", "-o", "cat").stdout.splitlines()
    assert story.count("m1.ini: added, on demand at /run/m1.sock") == 1


def test_options_move_into_a_file_and_the_file_to_another_path(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("app.ini", address="/run/app.sock")
    bridge.sync()
    pid = bridge.app("uwsgi", "/run/app.sock")["pid"]
    moved = "/srv/conf/moved.toml"
    with asked(machine, "/run/app.sock"):
        usual = toml(machine, USUAL, VASSALS)
        assert usual.sync().stdout == "1 vassal: nothing to do\n"
        # While the usual file is there, its vassals are its own.
        later = toml(machine, moved, VASSALS)
        assert "also wanted by" in later.sync(status=1).stderr
        assert later.run("remove", "--yes").stdout == "nothing to remove\n"
        machine.remove(USUAL)
        assert later.sync().stdout.splitlines()[-1] == "1 vassal: 1 changed"
        assert later.sync().stdout == "1 vassal: nothing to do\n"
        assert set(later.status()) == {"app.ini"}
        machine.write(USUAL, 'emperor = "/srv/none"\n')
        assert usual.status() == {}
        machine.remove(USUAL)
    assert bridge.app("uwsgi", "/run/app.sock")["pid"] == pid
    machine.remove(moved)
    assert later.run("remove", "--yes").stdout.endswith("1 vassal: 1 removed\n")
    assert not machine.exists("/run/app.sock")


def test_what_the_version_before_made_is_adopted_and_goes_on(machine: Machine, bridge: Bridge) -> None:
    """It did not tell one configuration from another, and its units name none."""
    second = toml(machine, SECOND, VASSALS)
    toml(machine, USUAL, "/srv/none")
    bridge.vassal("app.ini", address="/run/app.sock")
    second.sync()
    before = bridge.app("uwsgi", "/run/app.sock")
    machine.run("sh", "-ec", FORGET)
    with asked(machine, "/run/app.sock"):
        second.sync()
        assert bridge.app("uwsgi", "/run/app.sock")["ppid"] == before["ppid"]
        assert 'Configuration="/etc/emperor-bridge/second.toml"' in machine.read(f"{UNITS}/vassal-app.socket")
