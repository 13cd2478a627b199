"""The recipes of the manual, as they stand there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.servers import manual

from .bridge import VASSALS, config

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

PAGE = "emperor-bridge-recipes.7"
DROP_INS = "/etc/systemd/system/vassal-.service.d"
WEB = "/srv/web/recipe.conf"
PORT = 8091


def memory_max(machine: Machine, stem: str) -> int:
    """Return the limit that systemd has for a vassal, and where groups are those of v2 the kernel has the same.

    systemd gives the kernel the limits of all that runs at each reload (core/unit-serialize.c, unit_deserialize_state).
    """
    service = f"vassal-{stem}.service"
    most = int(machine.show(service, "MemoryMax"))
    of_kernel = f"/sys/fs/cgroup{machine.show(service, 'ControlGroup')}/memory.max"
    assert not machine.exists(of_kernel) or int(machine.read(of_kernel)) == most
    return most


def test_limits_hold_for_each_vassal_that_runs_and_for_each_new_one(machine: Machine, bridge: Bridge) -> None:
    machine.cleanups.append(lambda: machine.run("systemctl", "daemon-reload"))
    machine.cleanups.append(lambda: machine.run("systemctl", "revert", "vassal-old.service", check=False))
    machine.cleanups.append(lambda: machine.remove(DROP_INS))
    bridge.vassal("old.ini", address="/run/old.sock")
    bridge.sync()
    pid = bridge.app("uwsgi", "/run/old.sock")["ppid"]

    machine.write(f"{DROP_INS}/limits.conf", manual.block(PAGE, "[Service]\nMemoryMax=512M"))
    machine.run("systemctl", "daemon-reload")
    assert memory_max(machine, "old") == 512 << 20
    assert bridge.app("uwsgi", "/run/old.sock")["ppid"] == pid

    bridge.vassal("new.ini", address="/run/new.sock")
    assert bridge.sync().stdout.endswith("2 vassals: 1 added\n")
    bridge.app("uwsgi", "/run/new.sock")
    assert memory_max(machine, "new") == 512 << 20
    assert machine.show("vassal-new.service", "TasksMax") == "128"

    one = manual.block(PAGE, "systemctl set-property vassal-blog").replace("blog", "old")
    machine.run("sh", "-c", one)
    assert (memory_max(machine, "old"), memory_max(machine, "new")) == (1 << 30, 512 << 20)
    assert bridge.sync().stdout == "2 vassals: nothing to do\n"
    assert bridge.run("check").stdout == ""
    assert bridge.app("uwsgi", "/run/old.sock")["ppid"] == pid


def test_nginx_beside_it_and_a_machine_made_again_from_a_backup(machine: Machine, bridge: Bridge) -> None:
    machine.cleanups.append(lambda: machine.remove(DROP_INS))
    access = manual.block(PAGE, "chown-socket").replace(" ", "")
    machine.write("/etc/emperor-bridge/bridge.toml", f'emperor = "{VASSALS}"\nemperor-on-demand-ext = ".socket"\n')
    machine.cleanups.append(lambda: machine.remove("/etc/emperor-bridge"))
    bridge.options = []
    bridge.vassal("blog.ini", config(access.strip()), address="/run/sites/blog.sock")
    machine.write(f"{DROP_INS}/limits.conf", manual.block(PAGE, "[Service]\nMemoryMax=512M"))
    site = manual.block(PAGE, "server {").replace("listen 80;", f"listen 127.0.0.1:{PORT};")
    # The parameters' file is looked for beside the config.
    site = site.replace("include uwsgi_params;", "include /etc/nginx/uwsgi_params;")
    web = f"user www-data; pid /run/recipe.pid; error_log stderr; events {{}} http {{ access_log off; {site} }}"
    machine.write(WEB, web)
    bridge.sync()
    machine.run("systemd-run", "--quiet", "--unit=recipe-web", "nginx", "-g", "daemon off;", "-c", WEB)
    machine.cleanups.append(lambda: machine.run("systemctl", "stop", "recipe-web", check=False))
    machine.until(f"ss -Hltn 'sport = {PORT}' | grep -q .")
    assert bridge.app("http", f"127.0.0.1:{PORT}")["path"] == "/"

    backup, restore = (
        manual.block(PAGE, f"tar -C / -{flag}").replace("etc/uwsgi/vassals", VASSALS[1:]) for flag in "cx"
    )
    restore = re.sub("emperor-bridge (check|sync)\n", "", restore)
    machine.run("sh", "-ec", backup)
    bridge.run("remove", "--yes")
    for folder in ("/etc/emperor-bridge", VASSALS, DROP_INS):
        machine.remove(folder)
    machine.run("sh", "-ec", restore)
    bridge.run("check")
    bridge.sync()
    assert bridge.app("http", f"127.0.0.1:{PORT}")["path"] == "/"
    assert memory_max(machine, "blog") == 512 << 20
