"""Mallory has the bridge wait, work, write or stumble."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .attack import APPLIED_WITHIN, MALLORY, SOCKETS, UIDS
from .test_bounds import STUBBORN, STUBBORN_TEXT

if TYPE_CHECKING:
    from .attack import Attack
    from .machine import Machine

OWN = f"{SOCKETS}/{UIDS[MALLORY]}"
PLACES = (
    *("/proc/1/cwd/x", "/proc/1/root/x/y", "/proc/self/fd/3/x", "/proc/self/fd/999/x", "/proc/thread-self/cwd/../x"),
    *("/proc/1/fd/0", "/dev/fd/63/x", f"/{'x' * 60}/../proc/1/cwd/x", f"{OWN}/\u202ex", f"{OWN}/%n%%\\x41"),
)
# Names that are bytes, controls, options, or too long for a unit.
ODD_NAMES = r"""
import os, sys
folder = os.fsencode(sys.argv[1])
names = (b"\xff\xfe", b"a\nb", b"\xe2\x80\xaex", b"\xc2\x9bm", b"-rf", b"--help", b"x" * 240)
names += (b"a b%n$HOME", b".hid", b":")
for name in names:
    for end in (b".ini.socket", b".ini"):
        with open(folder + b"/" + name + end, "wb") as file:
            file.write(b"[uwsgi]\n" if end == b".ini" else b"@odd" + name[:20])
"""
FAN = """
import os, sys
os.makedirs("/home/mallory/fan/d", exist_ok=True)
os.chdir("/home/mallory/fan")
os.symlink(".", "l0")
for at in range(1, 40):
    os.symlink(f"l{at - 1}/l{at - 1}", f"l{at}")
deep = "/".join(["d" * 9] * 400)
for at in range(40):
    os.symlink(f"{deep}/e{at + 1}", f"e{at}")
for name, target in (("f", "l39/x.ini"), ("g", "e0"), ("h", "l38/../l38/l0/y.ini")):
    for end in (".ini", ".ini.socket"):
        os.symlink(f"/home/mallory/fan/{target}", f"{sys.argv[1]}/{name}{end}")
"""
DANGLING = """
import os, sys
for number in range(2000):
    os.symlink("/nowhere/" + "x" * 200, f"{sys.argv[1]}/dangling{number}.ini")
"""
FOLDERS = """
import os, sys, time
end = time.monotonic() + 15
number = 0
while time.monotonic() < end:
    for name in ("sub", f"sub{number}", "sub.ini"):
        os.mkdir(f"{sys.argv[1]}/{name}")
        os.rmdir(f"{sys.argv[1]}/{name}")
    number += 1
print(number)
"""


@pytest.fixture
def fenced(attack: Attack) -> Attack:
    """The daemon with as few capabilities as the shipped unit gives it: it may not look into other processes."""
    folder = "/etc/systemd/system/bridge-watch.service.d"
    attack.machine.write(
        f"{folder}/fence.conf", "[Service]\nCapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_LEASE CAP_SETUID\n"
    )
    attack.machine.cleanups.append(lambda: attack.machine.remove(folder))
    attack.machine.run("systemctl", "daemon-reload")
    attack.machine.run("systemctl", "restart", "bridge-watch.service")
    return attack


@pytest.mark.parametrize("attack", ["shared"], indirect=True)
def test_places_and_names_over_which_the_bridge_might_stumble(fenced: Attack) -> None:
    with fenced.held():
        for number, place in enumerate(PLACES):
            fenced.serve(MALLORY, f"p{number}.ini", address=place)
        fenced.mallory(ODD_NAMES, fenced.folder(MALLORY))
        fenced.change()
        status = fenced.bridge.run("status", status=None)
        assert "\u202e" not in status.stdout
        for command in (["check"], ["sync", "--dry-run"], ["render", "p8.ini"]):
            told = fenced.bridge.run(*command, status=None)
            assert not {"\u202e", "\x9b"} & set(told.stdout + told.stderr)


def test_links_that_fan_out_and_lead_deep(attack: Attack) -> None:
    with attack.held():
        attack.mallory(FAN, attack.folder(MALLORY))
        attack.change()
        attack.bridge.run("check", status=None, timeout=30)
        pid = attack.machine.show("bridge-watch.service", "MainPID")
        assert watches(attack.machine, pid) < 1500


@pytest.mark.parametrize("how", ["ignore", "extend", "reload", "status"])
@pytest.mark.parametrize("attack", ["shared"], indirect=True)
def test_an_app_that_neither_ends_nor_is_quiet(attack: Attack, how: str) -> None:
    attack.machine.write(STUBBORN, STUBBORN_TEXT)
    attack.machine.cleanups.append(lambda: attack.machine.remove(STUBBORN))
    with attack.held():
        attack.serve(MALLORY, "s.ini", "master = false", "enable-threads = true", address="@s1", app=STUBBORN)
        attack.bridge.wait("s", "listening")
        assert attack.machine.request("uwsgi", "@s1", f"/{how}").status == 200
        attack.put(MALLORY, attack.path(MALLORY, "s.ini.socket"), "@s2\n")
        assert attack.change() < APPLIED_WITHIN
        assert attack.change() < APPLIED_WITHIN
        attack.machine.run("rm", attack.path(MALLORY, "s.ini"), attack.path(MALLORY, "s.ini.socket"), user=MALLORY)
        assert attack.change() < APPLIED_WITHIN
    # Nothing of his is left when his account is removed.
    attack.machine.wait_unit("vassal-s.service", "ActiveState", "inactive", 30)


@pytest.mark.parametrize("attack", ["shared"], indirect=True)
def test_folders_that_come_and_go_and_links_that_lead_nowhere(attack: Attack) -> None:
    cursor = attack.machine.journal_cursor()
    with attack.held():
        attack.mallory(DANGLING, attack.folder(MALLORY))
        assert attack.change() < 5
        attack.mallory(FOLDERS, attack.folder(MALLORY))
        assert attack.change() < 5
        told = attack.bridge.sync(status=None)
        assert "more problems with vassals of the user" in told.stderr
        assert len(told.stderr.splitlines()) < 50
    entries = attack.machine.journal(cursor, "bridge-watch.service")
    assert sum("dangling" in str(entry["MESSAGE"]) for entry in entries) < 200


def watches(machine: Machine, pid: str) -> int:
    return machine.run("sh", "-c", f"cat /proc/{pid}/fdinfo/*").stdout.count("inotify wd:")
