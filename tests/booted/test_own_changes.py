"""What changes while systemd holds own sockets: the addresses, the rule, the setting; and what stays always."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from .bridge import VASSALS, config
from .steady import asked

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

DIES = ("idle = 1", "die-on-idle = true")
MODE = ("--on-demand-own-sockets", "idle")


def own(*lines: str, dies: bool = True) -> str:
    return config(*lines, *(DIES if dies else ()))


def unix(name: str) -> str:
    return f"/run/own/{name}.sock"


def refuses(machine: Machine, address: str) -> bool:
    found = machine.request("uwsgi", address, timeout=5).error or ""
    return found.startswith(("ConnectionRefusedError", "FileNotFoundError"))


def modes(bridge: Bridge) -> dict[str, str]:
    return {name.partition(".")[0]: row["mode"] for name, row in bridge.status().items()}


@pytest.mark.parametrize("running", [False, True], ids=["waiting", "running"])
def test_addresses_move_come_and_go(machine: Machine, bridge: Bridge, running: bool) -> None:
    bridge.options += MODE
    before = {
        "moved": [unix("moved"), "127.0.0.1:9831"],
        "added": [unix("added")],
        "removed": [unix("removed"), "127.0.0.1:9833", "@own-removed"],
        "swapped": ["127.0.0.1:9834", unix("swapped")],
    }
    after = {
        "moved": [unix("moved"), "127.0.0.1:9835"],
        "added": ["127.0.0.1:9832", unix("added"), "@own-added"],
        "removed": [unix("removed")],
        "swapped": [unix("swapped"), "127.0.0.1:9834"],
    }
    for addresses in (before, after):
        for name, sockets in addresses.items():
            bridge.vassal(f"{name}.ini", own(*(f"socket = {one}" for one in sockets)))
        bridge.sync()
        assert {name: row["sockets"] for name, row in bridge.status().items()} == {
            f"{name}.ini": sockets for name, sockets in addresses.items()
        }
        if running or addresses is after:
            for sockets in addresses.values():
                for address in sockets:
                    bridge.app("uwsgi", address)
    assert refuses(machine, "127.0.0.1:9831")
    assert refuses(machine, "127.0.0.1:9833")
    assert refuses(machine, "@own-removed")
    for name in after:
        bridge.wait(name, "dead")
        assert machine.show(f"vassal-{name}.service", "Result") == "success"
        bridge.app("uwsgi", after[name][-1])


def test_to_always_and_back_and_to_a_rule(machine: Machine, watch: Bridge) -> None:
    watch.unwatch()
    watch.options += MODE
    watch.watch()
    path, address = f"{VASSALS}/a.ini", unix("a")
    watch.vassal("a.ini", own(f"socket = {address}"))
    watch.told(rf"^a\.ini: added, on demand at {address}")
    first = watch.app("uwsgi", address)["ppid"]
    cursor = machine.journal_cursor()
    watch.vassal("a.ini", own(f"socket = {address}", dies=False))
    watch.told(r"^a\.ini: changed, runs always", cursor)
    always = watch.app("uwsgi", address)["ppid"]
    assert always != first
    cursor = machine.journal_cursor()
    watch.vassal("a.ini", own(f"socket = {address}"))
    watch.told(rf"^a\.ini: changed, on demand at {address}", cursor)
    again = watch.app("uwsgi", address)["ppid"]
    assert again != always
    # The rule's address has no other meaning while the config binds it.
    units = [f"/etc/systemd/system/vassal-a.{kind}" for kind in ("socket", "service")]
    texts = [machine.read(unit) for unit in units]
    machine.write(f"{path}.socket", f"{address}\n")
    watch.sync()
    assert [machine.read(unit) for unit in units] == texts
    watch.app("uwsgi", address)
    cursor = machine.journal_cursor()
    machine.write(path, own())
    watch.told(r"^a\.ini: (changed|reloaded)", cursor)
    # It has the same socket from file descriptor 0 now.
    watch.wait("a", "dead")
    watch.app("uwsgi", address)
    machine.wait_journal(rf"inherited UNIX address {address} fd 0", unit="vassal-a.service", since_cursor=cursor)


def test_the_setting_comes_and_goes(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("a.ini", own(f"http-socket = {unix('a')}", "socket = 127.0.0.1:9836"))
    bridge.sync()
    assert modes(bridge) == {"a": "always"}
    bridge.app("http", unix("a"))
    usual = list(bridge.options)
    bridge.options += MODE
    bridge.sync()
    assert modes(bridge) == {"a": "on-demand"}
    assert bridge.processes("a") == []
    bridge.app("http", unix("a"))
    bridge.app("uwsgi", "127.0.0.1:9836")
    bridge.options = usual
    bridge.sync()
    assert modes(bridge) == {"a": "always"}
    bridge.app("http", unix("a"))
    bridge.app("uwsgi", "127.0.0.1:9836")
    assert machine.exists(unix("a"))


def test_a_rule_for_an_own_socket_is_served_on_all_of_them(machine: Machine, bridge: Bridge) -> None:
    lone = ("if-not-env = UWSGI_EMPEROR_FD", f"socket = {unix('lone')}", "end-if =")
    bridge.vassal("own.ini", own(f"http-socket = {unix('own')}", "socket = :9837"), address=unix("own"))
    bridge.vassal("lone.ini", own(*lone), address=f"/var{unix('lone')}")
    bridge.vassal("both.ini", own("http-socket = 127.0.0.1:9838"), address=unix("both"))
    bridge.vassal("jobs.ini", own("socket = 127.0.0.1:9839", "mule = true"), address="127.0.0.1:9839")
    bridge.vassal("reload.ini", own(f"socket = {unix('reload')}", "if-reload =", "processes = 2", "endif ="),
                  address=unix("reload"))  # fmt: skip
    result = bridge.sync(status=1)
    assert result.stderr.count("[socket-is-rules]") == 1
    assert f"{VASSALS}/reload.ini:" in result.stderr
    rows = bridge.status()
    assert rows["own.ini"]["sockets"] == [unix("own"), "0.0.0.0:9837"]
    assert rows["both.ini"]["sockets"] == [unix("both")]
    assert rows["reload.ini"]["state"] == "refused"
    for _ in range(2):
        for name, protocol, address in (
            ("own", "http", unix("own")),
            ("own", "uwsgi", "127.0.0.1:9837"),
            ("lone", "uwsgi", unix("lone")),
            ("both", "uwsgi", unix("both")),
            ("both", "http", "127.0.0.1:9838"),
            ("jobs", "uwsgi", "127.0.0.1:9839"),
        ):
            answer = bridge.app(protocol, address)
            bridge.wait(name, "running")
            assert machine.show(f"vassal-{name}.service", "MainPID") == str(answer["ppid"])
        for name in ("own", "lone", "both"):
            bridge.wait(name, "dead")
            assert machine.show(f"vassal-{name}.service", "Result") == "success"


ALWAYS = {
    "cron": ("cron = -1 -1 -1 -1 -1 true",),
    "mule": ("mule = true",),
    "daemon": ("attach-daemon = sleep 1000",),
    "smart": ("smart-attach-daemon = /run/own/smart.pid sleep 1000",),
    "spooler": ("spooler = /srv/spool",),
    "router": ("http = 127.0.0.1:9841",),
    "subscribed": ("subscribe-to = 127.0.0.1:9842:example.org",),
    "relative": ("socket = relative.sock",),
    "slashes": ("socket = /run//own/more.sock",),
    "rooted": ("chroot = /",),
    "reload": ("if-not-reload =", "env = FIRST=1", "endif ="),
}


def test_what_must_run_or_cannot_be_handed_over_runs_always(machine: Machine, bridge: Bridge) -> None:
    machine.run("mkdir", "-p", "/srv/spool", "/run/own")
    machine.cleanups.append(lambda: machine.remove("/srv/spool"))
    bridge.options += ["--on-demand-own-sockets", "all"]
    for name, lines in ALWAYS.items():
        bridge.vassal(f"{name}.ini", own(f"http-socket = {unix(name)}", *lines, dies=False))
    bridge.vassal("none.ini", config("cron = -1 -1 -1 -1 -1 true", f"http = {unix('none')}"))
    bridge.vassal("waits.ini", own(f"http-socket = {unix('waits')}", "stats = /run/own/stats", dies=False))
    bridge.sync()
    assert modes(bridge) == {**dict.fromkeys([*ALWAYS, "none"], "always"), "waits": "on-demand"}
    told = {row["vassal"]: row for row in json.loads(bridge.run("check", "--sockets", "--json").stdout)}
    assert told["waits.ini"]["way"] == "own"
    for name, lines in ALWAYS.items():
        row = told[f"{name}.ini"]
        # A condition is not in force: what is in it is.
        line = lines[-2] if len(lines) > 1 else lines[0]
        assert (row["way"], row["reason"][: len(line)]) == ("always", line)
    for name in (*ALWAYS, "waits"):
        bridge.app("http", unix(name))


@pytest.mark.usefixtures("tenants")
def test_a_tenants_socket_where_he_may_not_listen_is_his_apps_own(machine: Machine, bridge: Bridge) -> None:
    bridge.options += [*MODE, "--emperor-tyrant"]
    places = {"home": "/srv/alices/a.sock", "mine": "/run/vassals/4001/a.sock", "port": "127.0.0.1:9843"}
    for name, address in places.items():
        path = bridge.vassal(f"{name}.ini", own(f"socket = {address}", "chmod-socket = 660"))
        machine.run("chown", "alice:alice", path)
    machine.run("install", "-d", "-o", "alice", "/srv/alices")
    machine.cleanups.append(lambda: machine.remove("/srv/alices"))
    bridge.sync()
    assert modes(bridge) == {"home": "always", "mine": "on-demand", "port": "on-demand"}
    machine.until("test -S /srv/alices/a.sock")
    for address in places.values():
        bridge.app("uwsgi", address)
    for path in ("/srv/alices/a.sock", "/run/vassals/4001/a.sock"):
        assert machine.run("stat", "--format=%a %U:%G", path).stdout == "660 alice:alice\n"


def test_sites_answer_while_a_config_with_own_sockets_reloads_by_systemctl(machine: Machine, bridge: Bridge) -> None:
    bridge.options += MODE
    bridge.vassal("a.ini", own(f"socket = {unix('a')}", "socket = 127.0.0.1:9844", "processes = 2", "lazy-apps = true"))
    bridge.sync()
    first = bridge.app("uwsgi", unix("a"))
    cursor = machine.journal_cursor()
    with asked(machine, unix("a"), "127.0.0.1:9844"):
        machine.run("systemctl", "reload", "vassal-a.service")
        machine.wait_journal(r"gracefully \(RE\)spawned", unit="vassal-a.service", since_cursor=cursor)
    assert bridge.app("uwsgi", unix("a"))["ppid"] == first["ppid"]


def test_a_reload_before_the_sync_is_mended(machine: Machine, bridge: Bridge) -> None:
    """A uWSGI that reloads with other sockets in its config binds them itself."""
    bridge.options += MODE
    bridge.vassal("a.ini", own(f"socket = {unix('a')}", "socket = 127.0.0.1:9845"))
    bridge.sync()
    first = bridge.app("uwsgi", unix("a"))["ppid"]
    cursor = machine.journal_cursor()
    addresses = (unix("b"), "127.0.0.1:9845", "127.0.0.1:9846")
    bridge.vassal("a.ini", own(*(f"socket = {address}" for address in addresses)))
    machine.run("systemctl", "reload", "vassal-a.service")
    machine.wait_journal("bound to TCP address 127.0.0.1:9846", unit="vassal-a.service", since_cursor=cursor)
    bridge.sync()
    for _ in range(2):
        for address in addresses:
            assert bridge.app("uwsgi", address)["ppid"] != first
        bridge.wait("a", "dead")
    assert refuses(machine, unix("a"))
