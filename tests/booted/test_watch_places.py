"""The watch daemon follows folders, links and patterns, however they come and go, and distrusts a mass removal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .bridge import VASSALS, WATCH, config
from .machine import message

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

MANY = 10
EVENTS = 20_000

# Makes more events than the kernel keeps for one that does not read them; two files in turn, so that none are merged.
FLOOD = f"""
import os, sys
limit = int(open("/proc/sys/fs/inotify/max_queued_events").read())
assert limit < {EVENTS}, f"{EVENTS} events do not overflow a queue of {{limit}}"
paths = [f"{{sys.argv[1]}}/{{name}}" for name in "ab"]
for path in paths:
    open(path, "w").close()
for number in range({EVENTS}):
    os.utime(paths[number % 2])
"""


def add_many(bridge: Bridge, folder: str = VASSALS) -> list[str]:
    names = [f"many{number}.ini" for number in range(MANY)]
    files = {f"{folder}/{name}.socket": f"/run/{name}.sock" for name in names}
    bridge.machine.write_many(files | {f"{folder}/{name}": config() for name in names})
    return names


def listening(machine: Machine) -> int:
    lines = machine.run("systemctl", "list-units", "--plain", "--no-legend", "vassal-*.socket").stdout.splitlines()
    return sum("listening" in line for line in lines)


def removed(watch: Bridge, cursor: str) -> list[str]:
    return [text for entry in watch.machine.journal(cursor, WATCH) if ": removed" in (text := message(entry))]


def test_a_directory_that_goes_and_comes_back_keeps_its_vassals(machine: Machine, watch: Bridge) -> None:
    watch.vassal("kept.ini", address="/run/kept.sock")
    watch.told(r"^kept\.ini: added")
    before = watch.app("uwsgi", "/run/kept.sock")
    for way in ('rm -r "$1"', 'mv "$1" "$1.away"'):
        cursor = machine.journal_cursor()
        machine.run("sh", "-ec", way, "sh", VASSALS)
        watch.told(rf"{VASSALS}: error: the directory of vassals cannot be read", cursor)
        assert watch.app("uwsgi", "/run/kept.sock") == before
        watch.vassal("kept.ini", address="/run/kept.sock")
        watch.told(r"^kept\.ini: reloaded", cursor)
        machine.wait_journal("spawned uWSGI worker 1", unit="vassal-kept.service", since_cursor=cursor)
        after = watch.app("uwsgi", "/run/kept.sock")
        assert after["ppid"] == before["ppid"]
        assert removed(watch, cursor) == []
        before = after
    machine.remove(f"{VASSALS}.away")


def test_a_symlinked_vassal_follows_its_target_and_its_link(machine: Machine, watch: Bridge) -> None:
    machine.cleanups.append(lambda: machine.remove("/srv/first", "/srv/second"))
    machine.write("/srv/first/app.ini", config())
    machine.write("/srv/second/app.ini", config("procname-master = second"))
    machine.write(f"{VASSALS}/app.ini.socket", "/run/app.sock")
    machine.run("ln", "-s", "/srv/first/app.ini", f"{VASSALS}/app.ini")
    watch.told(r"^app\.ini: added, on demand at /run/app\.sock")
    before = watch.app("uwsgi", "/run/app.sock")

    cursor = machine.journal_cursor()
    machine.write("/srv/first/app.ini", config("procname-master = first"))
    watch.told(r"^app\.ini: reloaded", cursor)
    machine.wait_journal("spawned uWSGI worker 1", unit="vassal-app.service", since_cursor=cursor)
    assert "first" in [process.command for process in watch.processes("app")]

    cursor = machine.journal_cursor()
    machine.run("ln", "-sfn", "/srv/second/app.ini", f"{VASSALS}/app.ini")
    watch.told(r"^app\.ini: reloaded", cursor)
    machine.wait_journal("spawned uWSGI worker 1", unit="vassal-app.service", since_cursor=cursor)
    assert "second" in [process.command for process in watch.processes("app")]
    assert watch.app("uwsgi", "/run/app.sock")["ppid"] == before["ppid"]


def test_a_symlinked_directory_is_followed_when_the_link_is_turned(machine: Machine, bridge: Bridge) -> None:
    machine.cleanups.append(lambda: machine.remove("/srv/link", "/srv/first", "/srv/second"))
    bridge.vassal("old.ini", address="/run/old.sock", folder="/srv/first")
    bridge.vassal("new.ini", address="/run/new.sock", folder="/srv/second")
    machine.run("ln", "-s", "first", "/srv/link")
    bridge.options[1] = "/srv/link"
    bridge.watch()
    bridge.told(r"^old\.ini: added")
    machine.run("ln", "-sfn", "second", "/srv/link")
    bridge.told(r"^new\.ini: added")
    bridge.told(r"^old\.ini: removed")
    bridge.app("uwsgi", "/run/new.sock")
    bridge.vassal("later.ini", address="/run/later.sock", folder="/srv/second")
    bridge.told(r"^later\.ini: added")


def test_a_pattern_over_several_levels_sees_folders_that_appear_later(machine: Machine, bridge: Bridge) -> None:
    top = "/srv/deep"
    machine.cleanups.append(lambda: machine.remove(top))
    bridge.options[1] = f"{top}/*/conf.d/*.ini"
    bridge.watch()
    # All at once, a level at a time, and a whole tree that is moved in.
    bridge.vassal("a.ini", address="/run/a.sock", folder=f"{top}/one/conf.d")
    bridge.told(rf"^{top}/one/conf\.d/a\.ini: added")
    cursor = machine.journal_cursor()
    machine.run("mkdir", f"{top}/two")
    machine.run("mkdir", f"{top}/two/conf.d")
    bridge.vassal("b.ini", address="/run/b.sock", folder=f"{top}/two/conf.d")
    bridge.told(rf"^{top}/two/conf\.d/b\.ini: added", cursor)
    bridge.vassal("c.ini", address="/run/c.sock", folder="/srv/tree/conf.d")
    machine.run("mv", "/srv/tree", f"{top}/three")
    bridge.told(rf"^{top}/three/conf\.d/c\.ini: added", cursor)
    for name in "abc":
        bridge.app("uwsgi", f"/run/{name}.sock")
    machine.run("mv", f"{top}/three", "/srv/tree")
    machine.cleanups.append(lambda: machine.remove("/srv/tree"))
    bridge.told(rf"^{top}/three/conf\.d/c\.ini: removed", cursor)
    assert not machine.exists("/run/c.sock")


def test_what_an_overflowed_queue_lost_is_found(machine: Machine, watch: Bridge) -> None:
    watch.vassal("goes.ini", address="/run/goes.sock")
    watch.told(r"^goes\.ini: added")
    cursor = machine.journal_cursor()
    machine.run("systemctl", "kill", "--signal=STOP", WATCH)
    try:
        machine.run(sys.executable, "-c", FLOOD, VASSALS)
        machine.remove(f"{VASSALS}/goes.ini")
        watch.vassal("comes.ini", address="/run/comes.sock")
    finally:
        machine.run("systemctl", "kill", "--signal=CONT", WATCH)
    watch.told(r"^comes\.ini: added", cursor)
    watch.told(r"^goes\.ini: removed", cursor)
    watch.app("uwsgi", "/run/comes.sock")


def test_an_emptied_folder_removes_nothing_until_that_is_allowed(machine: Machine, watch: Bridge) -> None:
    names = add_many(watch)
    for name in names:
        watch.told(rf"^{name}: added, on demand")
    before = watch.app("uwsgi", f"/run/{names[0]}.sock")
    cursor = machine.journal_cursor()
    machine.run("sh", "-c", f"rm {VASSALS}/*")
    entry = watch.told(rf"{MANY} of {MANY} vassals of \S+ are gone at once, so none of them is removed", cursor)
    assert entry["EMPEROR_BRIDGE_CODE"] == "mass-removal"
    assert entry["PRIORITY"] == "3"
    assert "--allow-mass-removal" in message(entry)

    refused = watch.sync(status=1)
    assert "none of them is removed" in refused.stderr
    assert listening(machine) == MANY - 1
    assert watch.app("uwsgi", f"/run/{names[0]}.sock") == before
    assert removed(watch, cursor) == []

    watch.sync("--allow-mass-removal")
    assert listening(machine) == 0
    assert watch.processes(names[0].removesuffix(".ini")) == []


def test_a_folder_that_is_mounted_again_goes_on_as_if_nothing_had_been(machine: Machine, watch: Bridge) -> None:
    names = add_many(watch)
    for name in names:
        watch.told(rf"^{name}: added, on demand")
    before = watch.app("uwsgi", f"/run/{names[0]}.sock")
    cursor = machine.journal_cursor()
    # The place of a mount that is not there is an empty folder.
    machine.run("mv", VASSALS, f"{VASSALS}.away")
    machine.run("mkdir", VASSALS)
    watch.told(r"none of them is removed", cursor)
    machine.run("rmdir", VASSALS)
    machine.run("mv", f"{VASSALS}.away", VASSALS)
    watch.vassal("later.ini", address="/run/later.sock")
    watch.told(r"^later\.ini: added", cursor)
    assert listening(machine) == MANY
    assert watch.app("uwsgi", f"/run/{names[0]}.sock") == before
