"""Where systemd really listens: sockets that a daemon-reload closes, and drop-ins of an admin's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from .bridge import config
from .steady import asked
from .suite import PYTHON

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

ETC = "/etc/systemd/system"
CLOSING = ("systemd 252", "systemd 257")
"""Versions in which this was seen."""
PLAIN = ("/run/plain.sock", "@plain", "127.0.0.1:9721", "[::1]:9722")
ODD = ("/run/odd é.sock", '/run/o"dd.sock', "/run/o'dd.sock", "/run/o\\dd.sock", "@odd-é", '@o"dd')
# Whether the kernel has a listening socket: to connect would start the app, which then holds the socket open.
LISTENS = """
import json, sys
from bridge.host.listeners import listening
heard = {str(address) for address in listening()}
print(json.dumps([address in heard for address in json.load(sys.stdin)]))
"""


def reachable(machine: Machine) -> list[bool]:
    """Tell at which of the odd addresses a socket listens."""
    asked = json.dumps(ODD).encode()
    found: list[bool] = json.loads(machine.run(PYTHON, "-c", LISTENS, input=asked).stdout)
    return found


def codes(bridge: Bridge) -> dict[str, set[str]]:
    """Return the codes of ``check`` by vassal."""
    found: dict[str, set[str]] = {}
    for one in json.loads(bridge.run("check", "--json", status=None).stdout):
        found.setdefault(one["vassal"], set()).add(one["code"])
    return found


@pytest.fixture
def odd(bridge: Bridge) -> Bridge:
    """Vassals whose sockets systemd closes at a daemon-reload, and others."""
    for number, address in enumerate(ODD):
        bridge.vassal(f"odd{number}.ini", address=address)
    for number, address in enumerate(PLAIN):
        bridge.vassal(f"plain{number}.ini", address=address)
    return bridge


def test_a_reload_by_an_admin_is_noticed_and_mended_by_sync(machine: Machine, odd: Bridge) -> None:
    odd.sync()
    assert reachable(machine) == [True] * len(ODD)
    assert codes(odd) == {f"odd{number}.ini": {"socket-reload"} for number in range(len(ODD))}
    with asked(machine, *PLAIN):
        for _ in range(2):
            machine.run("systemctl", "daemon-reload")
            closed = {f"odd{number}.ini" for number, is_open in enumerate(reachable(machine)) if not is_open}
            if machine.run("systemctl", "--version").stdout.startswith(CLOSING):
                assert len(closed) == len(ODD)
            rows = odd.status()
            assert {name for name, row in rows.items() if row["state"] == "failed"} == closed
            assert all(rows[name]["problem"].startswith("nobody listens on ") for name in closed)
            said = odd.sync().stdout
            assert {line.partition(":")[0] for line in said.splitlines() if ": mended" in line} == closed
            assert reachable(machine) == [True] * len(ODD)
            assert not {row["state"] for row in odd.status().values()} - {"listening", "running"}
            assert odd.sync().stdout == f"{len(ODD) + len(PLAIN)} vassals: nothing to do\n"


def test_a_reload_by_an_admin_is_noticed_and_mended_by_the_daemon(machine: Machine, odd: Bridge) -> None:
    odd.watch()
    with asked(machine, *PLAIN):
        for _ in range(2):
            cursor = machine.journal_cursor()
            machine.run("systemctl", "daemon-reload")
            if not all(reachable(machine)):
                for number in range(len(ODD)):
                    odd.told(rf"^odd{number}\.ini: mended", cursor)
            assert reachable(machine) == [True] * len(ODD)


def test_an_app_that_runs_keeps_its_socket_until_it_ends(machine: Machine, odd: Bridge) -> None:
    """Only then is the socket lost that PID 1 has closed long ago."""
    odd.vassal("odd0.ini", config("idle = 2", "die-on-idle = true"), address=ODD[0])
    odd.watch()
    for _ in range(2):
        odd.app("uwsgi", ODD[0])
        cursor = machine.journal_cursor()
        machine.run("systemctl", "daemon-reload")
        odd.wait("odd0", "dead")
        if machine.run("systemctl", "--version").stdout.startswith(CLOSING):
            odd.told(r"^odd0\.ini: mended", cursor)
        odd.wait("odd0", "listening")
        assert reachable(machine)[0]


def test_a_reload_that_the_bridge_needs_closes_nothing_for_long(machine: Machine, odd: Bridge) -> None:
    odd.sync()
    odd.app("uwsgi", PLAIN[0])
    odd.vassal("plain0.ini", address="/run/moved.sock")
    assert "plain0.ini: changed" in odd.sync().stdout
    odd.sync()
    assert reachable(machine) == [True] * len(ODD)


# Drop-ins.


@pytest.fixture
def plain(bridge: Bridge) -> Bridge:
    """A vassal that waits, and another one."""
    bridge.vassal("app.ini", address="/run/app.sock")
    bridge.vassal("good.ini", address="/run/good.sock")
    bridge.sync()
    return bridge


def drop_in(machine: Machine, text: str, folder: str = f"{ETC}/vassal-app.socket.d") -> str:
    """Have an admin write a drop-in, and restart the socket with it."""
    path = f"{folder}/elsewhere.conf"
    machine.write(path, f"[Socket]\n{text}")
    machine.cleanups.append(lambda: machine.run("systemctl", "daemon-reload"))
    machine.cleanups.append(lambda: machine.remove(folder))
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "stop", "vassal-app.service", "vassal-app.socket")
    machine.run("systemctl", "start", "vassal-app.socket")
    return path


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ListenStream=@other\n", "/run/app.sock and @other"),
        ("ListenStream=\nListenStream=127.0.0.1:9724\n", "127.0.0.1:9724"),
        ("ListenStream=\nListenDatagram=/run/app.dgram\n", "/run/app.dgram (Datagram)"),
    ],
)
@pytest.mark.parametrize("folder", [f"{ETC}/vassal-app.socket.d", "/run/systemd/system/vassal-app.socket.d"])
def test_a_drop_in_that_has_a_socket_listen_elsewhere_is_told(
    machine: Machine, plain: Bridge, text: str, shown: str, folder: str
) -> None:
    path = drop_in(machine, text, folder)
    since = machine.show("vassal-app.socket", "ActiveEnterTimestampMonotonic")
    with asked(machine, "/run/good.sock"):
        for _ in range(2):
            rows = plain.status()
            assert (rows["app.ini"]["socket"], rows["good.ini"]["socket"]) == (shown, "/run/good.sock")
            assert path in rows["app.ini"]["problem"]
            assert rows["good.ini"]["problem"] is None
            assert codes(plain) == {"app.ini": {"socket-drop-in"}}
            said = plain.sync(status=1)
            assert f"{path} has it listen on {shown} instead" in said.stderr
            assert "[socket-drop-in]" in said.stderr
            # What an admin says is not undone, and nothing is restarted for it.
            assert said.stdout == "2 vassals: nothing to do; 1 problem\n"
            assert machine.show("vassal-app.socket", "ActiveEnterTimestampMonotonic") == since
    machine.remove(folder)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "vassal-app.socket")
    plain.sync()
    assert plain.status()["app.ini"]["socket"] == "/run/app.sock"
    plain.app("uwsgi", "/run/app.sock")


def test_the_app_is_reached_where_the_drop_in_says(machine: Machine, plain: Bridge) -> None:
    drop_in(machine, "ListenStream=\nListenStream=127.0.0.1:9724\n")
    plain.app("uwsgi", "127.0.0.1:9724")
    row = plain.status()["app.ini"]
    assert (row["state"], row["socket"]) == ("running", "127.0.0.1:9724")
    assert machine.request("uwsgi", "/run/app.sock").status is None


def test_a_drop_in_that_changes_no_address_is_no_problem(machine: Machine, plain: Bridge) -> None:
    drop_in(machine, "Backlog=77\nListenStream=\nListenStream=/run/app.sock\n")
    assert codes(plain) == {}
    assert plain.sync().stdout == "2 vassals: nothing to do\n"
    plain.app("uwsgi", "/run/app.sock")
