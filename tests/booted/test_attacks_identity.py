"""Mallory has his code run as the victim, or takes the name or the address of the victim's site."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from .attack import EVIL, LAYOUTS, LOOT, MALLORY, OWN_SOCKETS, ROUNDS, UIDS, VICTIM, config, make_attack
from .bridge import VASSALS
from .process import Lines, kill
from .suite import PYTHON

if TYPE_CHECKING:
    import subprocess
    from collections import Counter

    from .attack import Attack
    from .machine import Machine

RUNS_EVIL = ("[uwsgi]", "plugin = python3", f"wsgi-file = {EVIL}", "master = true", f"exec-asap = python3 {EVIL}")

# uwsgi's own protocol: whoever may speak it has the server load any file.
SPEAK = """
import socket, struct, sys, time
address, file = sys.argv[1:]
host, _, port = address.rpartition(":")
pairs = {"UWSGI_FILE": file, "UWSGI_APPID": "x", "SCRIPT_NAME": "/x", "REQUEST_METHOD": "GET", "PATH_INFO": "/x"}
body = b"".join(struct.pack("<H", len(t)) + t.encode() for pair in pairs.items() for t in pair)
spoken, until = 0, time.monotonic() + 3
while time.monotonic() < until and spoken < 50:
    try:
        with socket.create_connection((host, int(port)), timeout=1) as connection:
            connection.sendall(struct.pack("<BHB", 0, len(body), 0) + body)
            connection.recv(100)
        spoken += 1
    except OSError:
        pass
print(spoken)
"""

# He waits for the victim's config to go, takes its name, and wakes what the victim's unit still is.
TAKE_OVER = """
import os, random, socket, sys, time
way, path, address, text, seconds = sys.argv[1:]
host, _, port = address.rpartition(":")
own = "/home/mallory/own.ini"
with open(own, "w") as file:
    file.write(text)
print("ready", flush=True)
until = time.monotonic() + 20
while os.path.lexists(path) and time.monotonic() < until:
    pass
held = None
try:
    if way == "link":
        os.symlink(own, path)
    elif way == "rename":
        os.rename(own, path)
    elif way == "no rule":
        os.rename(own, path)
        while os.path.lexists(path + ".socket") and time.monotonic() < until:
            pass
        open(path + ".socket", "w").close()
    elif way in {"flips", "the victim's"}:
        os.symlink("/home/victim/public.ini", path)
    else:
        held = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(held, text.encode())
        if way != "held open":
            os.close(held)
except OSError as error:
    print(error, flush=True)
until = time.monotonic() + float(seconds)
while time.monotonic() < until:
    try:
        with socket.create_connection((host, int(port)), timeout=0.2) as connection:
            connection.sendall(b"\\0\\0\\0\\0")
            connection.recv(100)
    except OSError:
        pass
    if way == "touched":
        os.utime(path)
    if way == "flips":
        # While the service starts, the link leads to his own config for a moment.
        at = time.monotonic() + random.uniform(0, 0.05)
        for target in (own, "/home/victim/public.ini"):
            while time.monotonic() < at:
                pass
            os.symlink(target, path + ".new~")
            os.rename(path + ".new~", path)
            at += 0.02
print("done", flush=True)
"""

FLIP = """
import os, sys
path, own, his, count = sys.argv[1:]
for number in range(int(count)):
    os.symlink(his if number % 2 else own, path + ".new~")
    os.rename(path + ".new~", path)
"""


def loot(attack: Attack) -> list[str]:
    """Return the users as whom mallory's code has run."""
    found = attack.machine.run("sh", "-c", f"ls -d {LOOT}-* 2>/dev/null || true").stdout.split()
    return [path.removeprefix(f"{LOOT}-") for path in found]


def units_of(attack: Attack, user: str) -> set[str]:
    """Return the paths of the configs that have units which run as a user."""
    script = 'grep -lx "User=$1" /etc/systemd/system/vassal-*.service | xargs -r -d "\\n" sed -n "s/^Config=//p"'
    text = attack.machine.run("sh", "-c", script, "sh", str(UIDS[user])).stdout
    return {line.strip('"') for line in text.splitlines()}


