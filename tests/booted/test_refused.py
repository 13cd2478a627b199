"""What is refused and what fails: each with its reason, while everything else goes on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .bridge import APP, VASSALS, config

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

LISTEN = """
import socket, sys, time
address = sys.argv[1]
server = socket.socket(socket.AF_UNIX if address.startswith("/") else socket.AF_INET)
server.bind(address if address.startswith("/") else ("127.0.0.1", int(address)))
server.listen()
print("listening", flush=True)
sys.stdin.read()
"""


def listen(machine: Machine, address: str) -> None:
    """Have a process of somebody else's listen on a path or port until the test ends."""
    process = machine.popen("python3", "-c", LISTEN, address)
    machine.cleanups.append(lambda: machine.remove(address) if address.startswith("/") else None)
    machine.cleanups.append(process.communicate)
    assert process.stdout is not None
    assert process.stdout.readline() == b"listening\n"


def errors(text: str) -> dict[str, str]:
    """Return each error by the place it names."""
    split = (line.partition(": error: ") for line in text.splitlines())
    return {place: reason for place, found, reason in split if found}


def test_own_sockets_that_cannot_be_handed_over_are_refused_with_the_line(bridge: Bridge) -> None:
    own = {
        "slashes": ("http-socket = //run///slashes.sock", "/run/slashes.sock"),
        "dots": ("socket = /run/../run/./dots.sock", "/run/dots.sock"),
        "relative": ("fastcgi-socket = relative.sock", f"{VASSALS}/relative.sock"),
        "linked": ("socket = /var/run/linked.sock", "/run/linked.sock"),
        "router": ("http = 127.0.0.1:9303", "127.0.0.1:9303"),
        "local": ("uwsgi-socket = 127.0.0.1:9302", ":9302"),
        "zero": ("socket = 127.0.0.1:09304", "127.0.0.1:9304"),
    }
    for name, (option, address) in own.items():
        bridge.vassal(f"{name}.ini", config(option), address=address)
    bridge.vassal("good.ini", config("socket = /run/elsewhere.sock"), address="/run/good.sock")

    result = bridge.sync(status=1)

    line = config().count("\n") + 1
    found = errors(result.stderr)
    assert set(found) == {f"{VASSALS}/{name}.ini:{line}" for name in own}
    for name, (option, _) in own.items():
        reason = found[f"{VASSALS}/{name}.ini:{line}"]
        assert option in reason
        assert "is the address the vassal is to wait on" in reason
        assert "systemd cannot hand it over: " in reason
    states = {name: row["state"] for name, row in bridge.status().items()}
    assert states == {f"{name}.ini": "refused" for name in own} | {"good.ini": "listening"}
    bridge.app("uwsgi", "/run/good.sock")


def test_what_worked_before_a_refusal_goes_on(bridge: Bridge) -> None:
    bridge.vassal("app.ini", address="/run/app.sock")
    bridge.vassal("moves.ini", address="/run/moves.sock")
    bridge.sync()
    app, moves = bridge.app("uwsgi", "/run/app.sock"), bridge.app("uwsgi", "/run/moves.sock")

    bridge.vassal("app.ini", config("socket = //run/app.sock"))
    listen(bridge.machine, "9303")
    bridge.vassal("moves.ini", address=":9303")
    result = bridge.sync(status=1)

    assert "socket = //run/app.sock is the address the vassal is to wait on" in result.stderr
    assert "it is to wait on 0.0.0.0:9303, but another process listens on 127.0.0.1:9303" in result.stderr
    assert bridge.app("uwsgi", "/run/app.sock") == app
    assert bridge.app("uwsgi", "/run/moves.sock") == moves
    assert {row["state"] for row in bridge.status().values()} == {"running"}


def test_who_wants_a_unit_name_of_another_is_refused_and_of_two_new_ones_both(bridge: Bridge) -> None:
    yaml = "uwsgi:\n  plugin: python3\n  wsgi-file: /srv/app/app.py\n  master: true\n"
    bridge.vassal("old.ini", address="/run/old.sock")
    bridge.sync()
    old = bridge.app("uwsgi", "/run/old.sock")

    # The incumbent's own change is applied.
    bridge.vassal("old.ini", config("procname-master = incumbent"), address="/run/old.sock")
    bridge.vassal("old.yaml", yaml, address="/run/old-too.sock")
    bridge.vassal("new.ini", address="/run/new.sock")
    bridge.vassal("new.yaml", yaml, address="/run/new-too.sock")
    result = bridge.sync(status=1)

    found = errors(result.stderr)
    assert set(found) == {f"{VASSALS}/{name}" for name in ("old.yaml", "new.ini", "new.yaml")}
    for this, other in (("old.yaml", "old.ini"), ("new.ini", "new.yaml"), ("new.yaml", "new.ini")):
        expected = f"the unit name vassal-{this[:3]} is also wanted by {VASSALS}/{other}"
        assert found[f"{VASSALS}/{this}"].startswith(expected)
    assert result.stdout.startswith("old.ini: reloaded")
    assert bridge.app("uwsgi", "/run/old.sock")["ppid"] == old["ppid"]
    assert not bridge.machine.exists("/etc/systemd/system/vassal-new.socket")

    bridge.machine.remove(f"{VASSALS}/old.yaml", f"{VASSALS}/new.ini")
    bridge.sync()
    assert bridge.app("uwsgi", "/run/old.sock")["ppid"] == old["ppid"]
    bridge.app("uwsgi", "/run/new-too.sock")


