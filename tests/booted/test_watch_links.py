"""The watch daemon follows what lies beside configs: targets of links, and files that a config asks about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .bridge import VASSALS, config
from .test_watch_changes import SAVES, told_of, wait_for_respawn

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

SKELETON = f"{VASSALS}/app.skel"
SOCKET_UNIT = "/etc/systemd/system/vassal-app.socket"
ASKING = ("if-exists = app.ini.down", "chmod-socket = 666", "endif =")


@pytest.mark.parametrize("way", ["truncate and write", "rename over"])
@pytest.mark.parametrize("target", ["app.skel", SKELETON], ids=["relative", "absolute"])
def test_a_config_that_is_a_link_to_a_file_beside_it_is_followed(
    machine: Machine, watch: Bridge, target: str, way: str
) -> None:
    machine.write(SKELETON, config("procname-master = before"))
    for name in ("runs", "waits"):
        machine.write(f"{VASSALS}/{name}.ini.socket", f"/run/{name}.sock\n")
        machine.run("ln", "-s", target, f"{VASSALS}/{name}.ini")
        watch.told(rf"^{name}\.ini: waiting")
    before = watch.app("uwsgi", "/run/runs.sock")

    cursor = machine.journal_cursor()
    text = config("procname-master = after", "chmod-socket = 666")
    machine.run("sh", "-ec", SAVES[way], "sh", SKELETON, config("procname-master = after"))
    watch.told(r"^runs\.ini: reloaded", cursor)
    wait_for_respawn(machine, "runs", cursor)
    assert watch.app("uwsgi", "/run/runs.sock")["ppid"] == before["ppid"]
    assert "after" in [process.command for process in watch.processes("runs")]

    cursor = machine.journal_cursor()
    machine.run("sh", "-ec", SAVES[way], "sh", SKELETON, text)
    watch.told(r"^waits\.ini: changed", cursor)
    assert "SocketMode=0666\n" in machine.read("/etc/systemd/system/vassal-waits.socket")
    watch.app("uwsgi", "/run/waits.sock")
    assert "after" in [process.command for process in watch.processes("waits")]
    assert [text for text in told_of(watch, cursor) if "removed" in text or "added" in text] == []


def test_a_rule_file_that_is_a_link_to_a_file_beside_it_is_followed(machine: Machine, watch: Bridge) -> None:
    machine.write(f"{VASSALS}/addr", "/run/first.sock\n")
    machine.run("ln", "-s", "addr", f"{VASSALS}/one.ini.socket")
    machine.write(f"{VASSALS}/one.ini", config())
    watch.told(r"^one\.ini: added, on demand at /run/first\.sock")
    watch.app("uwsgi", "/run/first.sock")
    cursor = machine.journal_cursor()
    machine.write(f"{VASSALS}/addr", "/run/second.sock\n")
    watch.told(r"^one\.ini: changed, on demand at /run/second\.sock", cursor)
    watch.app("uwsgi", "/run/second.sock")
    assert not machine.exists("/run/first.sock")


def test_a_file_is_noticed_that_a_config_asks_about_under_its_own_name_and_more(
    machine: Machine, watch: Bridge
) -> None:
    watch.vassal("app.ini", config(*ASKING), address="/run/app.sock")
    watch.told(r"^app\.ini: waiting")
    mode = "SocketMode=0666\n"
    assert mode not in machine.read(SOCKET_UNIT)
    cursor = machine.journal_cursor()
    machine.write(f"{VASSALS}/app.ini.down", "")
    watch.told(r"^app\.ini: changed", cursor)
    assert mode in machine.read(SOCKET_UNIT)
    cursor = machine.journal_cursor()
    machine.remove(f"{VASSALS}/app.ini.down")
    watch.told(r"^app\.ini: changed", cursor)
    assert mode not in machine.read(SOCKET_UNIT)
    watch.app("uwsgi", "/run/app.sock")