# A4: a rule file beside a config of the victim's


@pytest.fixture
def always(machine: Machine, counts: Counter[str]) -> Attack:
    """An attack on a victim whose site runs always and has no rule file."""
    made = make_attack(machine, "shared", always=True)
    made.counts = counts
    return made


def test_a_rule_file_of_his_beside_the_victims_config(always: Attack) -> None:
    with always.held():
        rule = f"{always.path(VICTIM, always.site)}.socket"
        always.put(MALLORY, rule, "127.0.0.1:9612\n")
        always.change()
        assert always.mallory(SPEAK, "127.0.0.1:9612", EVIL) == "0\n"
        always.put(MALLORY, rule, "@taken\n")
        always.change()
        assert loot(always) == []


TOGGLE = """
import os, sys
rule, address, count = sys.argv[1:]
for number in range(int(count)):
    with open(rule, "w") as file:
        file.write(address)
    os.unlink(rule)
"""


@pytest.mark.soak
def test_a_rule_file_of_his_that_comes_and_goes(always: Attack) -> None:
    with always.held():
        rule = f"{always.path(VICTIM, always.site)}.socket"
        for _ in range(ROUNDS):
            always.counts["rule files that come and go"] += 10_000
            always.mallory(TOGGLE, rule, "127.0.0.1:9612", "10000")
            assert "127.0.0.1:9612 " not in always.machine.run("ss", "-Hltn").stdout
        assert not always.machine.exists("/etc/systemd/system/vassal-site.socket")


BESIDE = {
    "a link to a rule of the victim's": f'ln -s "{VASSALS}/other.ini.socket" "$1"',
    "a link to a file of root's": 'ln -s /etc/hostname "$1"',
    "a link to nowhere": 'ln -s /nowhere "$1"',
    "a link to itself": 'ln -s "$1" "$1"',
    "a link to a device": 'ln -s /dev/zero "$1"',
    "a pipe": 'mkfifo "$1"',
    "a folder": 'mkdir "$1"',
    "nonsense": 'head -c 5000 /dev/urandom >"$1"',
    "an unreadable file": 'echo @x >"$1"; chmod 0 "$1"',
    "the victim's own address": 'echo 127.0.0.1:9602 >"$1"',
}


def test_what_else_he_puts_beside_the_victims_config(always: Attack) -> None:
    other = always.serve(VICTIM, "other.ini", address="127.0.0.1:9613")
    always.bridge.wait("other", "listening")
    with always.held():
        rule = f"{always.path(VICTIM, always.site)}.socket"
        slow = {}
        for name, command in BESIDE.items():
            always.machine.run("sh", "-ec", command, "sh", rule, user=MALLORY)
            if (took := always.change()) > 5:
                slow[name] = took
            always.machine.run("rm", "-rf", rule, user=MALLORY)
        assert not slow
        assert always.bridge.app("uwsgi", "127.0.0.1:9613")["uid"] == UIDS[VICTIM]
        assert units_of(always, VICTIM) == {other, always.path(VICTIM, always.site)}


# A5: his config under a name that was the victim's


def start(attack: Attack, script: str, *arguments: str) -> tuple[subprocess.Popen[bytes], Lines]:
    """Start a script as mallory, and return when it says that it is ready."""
    process = attack.machine.popen(PYTHON, "-c", script, *arguments, user=MALLORY)
    lines = Lines(process.stdout)
    assert lines.next(deadline()) == "ready"
    return process, lines


def deadline(seconds: float = 60) -> float:
    return time.monotonic() + seconds