def test_who_wants_an_address_of_another_is_refused_and_of_two_new_ones_both(bridge: Bridge) -> None:
    bridge.vassal("first.ini", address=":9304")
    bridge.sync()
    first = bridge.app("uwsgi", "127.0.0.1:9304")

    bridge.vassal("second.ini", address="127.0.0.1:9304")
    bridge.vassal("one.ini", address="/run/one.sock")
    bridge.vassal("two.ini", address="/var/run//one.sock")
    result = bridge.sync(status=1)

    found = errors(result.stderr)
    assert len(found) == 3
    for this, other in (("second", "first"), ("one", "two"), ("two", "one")):
        assert "is also wanted by" in found[f"{VASSALS}/{this}.ini"]
        assert f"{VASSALS}/{other}.ini" in found[f"{VASSALS}/{this}.ini"]
    assert bridge.app("uwsgi", "127.0.0.1:9304") == first
    assert bridge.machine.request("uwsgi", "/run/one.sock").status is None

    bridge.machine.remove(f"{VASSALS}/second.ini", f"{VASSALS}/two.ini")
    bridge.sync()
    assert bridge.app("uwsgi", "127.0.0.1:9304") == first
    bridge.app("uwsgi", "/run/one.sock")


def test_address_of_a_foreign_process_is_refused_and_left_to_it(machine: Machine, bridge: Bridge) -> None:
    listen(machine, "9305")
    listen(machine, "/run/theirs.sock")
    bridge.vassal("port.ini", address="127.0.0.1:9305")
    bridge.vassal("path.ini", address="/run/theirs.sock")
    bridge.vassal("good.ini", address="/run/good.sock")

    found = errors(bridge.sync(status=1).stderr)

    assert "another process listens on 127.0.0.1:9305" in found[f"{VASSALS}/port.ini"]
    assert "another process listens on /run/theirs.sock" in found[f"{VASSALS}/path.ini"]
    bridge.app("uwsgi", "/run/good.sock")
    assert machine.run("ss", "-lxHn", "src", "/run/theirs.sock").stdout.count("/run/theirs.sock") == 1


def test_systemds_own_reason_reaches_the_admin(bridge: Bridge) -> None:
    bridge.vassal("link.ini", address="[fe80::1]:9306")
    bridge.vassal("good.ini", address="/run/good.sock")
    reason = "Failed to create listening socket ([fe80::1]:9306): Invalid argument"

    for _ in range(2):  # each sync tries again and says so again
        found = errors(bridge.sync(status=1).stderr)
        assert set(found) == {f"{VASSALS}/link.ini"}
        assert reason in found[f"{VASSALS}/link.ini"]
    bridge.app("uwsgi", "/run/good.sock")

    bridge.vassal("link.ini", address="[::1]:9306")
    bridge.sync()
    bridge.app("uwsgi", "[::1]:9306")


def test_what_systemd_would_stumble_over_is_seen_before_anything_is_stopped(bridge: Bridge) -> None:
    names = ("user.ini", "group.ini", "folder.ini")
    for name in names:
        bridge.vassal(name, address=f"/run/{name}.sock")
    bridge.sync()
    before = {name: bridge.app("uwsgi", f"/run/{name}.sock")["pid"] for name in names}

    bridge.vassal("user.ini", config("chown-socket = nobody-such"))
    bridge.vassal("group.ini", config("chown-socket = root:group-such"))
    bridge.vassal("folder.ini", address="/etc/passwd/x.sock")
    found = errors(bridge.sync(status=1).stderr)

    assert "names user 'nobody-such', which is not there" in found[f"{VASSALS}/user.ini:6"]
    assert "names group 'group-such', which is not there" in found[f"{VASSALS}/group.ini:6"]
    assert "Not a directory" in found[f"{VASSALS}/folder.ini"]
    assert {name: bridge.app("uwsgi", f"/run/{name}.sock")["pid"] for name in names} == before


def test_always_on_vassal_that_cannot_run_is_named(bridge: Bridge) -> None:
    broken = config("socket = 127.0.0.1:9307", "need-app = true").replace(APP, "/srv/app/missing.py")
    bridge.vassal("broken.ini", broken)
    bridge.vassal("good.ini", config("socket = 127.0.0.1:9308"))

    result = bridge.sync("--json", status=1)

    (problem,) = json.loads(result.stdout)["diagnostics"]
    assert (problem["vassal"], problem["code"]) == ("broken.ini", "not-running")
    bridge.app("uwsgi", "127.0.0.1:9308")
