"""Mallory has root bind, own, make or unlink something in a place that is not his."""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING

import pytest

from .attack import BAIT, MALLORY, ROUNDS, SOCKETS, UIDS, VICTIM, config, make_attack
from .suite import PYTHON

if TYPE_CHECKING:
    from .attack import Attack
    from .machine import Machine

OWN = f"{SOCKETS}/{UIDS[MALLORY]}"
HIS = f"{SOCKETS}/{UIDS[VICTIM]}"
STICKY = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock")

# He names a folder that is missing, makes it while the bridge works, and puts a link in place of the bound socket.
SWAP_SOCKET = """
import os, random, sys, time
folder, bait, rounds, *parents = sys.argv[1:]
text = "[uwsgi]\\nmaster = true\\n"
won = 0
for number in range(int(rounds)):
    top = f"{parents[number % len(parents)]}/x{number}"
    socket = f"{top}/d/name"
    config = f"{folder}/race{number}.ini"
    with open(config + ".socket", "w") as file:
        file.write(socket)
    with open(config, "w") as file:
        file.write(text)
    at = time.monotonic() + random.uniform(0, 0.2)
    while time.monotonic() < at:
        pass
    try:
        os.makedirs(os.path.dirname(socket))
    except OSError:
        pass
    until = time.monotonic() + 1
    while time.monotonic() < until:
        try:
            os.lstat(socket)
            os.symlink(bait, socket + ".new")
            os.rename(socket + ".new", socket)
            won += 1
            break
        except OSError:
            pass
    os.unlink(config)
    os.unlink(config + ".socket")
print(won)
"""

# He has a link that leads to his folder whenever it is judged, and to root's whenever it is used, with some luck.
FLIP_LINK = """
import os, sys
link, count, *targets = sys.argv[1:]
for number in range(int(count)):
    os.symlink(targets[number % len(targets)], link + ".new")
    os.rename(link + ".new", link)
"""

LOGGED_IN = """
import os, sys
os.symlink(sys.argv[1], os.environ["XDG_RUNTIME_DIR"] + "/z")
os.unlink(sys.argv[2])
"""

TURN = """
import os, sys
here, there = sys.argv[1:]
os.chdir(here)
print(os.getpid(), flush=True)
sys.stdin.readline()
os.chdir(there)
print("turned", flush=True)
sys.stdin.readline()
"""


def put_many(attack: Attack, addresses: dict[str, str], *lines: str) -> None:
    for name, address in addresses.items():
        attack.serve(MALLORY, f"{name}.ini", *lines, address=address)


def remove_many(attack: Attack, names: dict[str, str]) -> None:
    paths = [attack.path(MALLORY, f"{name}.ini") for name in names]
    attack.machine.run("rm", "-f", "--", *paths, *(f"{path}.socket" for path in paths), user=MALLORY)


# A1: he becomes the owner of a file of root's


@pytest.mark.soak
def test_a_folder_that_is_made_while_the_bridge_looks(attack: Attack) -> None:
    with attack.held():
        attack.mallory(SWAP_SOCKET, attack.folder(MALLORY), BAIT, str(ROUNDS), *STICKY)


@pytest.mark.soak
@pytest.mark.parametrize("attack", ["shared"], indirect=True)
@pytest.mark.parametrize("parent", ["/home/mallory", f"{OWN}/../../../tmp", f"{OWN}/below"])
def test_a_folder_of_his_own_or_below_his_sockets(attack: Attack, parent: str) -> None:
    with attack.held():
        attack.mallory(SWAP_SOCKET, attack.folder(MALLORY), BAIT, str(ROUNDS), parent)


@pytest.mark.soak
def test_a_link_that_flips_between_his_folder_and_roots(attack: Attack) -> None:
    with attack.held():
        link = "/tmp/flips"
        for number in range(ROUNDS):
            name = f"flip{number}.ini"
            attack.mallory(FLIP_LINK, link, "1", OWN)
            attack.serve(MALLORY, name, address=f"{link}/{name}.sock")
            attack.mallory(FLIP_LINK, link, "20000", OWN, f"{BAIT}.d")
        remove_many(attack, {f"flip{number}": "" for number in range(ROUNDS)})


# A2: he has root unlink any file


