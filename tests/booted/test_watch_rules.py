"""Which rule is in force, and what is known of a vassal whose config is still being written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from .bridge import VASSALS, WATCH, config
from .process import kill
from .test_watch_changes import next_line, wait_for_respawn, write_slowly

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

FOLDER = "/run/rules"
SCRIPT, RAN = f"{FOLDER}/rule", "/run/rule-ran"
# Writes $2 into $1, and when it is given a line, that too.
HALF_WRITER = 'exec 3>"$1"; printf %s "$2" >&3; echo open; read -r rest; echo "$rest" >&3'
RULES = {
    "extension": ("--emperor-on-demand-extension", ".socket"),
    "directory": ("--emperor-on-demand-directory", "/run"),
}


def watched(machine: Machine) -> set[int]:
    """Return the numbers of all files that the daemon watches."""
    shown = machine.run("sh", "-c", f"cat /proc/{machine.show(WATCH, 'MainPID')}/fdinfo/*").stdout
    return {int(inode, 16) for inode in re.findall(r"^inotify .*\bino:([0-9a-f]+)", shown, re.MULTILINE)}


def inode(machine: Machine, path: str) -> int:
    return int(machine.run("stat", "-c", "%i", path).stdout)


def test_a_command_beside_a_rule_that_wins_is_neither_watched_nor_run(machine: Machine, bridge: Bridge) -> None:
    machine.cleanups.append(lambda: machine.remove(FOLDER, RAN))
    machine.write(SCRIPT, f"#!/bin/sh\necho >>{RAN}\necho /run/other.sock\n", mode=0o755)
    bridge.options += ["--emperor-on-demand-exec", SCRIPT]
    path = bridge.vassal("app.ini", address="/run/app.sock")
    bridge.vassal("always.ini", config("socket = 127.0.0.1:9201"))
    bridge.watch()
    before = bridge.app("uwsgi", "/run/app.sock")
    assert inode(machine, "/run") in watched(machine)
    assert inode(machine, FOLDER) not in watched(machine)

    cursor = machine.journal_cursor()
    machine.write(path, config("procname-master = changed"))
    bridge.told(r"^app\.ini: reloaded", cursor)
    wait_for_respawn(machine, "app", cursor)
    assert bridge.app("uwsgi", "/run/app.sock")["ppid"] == before["ppid"]
    machine.write(f"{path}.socket", "/run/moved.sock\n")
    bridge.told(r"^app\.ini: changed, on demand at /run/moved\.sock", cursor)
    bridge.vassal("new.ini", address="/run/new.sock")
    bridge.told(r"^new\.ini: added, on demand at /run/new\.sock", cursor)
    assert inode(machine, FOLDER) not in watched(machine)
    assert not machine.exists(RAN)


@pytest.mark.parametrize("rule", RULES)
def test_a_vassal_whose_config_is_being_written_has_its_true_mode(machine: Machine, bridge: Bridge, rule: str) -> None:
    bridge.options[2:] = RULES[rule]
    bridge.watch()
    address = "/run/slow.socket"
    machine.write(f"{VASSALS}/slow.ini.socket", f"{address}\n")
    # As far as it has come, the config is wrong: there is no such user.
    argv = ("sh", "-c", HALF_WRITER, "sh", f"{VASSALS}/slow.ini", config("chown-socket = www-da").rstrip())
    writer = machine.popen(*argv)
    machine.cleanups.append(lambda: kill(writer))
    assert next_line(writer) == "open"
    machine.write_many({f"{VASSALS}/other.ini.socket": "/run/other.socket\n", f"{VASSALS}/other.ini": config()})
    bridge.told(r"^other\.ini: waiting")
    row = bridge.status()["slow.ini"]
    assert (row["mode"], row["socket"], row["state"]) == ("on-demand", address, "refused")

    cursor = machine.journal_cursor()
    writer.communicate(b"ta\n", timeout=60)
    bridge.told(rf"^slow\.ini: added, on demand at {address}", cursor)
    row = bridge.status()["slow.ini"]
    assert (row["mode"], row["socket"], row["state"], row["problem"]) == ("on-demand", address, "listening", None)
    bridge.app("uwsgi", address)
    rewriter = write_slowly(machine, f"{VASSALS}/slow.ini", config())
    machine.cleanups.append(lambda: kill(rewriter))
    row = bridge.status()["slow.ini"]
    assert (row["mode"], row["socket"], row["state"]) == ("on-demand", address, "running")
