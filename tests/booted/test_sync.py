"""What sync changes, and above all what it leaves alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.model.unit_names import link_path

from .bridge import VASSALS, config

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

IDLE = ("idle = 60", "die-on-idle = true")
ALWAYS = "socket = 127.0.0.1:{port}"
FILES = ("/etc/systemd/system", "/run/systemd/system")


def units_on_disk(machine: Machine) -> str:
    """Return each path with its inode, times and link target: any write shows."""
    return machine.run("find", *FILES, "-printf", "%p %i %T@ %C@ %l\\n").stdout


def units_in_memory(machine: Machine) -> str:
    """Return what changes with any start, stop, restart or reload of a unit of the vassals."""
    names = "Id,ActiveState,SubState,MainPID,InvocationID,StateChangeTimestampMonotonic,NeedDaemonReload"
    return machine.run("systemctl", "show", f"--property={names}", "vassal*").stdout


def last_reload(machine: Machine) -> str:
    """Return when systemd last read all unit files anew; 0 if never since the boot."""
    shown = machine.run("systemctl", "show", "--property=UnitsLoadTimestampMonotonic", "--value")
    return shown.stdout.strip()


def rejection(machine: Machine, address: str) -> str:
    """Return why nobody answers at an address."""
    response = machine.request("uwsgi", address)
    assert response.status is None, response
    return (response.error or "").partition(":")[0]


def test_second_sync_does_nothing(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("waits.ini", address="/run/waits.sock")
    bridge.vassal("wakes.ini", address=":9101")
    bridge.vassal("always.ini", config(ALWAYS.format(port=9102)))
    bridge.sync()
    bridge.app("uwsgi", "127.0.0.1:9101")
    before = units_on_disk(machine), units_in_memory(machine), last_reload(machine)
    cursor = machine.journal_cursor()

    result = bridge.sync()

    assert result.stdout == "3 vassals: nothing to do\n"
    assert result.stderr == ""
    assert (units_on_disk(machine), units_in_memory(machine), last_reload(machine)) == before
    said = [e for e in machine.journal(cursor) if "vassal" in str(e.get("UNIT")) or "eload" in str(e["MESSAGE"])]
    assert said == []


def test_new_vassals_need_no_reload(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("first.ini", address="/run/first.sock")
    bridge.sync()
    first = bridge.app("uwsgi", "/run/first.sock")
    before = last_reload(machine)

    bridge.vassal("second.ini", address="/run/second.sock")
    bridge.vassal("third.ini", config(ALWAYS.format(port=9103)))
    bridge.sync()

    assert last_reload(machine) == before
    bridge.wait("second", "listening")
    assert bridge.processes("second") == []
    bridge.wait("third", "running")
    assert bridge.app("uwsgi", "/run/first.sock")["pid"] == first["pid"]

    # A reload would have shown.
    machine.run("systemctl", "daemon-reload")
    assert last_reload(machine) != before


def test_unchanged_vassals_keep_their_pids_while_others_change(bridge: Bridge) -> None:
    bridge.vassal("woken.ini", address="/run/woken.sock")
    bridge.vassal("always.ini", config(ALWAYS.format(port=9104)))
    bridge.vassal("moves.ini", address="/run/moves.sock")
    bridge.vassal("goes.ini", address="/run/goes.sock")
    bridge.sync()
    bridge.app("uwsgi", "/run/moves.sock")
    woken = bridge.app("uwsgi", "/run/woken.sock")
    always = bridge.app("uwsgi", "127.0.0.1:9104")

    bridge.vassal("comes.ini", address="/run/comes.sock")
    bridge.vassal("moves.ini", address="/run/moved.sock")
    bridge.machine.remove(f"{VASSALS}/goes.ini")
    result = bridge.sync()

    assert result.stdout.splitlines() == [
        "comes.ini: added, on demand at /run/comes.sock",
        "goes.ini: removed, was at /run/goes.sock",
        "moves.ini: changed, on demand at /run/moved.sock (before: at /run/moves.sock)",
        "4 vassals: 1 added, 1 removed, 1 changed",
    ]
    assert bridge.app("uwsgi", "/run/woken.sock") == woken
    assert bridge.app("uwsgi", "127.0.0.1:9104") == always


def test_changed_config_reloads_the_running_and_leaves_the_waiting_alone(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("runs.ini", config(*IDLE), address="/run/runs.sock")
    bridge.vassal("always.ini", config(ALWAYS.format(port=9105)))
    bridge.vassal("waits.ini", config(*IDLE), address="/run/waits.sock")
    bridge.sync()
    runs, always = bridge.app("uwsgi", "/run/runs.sock"), bridge.app("uwsgi", "127.0.0.1:9105")
    cursor = machine.journal_cursor()

    machine.run("touch", f"{VASSALS}/runs.ini")
    bridge.vassal("always.ini", config(ALWAYS.format(port=9105), "procname-prefix = renewed-"))
    bridge.vassal("waits.ini", config(*IDLE, "procname-prefix = renewed-"))
    result = bridge.sync()

    assert result.stdout.splitlines() == [
        "always.ini: reloaded, its config changed",
        "runs.ini: reloaded, its config changed",
        "3 vassals: 2 reloaded",
    ]
    for vassal, address, old in (("runs", "/run/runs.sock", runs), ("always", "127.0.0.1:9105", always)):
        unit = f"vassal-{vassal}.service"
        machine.wait_journal("spawned uWSGI worker", unit=unit, since_cursor=cursor)
        new = bridge.app("uwsgi", address)
        assert new["ppid"] == old["ppid"]
        assert new["pid"] != old["pid"]
    assert "renewed-" in bridge.processes("always")[0].command
    assert bridge.processes("waits") == []
    assert bridge.sync().stdout == "3 vassals: nothing to do\n"


def test_removed_file_closes_the_socket_and_takes_the_units(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("stays.ini", address="/run/stays.sock")
    bridge.vassal("path.ini", address="/run/path.sock")
    bridge.vassal("tcp.ini", address="127.0.0.1:9106")
    bridge.vassal("always.ini", config(ALWAYS.format(port=9107)))
    bridge.sync()
    for address in ("/run/path.sock", "127.0.0.1:9106", "127.0.0.1:9107"):
        bridge.app("uwsgi", address)

    machine.remove(*(f"{VASSALS}/{name}.ini" for name in ("path", "tcp", "always")))
    bridge.sync()

    assert rejection(machine, "/run/path.sock") == "FileNotFoundError"
    assert rejection(machine, "127.0.0.1:9106") == "ConnectionRefusedError"
    assert rejection(machine, "127.0.0.1:9107") == "ConnectionRefusedError"
    left = machine.run("find", *FILES, "-name", "vassal-*", "-printf", "%P\\n").stdout.split()
    assert sorted(left) == [
        "vassal-stays.service",
        "vassal-stays.socket",
        link_path("vassal-stays.socket"),
    ]
    known = machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "vassal-*").stdout
    assert {line.split()[0] for line in known.splitlines()} <= {"vassal-stays.service", "vassal-stays.socket"}


def test_a_start_that_waits_ends_with_the_vassal(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("app.ini", config(ALWAYS.format(port=9102)))
    bridge.sync()
    # The start goes on as soon as the vassal's file is gone, before the bridge can have systemd forget it.
    waits = "while [ -e /etc/systemd/system/vassal-app.service ]; do :; done"
    slow = f"[Service]\nType=oneshot\nExecStart=/bin/sh -c '{waits}'\n"
    needs = "[Unit]\nWants=slow.service\nAfter=slow.service\n"
    folder = "/run/systemd/system/vassal-app.service.d"
    machine.write_many({"/run/systemd/system/slow.service": slow, f"{folder}/slow.conf": needs})
    machine.cleanups.append(lambda: machine.remove("/run/systemd/system/slow.service", folder))
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "--no-block", "vassal-app.service")
    machine.wait_unit("slow.service", "ActiveState", "activating")
    machine.wait_unit("vassal-app.service", "ActiveState", "inactive")

    machine.remove(f"{VASSALS}/app.ini")
    bridge.sync()
    machine.wait_unit("slow.service", "ActiveState", "inactive")
    assert "vassal" not in machine.run("systemctl", "list-jobs").stdout
    assert machine.show("vassal-app.service", "ActiveState") == "inactive"


def test_changed_address_listens_and_the_old_one_refuses(machine: Machine, bridge: Bridge) -> None:
    moves = {
        "path": ("/run/path-old.sock", "/run/path-new.sock"),
        "path-runs": ("/run/path-runs-old.sock", "/run/path-runs-new.sock"),
        "tcp": ("127.0.0.1:9108", "127.0.0.1:9109"),
        "tcp-runs": ("127.0.0.1:9110", "127.0.0.1:9111"),
    }
    for name, (old, _) in moves.items():
        bridge.vassal(f"{name}.ini", address=old)
    bridge.sync()
    for name, (old, _) in moves.items():
        if name.endswith("-runs"):
            bridge.app("uwsgi", old)

    for name, (_, new) in moves.items():
        bridge.vassal(f"{name}.ini", address=new)
    bridge.sync()

    for name, (old, new) in moves.items():
        assert bridge.processes(name) == []
        bridge.app("uwsgi", new)
        assert rejection(machine, old) == ("FileNotFoundError" if old.startswith("/") else "ConnectionRefusedError")


def test_swapped_addresses_belong_to_the_other_vassal(bridge: Bridge) -> None:
    addresses = {"one": "/run/one.sock", "two": "/run/two.sock", "three": ":9112", "four": ":9113"}
    for name, address in addresses.items():
        bridge.vassal(f"{name}.ini", address=address)
    bridge.sync()
    for address in ("/run/one.sock", "127.0.0.1:9112"):
        bridge.app("uwsgi", address)

    swapped = {"one": "two", "two": "one", "three": "four", "four": "three"}
    for name, other in swapped.items():
        bridge.vassal(f"{name}.ini", address=addresses[other])
    bridge.sync()

    for name, other in swapped.items():
        master = bridge.app("uwsgi", addresses[other].replace(":", "127.0.0.1:"))["ppid"]
        assert bridge.status()[f"{name}.ini"]["pid"] == master


def test_rule_taken_away_means_always_and_back_means_waiting(machine: Machine, bridge: Bridge) -> None:
    own = config("if-not-file = /srv/vassals/app.ini.socket", "socket = 127.0.0.1:9114", "end-if =")
    bridge.vassal("app.ini", own, address="/run/app.sock")
    bridge.sync()

    machine.remove(f"{VASSALS}/app.ini.socket")
    assert "app.ini: changed, runs always (before: at /run/app.sock)" in bridge.sync().stdout
    bridge.wait("app", "running")
    assert rejection(machine, "/run/app.sock") == "FileNotFoundError"
    assert not machine.exists("/etc/systemd/system/vassal-app.socket")
    bridge.app("uwsgi", "127.0.0.1:9114")

    bridge.vassal("app.ini", own, address="/run/app.sock")
    assert "app.ini: changed, on demand at /run/app.sock (before: ran always)" in bridge.sync().stdout
    assert bridge.processes("app") == []
    assert rejection(machine, "127.0.0.1:9114") == "ConnectionRefusedError"
    bridge.app("uwsgi", "/run/app.sock")