@pytest.mark.parametrize("name", ["z/bait", "z/deep/bait", "bait"])
@pytest.mark.parametrize("attack", ["shared"], indirect=True)
def test_a_folder_that_becomes_his_when_he_logs_in(attack: Attack, name: str) -> None:
    with attack.held():
        config = attack.serve(MALLORY, "z.ini", address=f"/run/user/{UIDS[MALLORY]}/{name}")
        attack.change()
        session = ("--quiet", "--wait", "--pipe", "--collect", "--property=PAMName=login", f"--property=User={MALLORY}")
        argv = (PYTHON, "-c", LOGGED_IN, f"{BAIT}.d", config)
        attack.machine.run("systemd-run", *session, *argv)


def test_a_folder_in_a_place_that_everybody_may_write_to(attack: Attack) -> None:
    with attack.held():
        wanted = {f"sticky{number}": f"{place}/z{number}/bait" for number, place in enumerate(STICKY)}
        put_many(attack, wanted)
        attack.change()
        attack.assert_bounds()
        folders = [address.rpartition("/")[0] for address in wanted.values()]
        script = 'for f in "$@"; do rm -rf "$f"; mv "$f" "$f.old"; ln -s /etc/bait.d "$f"; done; true'
        attack.machine.run("sh", "-c", script, "sh", *folders, user=MALLORY)
        remove_many(attack, wanted)


def test_a_path_through_a_process_of_his(attack: Attack) -> None:
    with attack.held():
        attack.machine.run("mkdir", "/tmp/here", user=MALLORY)
        process = attack.machine.popen(PYTHON, "-c", TURN, "/tmp/here", f"{BAIT}.d", user=MALLORY)
        attack.machine.cleanups.append(partial(process.communicate, b"\n\n"))
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        wanted = {"cwd": f"/proc/{pid}/cwd/bait", "root": f"/proc/{pid}/root/tmp/here/x", "one": "/proc/1/cwd/x"}
        put_many(attack, wanted)
        attack.change()
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        remove_many(attack, wanted)


# A3: a place of root's or of the victim's

PLACES = {
    "target": "/run/systemd/system/vassals.target",
    "unit": "/etc/systemd/system/vassal-later.service",
    "glob-unit": "/etc/systemd/system/vassal-home-victim-vassals-later.service",
    "docker": "/run/docker.sock",
    "made": "/run/made/by/root.sock",
    "etc": "/etc/made/x.sock",
    "neighbour": f"{HIS}/later.sock",
    "neighbours-name": f"{HIS}/site.sock",
    "dots": f"{OWN}/../{UIDS[VICTIM]}/dots.sock",
    "top": f"{SOCKETS}/top.sock",
    "third": f"{SOCKETS}/4103/third.sock",
    "itself": OWN,
    "bridges": "/run/emperor-bridge/x.sock",
    "locked": "/run/emperor-bridge/lock",
    "prefix": f"{OWN}x/prefix.sock",
}


def test_places_of_others_are_refused_and_stay_as_they_are(attack: Attack) -> None:
    with attack.held():
        put_many(attack, PLACES)
        attack.change()
        attack.assert_bounds()
        later = attack.serve(VICTIM, "later.ini", address="127.0.0.1:9603")
        attack.expected += [later, f"{later}.socket"]
        attack.bridge.wait(attack.label(VICTIM, "later"), "listening", timeout=20)
        remove_many(attack, PLACES)


OWNERS = (
    *("root:root", "0:0", "root", ":root", "victim:victim", ":victim", "mallory:victim", "mallory:shadow"),
    *("mallory:www-data", "4102", "mallory:4102"),
)


@pytest.mark.parametrize("attack", ["shared"], indirect=True)
def test_a_socket_belongs_to_him_and_his_group_only(attack: Attack) -> None:
    with attack.held():
        for number, owner in enumerate(OWNERS):
            for name, address in (("c", f"{OWN}/c{number}.sock"), ("r", f"/run/docker{number}.sock")):
                attack.serve(MALLORY, f"{name}{number}.ini", f"chown-socket = {owner}", address=address)
        attack.change()
        attack.assert_bounds()


@pytest.mark.parametrize("attack", ["folders"], indirect=True)
def test_a_file_that_root_puts_there_later_is_not_unlinked(attack: Attack) -> None:
    machine = attack.machine
    machine.run("mkdir", "-p", "/run/later.d", HIS)
    machine.cleanups.append(lambda: machine.remove("/run/later.d"))
    wanted = {"run": "/run/later.d/file", "his": f"{HIS}/file", "top": f"{SOCKETS}/file"}
    with attack.held():
        put_many(attack, wanted)
        attack.change()
        attack.expected += wanted.values()
        for address in wanted.values():
            machine.run("sh", "-ec", 'echo precious >"$1.new"; mv "$1.new" "$1"', "sh", address)
        remove_many(attack, wanted)
        attack.change()
        for address in wanted.values():
            assert machine.read(address) == "precious\n"