@pytest.mark.soak
@pytest.mark.parametrize(
    "way", ["created", "held open", "rename", "link", "no rule", "touched", "flips", "the victim's"]
)
@pytest.mark.parametrize("attack", ["shared"], indirect=True)
def test_the_name_that_the_victim_gave_up(attack: Attack, way: str) -> None:
    attack.expected.append(f"{VASSALS}/v*.ini*")
    public = "\n".join([*RUNS_EVIL, ""]) if way == "the victim's" else config("die-on-idle = true", "idle = 1")
    attack.put(VICTIM, "/home/victim/public.ini", public)
    with attack.held():
        for number in range(max(2, ROUNDS // 4)):
            attack.counts["names taken over"] += 1
            address = f"127.0.0.1:{9630 + number}"
            path = attack.serve(VICTIM, f"v{number}.ini", address=address)
            attack.bridge.wait(f"v{number}", "listening")
            text = "\n".join([*RUNS_EVIL, ""])
            process, lines = start(attack, TAKE_OVER, way, path, address, text, "2.5")
            try:
                attack.machine.run("rm", path, f"{path}.socket", user=VICTIM)
                assert lines.next(deadline()) == "done"
            finally:
                kill(process)
            assert VICTIM not in loot(attack)
        attack.change()
        assert VICTIM not in loot(attack)


@pytest.mark.parametrize("attack", ["shared"], indirect=True)
def test_the_name_that_the_victims_renamed_config_had(attack: Attack) -> None:
    with attack.held():
        address, text = attack.address, "\n".join([*RUNS_EVIL, ""])
        path = attack.path(VICTIM, attack.site)
        process, lines = start(attack, TAKE_OVER, "created", path, "127.0.0.1:1", text, "3")
        try:
            attack.change("moved.ini")
            assert lines.next(deadline()) == "done"
        finally:
            kill(process)
        attack.change()
        assert VICTIM not in loot(attack)
        assert attack.address == address


# A10: the victim's name, his address, his folder


@pytest.mark.parametrize("attack", ["shared"], indirect=True)
@pytest.mark.parametrize("names", [("site.json",), ("site.xml", "site.yaml"), ("site.yml", "site.js", "site.json")])
def test_a_config_of_the_same_unit_name(attack: Attack, names: tuple[str, ...]) -> None:
    with attack.held():
        for number, name in enumerate(names):
            attack.put(MALLORY, attack.path(MALLORY, f"{name}.socket"), f"127.0.0.1:{9640 + number}\n")
            text = {"xml": "<uwsgi/>", "yaml": "uwsgi:\n", "yml": "uwsgi:\n"}.get(
                name.partition(".")[2], '{"uwsgi":{}}'
            )
            attack.put(MALLORY, attack.path(MALLORY, name), text)
        attack.change()
        attack.bridge.sync(status=None)
        attack.change()
        attack.change("moved.ini")
        attack.change()


SAME = {
    "shared": (f"/run/vassals/{UIDS[VICTIM]}/site.sock", f"//run/vassals/./{UIDS[VICTIM]}/site.sock"),
    "folders": (
        "127.0.0.1:9601",
        ":9601",
        "0.0.0.0:9601",
        "[::]:9601",
        "[::ffff:127.0.0.1]:9601",
        "[::ffff:7f00:1]:9601",
    ),
}


def test_the_victims_address_in_a_rule_of_his(attack: Attack) -> None:
    with attack.held():
        for number, address in enumerate(SAME[attack.layout]):
            attack.serve(MALLORY, f"a{number}.ini", address=address)
        attack.change()
        attack.bridge.sync(status=None)
        attack.change()
        attack.change("moved.ini")
        attack.change("moved-again.ini")
        attack.bridge.sync(status=None)


def test_a_config_of_his_that_binds_the_victims_address_itself(attack: Attack) -> None:
    with attack.held():
        for number, address in enumerate(SAME[attack.layout]):
            attack.serve(MALLORY, f"b{number}.ini", f"socket = {address}")
        attack.change()
        attack.change("moved.ini")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_own_sockets_of_his_at_the_victims_own(machine: Machine, layout: str, counts: Counter[str]) -> None:
    attack = make_attack(machine, layout, *OWN_SOCKETS, always=True)
    attack.counts = counts
    home = f"/run/vassals/{UIDS[VICTIM]}"
    with attack.held():
        for number, address in enumerate(("127.0.0.1:9602", ":9602", "[::]:9602", f"{home}/a.sock", "/home/victim/s")):
            attack.serve(MALLORY, f"c{number}.ini", f"socket = {address}", f"http-socket = 127.0.0.1:{9650 + number}")
        attack.serve(MALLORY, "d.ini", "socket = 127.0.0.1:9660", f"chown-socket = {VICTIM}:root", app=EVIL)
        attack.serve(MALLORY, "e.ini", "shared-socket = 127.0.0.1:9602", "socket = =0", app=EVIL)
        attack.change()
        attack.bridge.sync(status=None)
        attack.change("moved.ini")
        attack.change("moved-again.ini")
        attack.bridge.sync(status=None)


@pytest.mark.parametrize("attack", ["folders"], indirect=True)
def test_a_link_to_the_victims_folder(attack: Attack) -> None:
    with attack.held():
        own, his = attack.folder(MALLORY), attack.folder(VICTIM)
        attack.machine.run("sh", "-ec", 'rmdir "$1"; ln -s "$2" "$1"', "sh", own, his, user=MALLORY)
        attack.change()
        attack.change("moved.ini")
        attack.change("zz.ini")
        assert {path for path in units_of(attack, VICTIM) if path.startswith(own)} == set()


@pytest.mark.parametrize("attack", ["folders"], indirect=True)
def test_links_to_the_victims_files(attack: Attack) -> None:
    with attack.held():
        own, his = attack.folder(MALLORY), attack.folder(VICTIM)
        attack.machine.run("ln", "-s", f"{his}/site.ini", f"{his}/site.ini.socket", own, user=MALLORY)
        attack.change()
        attack.change("moved.ini")
        assert {path for path in units_of(attack, VICTIM) if path.startswith(own)} == set()


# A11: a symlink to a file of the victim's runs as him

PRIVATE = "/home/victim/private.ini"
LINKS = {
    "straight": (f"{PRIVATE}",),
    "through a link of his": ("/tmp/link", PRIVATE),
    "through two": ("/tmp/link", "/home/mallory/link", PRIVATE),
    "through a folder": ("/tmp/folder/private.ini",),
    "relative": ("../../home/victim/private.ini",),
    "through a process": ("/proc/self/root/home/victim/private.ini",),
}


@pytest.mark.parametrize("has_rule", [True, False], ids=["on demand", "always"])
def test_a_link_to_a_file_that_the_victim_does_not_serve(attack: Attack, has_rule: bool) -> None:
    machine = attack.machine
    attack.put(VICTIM, PRIVATE, "\n".join([*RUNS_EVIL, ""]))
    machine.run("ln", "-s", "/home/victim", "/tmp/folder", user=MALLORY)
    with attack.held():
        for number, steps in enumerate(LINKS.values()):
            for link, target in pairwise(steps):
                machine.run("ln", "-sfn", target, link, user=MALLORY)
            path = attack.path(MALLORY, f"link{number}.ini")
            if has_rule:
                attack.put(MALLORY, f"{path}.socket", f"127.0.0.1:{9650 + number}\n")
            machine.run("ln", "-s", steps[0], path, user=MALLORY)
        attack.change()
        attack.bridge.sync(status=None)
        for number in range(len(LINKS)):
            machine.request("uwsgi", f"127.0.0.1:{9650 + number}", timeout=3)
        attack.change()
        assert loot(attack) == []
        assert units_of(attack, VICTIM) == {attack.path(VICTIM, attack.site)}


@pytest.mark.soak
def test_a_link_that_flips_between_his_file_and_the_victims(attack: Attack) -> None:
    attack.put(VICTIM, PRIVATE, "\n".join([*RUNS_EVIL, ""]))
    own = "/home/mallory/own.ini"
    attack.put(MALLORY, own, config())
    with attack.held():
        for number in range(ROUNDS):
            path, address = attack.path(MALLORY, f"flip{number}.ini"), f"127.0.0.1:{9660 + number}"
            attack.put(MALLORY, f"{path}.socket", f"{address}\n")
            attack.counts["configs that flip"] += 10_000
            attack.mallory(FLIP, path, own, PRIVATE, "10000")
            attack.machine.request("uwsgi", address, timeout=1)
        attack.change()
        assert loot(attack) == []
        assert units_of(attack, VICTIM) == {attack.path(VICTIM, attack.site)}
