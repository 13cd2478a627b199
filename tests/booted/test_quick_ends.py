"""Ends with status 0, said or unsaid readiness, and sockets that an admin restarts: none of them is a failure."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from .bridge import APP, APP_TEXT, config
from .container import HERE
from .machine import message
from .process import kill
from .suite import PYTHON

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

DIES = ("idle = 1", "die-on-idle = true")
WRAPPER = "/srv/hides"
OTHER = "/srv/app/other.py"


def hide_notify_socket(machine: Machine, bridge: Bridge) -> None:
    """Start all vassals by a wrapper that leaves them no environment."""
    text = '#!/bin/sh\nexec env -i PATH="$PATH" uwsgi "$@"\n'
    machine.write(WRAPPER, text, mode=0o755)
    machine.cleanups.insert(0, lambda: machine.remove(WRAPPER))
    bridge.options += ["--emperor-wrapper", WRAPPER]


def test_an_app_that_cannot_say_that_it_is_ready_exits_without_a_pause(machine: Machine, bridge: Bridge) -> None:
    hide_notify_socket(machine, bridge)
    bridge.vassal("mute.ini", config(*DIES), address="/run/mute.sock")
    bridge.sync()
    for _ in range(3):
        bridge.app("uwsgi", "/run/mute.sock")
        bridge.wait("mute", "dead")
        assert not machine.exists("/run/emperor-bridge/pauses/vassal-mute.service")
    row = bridge.status()["mute.ini"]
    assert (row["state"], row["failure"]) == ("listening", None)
    assert row["last_idle_exit"]


def test_an_app_that_cannot_say_that_it_is_ready_gets_its_changed_config(machine: Machine, bridge: Bridge) -> None:
    hide_notify_socket(machine, bridge)
    machine.write(OTHER, APP_TEXT.replace('"pid"', '"other"'))
    machine.cleanups.append(lambda: machine.remove(OTHER))
    path = bridge.vassal("mute.ini", address="/run/mute.sock")
    bridge.sync()
    before = bridge.app("uwsgi", "/run/mute.sock")
    machine.write(path, config().replace(APP, OTHER))
    assert bridge.sync().stdout.startswith("mute.ini: reloaded")
    machine.wait_journal("gracefully|SIGHUP|binary reloading|chdir", unit="vassal-mute.service")
    while "other" not in (answer := bridge.app("uwsgi", "/run/mute.sock")):
        assert answer["pid"] == before["pid"] or answer["ppid"] == before["ppid"]
    assert answer["ppid"] == before["ppid"]


def test_a_socket_that_was_restarted_under_its_app_is_mended(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("cut.ini", address="/run/cut.sock")
    bridge.vassal("other.ini", address="/run/other.sock")
    bridge.sync()
    bridge.app("uwsgi", "/run/cut.sock")
    other = bridge.app("uwsgi", "/run/other.sock")
    assert machine.run("systemctl", "restart", "vassal-cut.socket", check=False).returncode != 0
    assert machine.request("uwsgi", "/run/cut.sock").status is None
    assert "cut.ini: mended" in bridge.sync().stdout
    bridge.app("uwsgi", "/run/cut.sock")
    assert bridge.app("uwsgi", "/run/other.sock")["ppid"] == other["ppid"]
    assert "mended" not in bridge.sync().stdout


def test_an_app_that_runs_always_and_ends_at_once_pauses(machine: Machine, bridge: Bridge) -> None:
    text = "[Service]\nExecStart=\nExecStart=/usr/bin/systemd-notify --ready\n"
    folder = "/etc/systemd/system/vassal-always.service.d"
    machine.write(f"{folder}/brake.conf", text)
    machine.cleanups.insert(0, lambda: machine.remove(folder))
    bridge.vassal("always.ini")
    cursor = machine.journal_cursor()
    # It may be between two starts.
    bridge.sync(status=None)
    note = "/run/emperor-bridge/pauses/vassal-always.service"
    machine.run("sh", "-c", f"until [ 3 = $(head -n1 {note} || echo 0) ]; do sleep 0.2; done 2>/dev/null")
    # Four at once, and then one after each pause. A busy machine starts some more until the pause begins.
    begin = "Starting vassal-always.service"
    assert 6 <= sum(message(entry).startswith(begin) for entry in machine.journal(cursor)) <= 15


def test_an_admin_may_restart_an_app_as_often_as_he_likes(machine: Machine, bridge: Bridge) -> None:
    bridge.options += ["--emperor-throttle", "40000"]
    text = "[Service]\nExecStart=\nExecStart=/bin/sh -c 'systemd-notify --ready; exec sleep infinity'\n"
    folder = "/etc/systemd/system/vassal-often.service.d"
    machine.write(f"{folder}/often.conf", text)
    machine.cleanups.insert(0, lambda: machine.remove(folder))
    bridge.vassal("often.ini")
    bridge.sync()
    for _ in range(8):
        machine.run("systemctl", "restart", "vassal-often.service", timeout=30)
    for _ in range(8):
        machine.run("systemctl", "stop", "vassal-often.service", timeout=30)
        machine.run("systemctl", "start", "vassal-often.service", timeout=30)
    assert not machine.exists("/run/emperor-bridge/pauses/vassal-often.service")


def test_a_stop_ends_every_pause(machine: Machine, bridge: Bridge) -> None:
    bridge.options += ["--emperor-throttle", "40000"]
    drop_ins = {"user": "[Service]\nUser=no-such-user\n", "closed": "[Unit]\nConditionPathExists=/no\n"}
    machine.write_many({f"/etc/systemd/system/vassal-{n}.service.d/x.conf": text for n, text in drop_ins.items()})
    machine.cleanups.insert(
        0, lambda: machine.remove(*(f"/etc/systemd/system/vassal-{name}.service.d" for name in drop_ins))
    )
    for name in drop_ins:
        bridge.vassal(f"{name}.ini", address=f"/run/{name}.sock")
    bridge.sync()
    for name in drop_ins:
        client = machine.popen(PYTHON, str(HERE / "client.py"), "--timeout=60", "uwsgi", f"/run/{name}.sock")
        machine.cleanups.append(partial(kill, client))
        machine.wait_unit(f"pause-vassal-{name}.service", "ActiveState", "activating")
    assert {row["state"] for row in bridge.status().values()} == {"failed"}
    machine.run("systemctl", "stop", "vassals.target", timeout=60)
    for name in drop_ins:
        machine.wait_unit(f"pause-vassal-{name}.service", "ActiveState", "inactive")
        assert machine.show(f"vassal-{name}.socket", "ActiveState") in {"inactive", "failed"}


def test_a_retry_ends_every_pause(machine: Machine, bridge: Bridge) -> None:
    bridge.options += ["--emperor-throttle", "40000"]
    kinds = {
        "environment": "[Service]\nEnvironmentFile=/srv/retry\n",
        "closed": "[Unit]\nConditionPathExists=/srv/retry\n",
    }
    folders = {name: f"/etc/systemd/system/vassal-{name}.service.d" for name in kinds}
    machine.write_many({f"{folders[name]}/x.conf": text for name, text in kinds.items()})
    machine.cleanups.insert(0, lambda: machine.remove("/srv/retry", *folders.values()))
    for name in kinds:
        bridge.vassal(f"{name}.ini", address=f"/run/{name}.sock")
    bridge.sync()
    for name in kinds:
        client = machine.popen(PYTHON, str(HERE / "client.py"), "--timeout=60", "uwsgi", f"/run/{name}.sock")
        machine.cleanups.append(partial(kill, client))
        machine.wait_unit(f"pause-vassal-{name}.service", "ActiveState", "activating")
    machine.write("/srv/retry", "")
    for name in kinds:
        bridge.run("retry", f"{name}.ini")
        bridge.app("uwsgi", f"/run/{name}.sock")