# A13: ports of root's


def test_ports_that_only_root_may_bind(attack: Attack) -> None:
    def listening() -> set[str]:
        lines = attack.machine.run("ss", "-Hltn").stdout.splitlines()
        return {line.split()[3] for line in lines}

    before = listening()
    low = {
        "any": ":80",
        "four": "127.0.0.1:22",
        "six": "[::1]:443",
        "wild": "[::]:1023",
        "mapped": "[::ffff:0.0.0.0]:25",
    }
    with attack.held():
        put_many(attack, low)
        attack.serve(MALLORY, "high.ini", address="127.0.0.1:1024")
        attack.change()
        assert listening() - before == {"127.0.0.1:1024"}


def test_an_admin_may_have_more_ports_of_roots(attack: Attack) -> None:
    start = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
    attack.machine.run("sh", "-c", f"echo 9600 >{start}")
    attack.machine.cleanups.append(lambda: attack.machine.run("sh", "-c", f"echo 1024 >{start}"))
    with attack.held():
        put_many(attack, {"low": "127.0.0.1:9599", "high": "127.0.0.1:9600"})
        attack.change()
        lines = attack.machine.run("ss", "-Hltn").stdout
        assert ("127.0.0.1:9600 " in lines, "127.0.0.1:9599 " in lines) == (True, False)


# A14: access control lists

GIVE = """
import os, sys
for name in ("system.posix_acl_access", *(["system.posix_acl_default"] if sys.argv[3] == "default" else [])):
    os.setxattr(sys.argv[1], name, bytes.fromhex(sys.argv[2]))
"""


def access_list(uid: int) -> bytes:
    """Return the list that lets one user write, beside what mode 0755 says (linux/posix_acl_xattr.h)."""
    no_id = 0xFFFFFFFF
    entries = ((0x01, 7, no_id), (0x02, 7, uid), (0x04, 5, no_id), (0x10, 7, no_id), (0x20, 5, no_id))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.mark.parametrize("kind", ["access", "default"])
@pytest.mark.parametrize("where", ["the folder", "the one above"])
@pytest.mark.parametrize("is_named", [False, True], ids=["any folder", "a folder that the admin names"])
def test_a_folder_that_he_may_write_to_by_a_list(machine: Machine, where: str, kind: str, is_named: bool) -> None:
    top = "/srv/lists"
    folder = f"{top}/sockets"
    machine.run("mkdir", "-p", top if kind == "default" else folder)
    machine.cleanups.append(lambda: machine.remove(top))
    given = top if where == "the one above" or kind == "default" else folder
    machine.run(PYTHON, "-c", GIVE, given, access_list(UIDS[MALLORY]).hex(), kind)
    machine.run("mkdir", "-p", folder)
    attack = make_attack(machine, "shared", *(["--tenant-socket-directory", folder] if is_named else []))
    machine.run("mkdir", f"{given}/proof", user=MALLORY)
    # By the list it is his right to rename what is in there, but not to have root unlink the bait.
    attack.expected.append(f"{top}*")
    with attack.held():
        wanted = {"listed": f"{folder}/bait", "deeper": f"{folder}/{UIDS[MALLORY]}/bait", "below": f"{folder}/d/bait"}
        put_many(attack, wanted)
        attack.change()
        script = 'for f in "$@"; do mv "$f" "$f.old"; ln -s /etc/bait.d "$f"; done; true'
        attack.machine.run("sh", "-c", script, "sh", f"{folder}/d", folder, user=MALLORY)
        remove_many(attack, wanted)


def test_a_config_that_serves_where_he_may(attack: Attack) -> None:
    """What he may do, so that the tests above do not hold only because nothing works."""
    with attack.held():
        attack.serve(MALLORY, "own.ini", address="127.0.0.1:9620")
        attack.serve(MALLORY, "name.ini", address="@mallory")
        attack.serve(MALLORY, "path.ini", "chown-socket = mallory:mallory", address=f"{OWN}/own.sock")
        attack.change()
        for address in ("127.0.0.1:9620", "@mallory", f"{OWN}/own.sock"):
            assert attack.bridge.app("uwsgi", address)["uid"] == UIDS[MALLORY]
        assert config() in attack.machine.read(attack.path(MALLORY, "own.ini"))
