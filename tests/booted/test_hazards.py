"""What ``check`` warns of really happens when it is not heeded.

Not shown here: ``idle-no-master`` and ``idle-not-set`` (nothing happens: core/master_checks.c,
``uwsgi_master_check_idle``, is run by a master, and looks at ``die_on_idle`` only after ``idle``), ``idle-threads`` (a
few in a hundred: test_load.py runs without threads for that reason).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .bridge import config
from .machine import message

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

DIES = ("idle = 1", "die-on-idle = true")
LONG = ("idle = 5", "die-on-idle = true")
"""For what has to be looked at while it lives."""


def warned(bridge: Bridge) -> dict[str, str]:
    """Return the codes of all warnings of ``check``, each with its message; no error may be among them."""
    found = json.loads(bridge.run("check", "--json").stdout)
    assert {one["severity"] for one in found} <= {"warning"}
    return {one["code"]: one["message"] for one in found}


def test_a_sane_vassal_has_no_warning(bridge: Bridge) -> None:
    bridge.vassal("sane.ini", config(*DIES, "chmod-socket = 660"), address="/run/sane.sock")
    assert warned(bridge) == {}


def test_jobs_and_extra_sockets_go_with_an_idle_app(machine: Machine, bridge: Bridge) -> None:
    machine.write("/srv/app/mule.py", "import time\nwhile True: time.sleep(60)\n")
    machine.cleanups.append(lambda: machine.remove("/srv/app/mule.py"))
    lines = (*LONG, "mule = /srv/app/mule.py", "http-socket = 127.0.0.1:9321")
    bridge.vassal("jobs.ini", config(*lines), address="/run/jobs.sock")
    assert set(warned(bridge)) == {"idle-jobs", "socket-extra"}
    bridge.sync()
    bridge.app("uwsgi", "/run/jobs.sock")
    bridge.app("http", "127.0.0.1:9321")
    assert len(bridge.processes("jobs")) == 3
    bridge.wait("jobs", "dead")
    assert bridge.processes("jobs") == []
    assert machine.request("http", "127.0.0.1:9321").status is None


def test_a_socket_in_a_condition_is_woken_once(machine: Machine, bridge: Bridge) -> None:
    lines = (*DIES, "if-plugin = python", "socket = /run/hidden.sock", "endif =")
    bridge.vassal("hidden.ini", config(*lines), address="/run/hidden.sock")
    assert set(warned(bridge)) == {"socket-hidden"}
    bridge.sync()
    bridge.app("uwsgi", "/run/hidden.sock")
    bridge.wait("hidden", "dead")
    assert machine.show("vassal-hidden.socket", "SubState") == "listening"
    assert machine.request("uwsgi", "/run/hidden.sock").status is None


def test_a_lazy_app_keeps_its_config_when_it_is_reloaded(machine: Machine, bridge: Bridge) -> None:
    def modes() -> list[str]:
        cursor = machine.journal_cursor()
        bridge.vassal("lazy.ini", config("lazy = true", "processes = 2"), address="/run/lazy.sock")
        bridge.sync()
        machine.wait_journal("spawned uWSGI worker|Respawned uWSGI worker", unit=unit, since_cursor=cursor, timeout=60)
        return [message(e) for e in machine.journal(cursor, unit) if "Operational MODE" in message(e)]

    unit = "vassal-lazy.service"
    bridge.vassal("lazy.ini", config("lazy = true"), address="/run/lazy.sock")
    assert set(warned(bridge)) == {"lazy-reload"}
    bridge.sync()
    bridge.app("uwsgi", "/run/lazy.sock")
    assert modes() == [], "the master has read its config again"


def test_a_queue_longer_than_the_kernel_allows_is_as_long_as_it_allows(machine: Machine, bridge: Bridge) -> None:
    longest = int(machine.read("/proc/sys/net/core/somaxconn"))
    bridge.vassal("long.ini", config(f"listen = {longest + 1}"), address="/run/long.sock")
    assert set(warned(bridge)) == {"listen-too-long"}
    bridge.sync()
    assert "Backlog" in machine.read("/etc/systemd/system/vassal-long.socket")
    shown = next(line for line in machine.run("ss", "-lxHn").stdout.splitlines() if "/run/long.sock" in line)
    assert int(shown.split()[3]) == longest


def test_a_misspelt_option_does_nothing(bridge: Bridge) -> None:
    bridge.vassal("spelt.ini", config("workeers = 4"), address="/run/spelt.sock")
    assert set(warned(bridge)) == {"unknown-option"}
    bridge.sync()
    bridge.app("uwsgi", "/run/spelt.sock")
    assert len(bridge.processes("spelt")) == 2


def test_a_pidfile_for_two_knows_one(machine: Machine, bridge: Bridge) -> None:
    for name, port in (("p1", 9322), ("p2", 9323)):
        bridge.vassal(f"{name}.ini", config("pidfile = /run/both.pid"), address=f"127.0.0.1:{port}")
    machine.cleanups.append(lambda: machine.remove("/run/both.pid"))
    assert set(warned(bridge)) == {"pidfile-clash"}
    bridge.sync()
    for name, port in (("p1", 9322), ("p2", 9323)):
        bridge.app("uwsgi", f"127.0.0.1:{port}")
        pid = machine.show(f"vassal-{name}.service", "MainPID")
        assert machine.run("cat", "/run/both.pid").stdout.strip() == pid


def test_a_folder_goes_with_the_unit_that_made_it(machine: Machine, bridge: Bridge) -> None:
    unit = "/etc/systemd/system/maker.service"
    machine.write(unit, "[Service]\nRuntimeDirectory=maker\nExecStart=sleep infinity\n")
    machine.cleanups.append(lambda: machine.remove(unit))
    machine.run("systemctl", "start", "maker.service")
    bridge.vassal("made.ini", address="/run/maker/app.sock")
    assert "maker.service" in warned(bridge)["runtime-directory"]
    bridge.sync()
    bridge.app("uwsgi", "/run/maker/app.sock")
    machine.run("systemctl", "stop", "maker.service")
    assert machine.show("vassal-made.socket", "ActiveState") == "active"
    assert machine.request("uwsgi", "/run/maker/app.sock").status is None


def test_a_web_server_with_another_protocol_gets_nothing(machine: Machine, bridge: Bridge) -> None:
    site = "/etc/nginx/conf.d/hazard.conf"
    parameters = "include fastcgi_params; fastcgi_param PATH_INFO $uri; fastcgi_read_timeout 3;"
    to_app = f"location / {{ fastcgi_pass unix:/run/spoken.sock; {parameters} }}"
    machine.write(site, f"server {{ listen 127.0.0.1:9324; {to_app} }}\n")
    machine.cleanups.append(lambda: machine.remove(site))
    bridge.vassal("spoken.ini", config("chmod-socket = 666"), address="/run/spoken.sock")
    assert warned(bridge)["protocol-mismatch"].startswith(f"{site}:1 speaks fastcgi")
    bridge.sync()
    machine.run("systemctl", "restart", "nginx.service")
    machine.cleanups.append(lambda: machine.run("systemctl", "stop", "nginx.service"))
    status = machine.request("http", "127.0.0.1:9324", timeout=20).status
    assert status is not None
    assert status >= 500
    bridge.vassal("spoken.ini", config("chmod-socket = 666", "protocol = fastcgi"), address="/run/spoken.sock")
    bridge.sync()
    assert warned(bridge) == {}
    bridge.app("http", "127.0.0.1:9324")


def test_whoever_writes_a_tenants_config_is_the_tenant(machine: Machine, bridge: Bridge) -> None:
    bridge.options += ["--emperor-tyrant", "--tenant-socket-directory", "/run"]
    path = bridge.vassal("open.ini", config("uid = games"), address="127.0.0.1:9325")
    machine.run("chown", "www-data:www-data", path)
    machine.run("chmod", "666", path)
    assert set(warned(bridge)) == {"writable-by-others", "uid-impossible"}
    planted = f"echo 'exec-asap = id -un >/tmp/who' >>{path}"
    machine.run("setpriv", "--reuid=nobody", "--clear-groups", "sh", "-c", planted)
    bridge.sync()
    bridge.app("uwsgi", "127.0.0.1:9325")
    assert machine.run("cat", "/tmp/who").stdout == "www-data\n"
