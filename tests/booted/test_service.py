"""The units that ship: the daemon as a service behind its fences, and the sync that a path unit starts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from .bridge import VASSALS, config
from .machine import PATIENCE
from .process import Lines, kill
from .service import FOLDER, PATH, SHIPPED, SYNC, TOML, WATCH, Service
from .suite import PYTHON
from .test_watch_lives import BOUND_AGAIN, MOVED_IN

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

EXPOSURE = 3.0
PERIOD = 8
"""Seconds; a daemon that lives is heard twice in it, also on a slow machine."""
DEFAULT = "/etc/uwsgi/vassals"
# Gives an address only where it can write to TMPDIR and to nothing that is the system's or somebody's.
FENCED_RULE = """\
#!/bin/sh
for folder in /etc /usr /root /home /var/lib /srv; do
    if touch "$folder/fence" 2>/dev/null; then rm -f "$folder/fence"; echo "$folder can be written" >&2; exit 1; fi
done
mktemp "$TMPDIR/rule.XXXXXX" >/dev/null || exit 1
grep -q "^NoNewPrivs:.*1" /proc/self/status || exit 1
name=${1##*/}
echo "/run/${name%.ini}.sock"
"""


@pytest.fixture
def service(bridge: Bridge) -> Service:
    """The shipped units installed, and the extension rule configured; nothing runs yet."""
    installed = Service(bridge)
    installed.configure()
    installed.install()
    return installed


def wait_for_pings(service: Service, seconds: float) -> None:
    """Return when the daemon has been telling the watchdog that it lives for so long."""
    first = int(service.state("WatchdogTimestampMonotonic"))
    deadline = time.monotonic() + 180
    while int(service.state("WatchdogTimestampMonotonic")) < first + seconds * 1_000_000:
        assert time.monotonic() < deadline, "the watchdog hears nothing"


# The daemon as a service


def test_it_is_ready_only_when_all_sockets_listen(machine: Machine, service: Service) -> None:
    service.bridge.vassal("unix.ini", address="/run/unix.sock")
    service.bridge.vassal("tcp.ini", address="127.0.0.1:9310")
    service.start()
    assert [machine.show(f"vassal-{name}.socket", "SubState") for name in ("unix", "tcp")] == ["listening"] * 2


def test_its_status_counts_vassals_and_problems(service: Service) -> None:
    service.bridge.vassal("one.ini", address="/run/one.sock")
    service.start()
    assert service.state("StatusText") == "1 vassal"
    service.bridge.vassal("two.ini", address="/run/two.sock")
    service.wait_status("2 vassals")
    service.bridge.vassal("bad.ini", address="300.1.2.3:1")
    service.wait_status("2 vassals, 1 problem")


def test_a_reload_reads_the_configuration_again(machine: Machine, service: Service) -> None:
    # What an emperor.ini includes is not watched: only the signal tells of it.
    more, head = "/etc/emperor-bridge/more.ini", f"[uwsgi]\nemperor = {VASSALS}\n"
    machine.write("/etc/emperor-bridge/emperor.ini", f"[uwsgi]\ninclude = {more}\n")
    machine.write(more, f"{head}emperor-on-demand-extension = .socket\n")
    machine.write(TOML, 'emperor-ini = "/etc/emperor-bridge/emperor.ini"\n')
    service.bridge.vassal("one.ini", address="/run/one.sock")
    service.start()
    pid = service.state("MainPID")
    machine.write(more, f"{head}emperor-on-demand-directory = /run\n")
    cursor = machine.journal_cursor()
    machine.run("systemctl", "reload", WATCH)
    machine.wait_journal("one.ini: changed", unit=WATCH, since_cursor=cursor)
    service.bridge.app("uwsgi", "/run/one.socket")
    machine.wait_unit(WATCH, "ActiveState", "active")
    assert service.state("MainPID") == pid


def test_a_reload_with_a_broken_configuration_leaves_all_as_it_is(machine: Machine, service: Service) -> None:
    service.bridge.vassal("one.ini", address="/run/one.sock")
    service.start()
    cursor = machine.journal_cursor()
    machine.write(TOML, "emperor = \n")
    machine.run("systemctl", "reload", WATCH)
    machine.wait_journal("this is not TOML", unit=WATCH, since_cursor=cursor)
    machine.wait_unit(WATCH, "ActiveState", "active")
    service.bridge.vassal("two.ini", address="/run/two.sock")
    service.bridge.wait("two", "listening")
    assert machine.show("vassal-one.socket", "SubState") == "listening"


def test_a_broken_configuration_at_the_start_is_not_tried_again_and_again(machine: Machine, service: Service) -> None:
    machine.write(TOML, "emperor = \n")
    machine.run("systemctl", "start", WATCH, check=False)
    machine.wait_unit(WATCH, "ActiveState", "failed")
    assert service.state("NRestarts") == "0"


def test_the_watchdog_hears_of_a_daemon_that_sleeps(service: Service) -> None:
    service.drop_in(WATCH, "watchdog", f"[Service]\nWatchdogSec={PERIOD}\n")
    service.machine.run("systemctl", "daemon-reload")
    service.start()
    pid = service.state("MainPID")
    wait_for_pings(service, 1.5 * PERIOD)
    assert (service.state("MainPID"), service.state("NRestarts")) == (pid, "0")


def test_the_watchdog_replaces_a_daemon_that_hangs_and_no_app_notices(machine: Machine, service: Service) -> None:
    service.drop_in(WATCH, "watchdog", f"[Service]\nWatchdogSec={PERIOD}\nRestartSec=100ms\n")
    machine.run("systemctl", "daemon-reload")
    service.bridge.vassal("one.ini", address="/run/one.sock")
    service.start()
    before = service.bridge.app("uwsgi", "/run/one.sock")
    machine.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", WATCH)
    machine.wait_unit(WATCH, "NRestarts", "1")
    machine.wait_unit(WATCH, "ActiveState", "active")
    assert service.bridge.app("uwsgi", "/run/one.sock")["pid"] == before["pid"]


# Behind the fences


def test_behind_the_fences_vassals_come_move_and_go(machine: Machine, service: Service) -> None:
    service.start()
    service.bridge.vassal("one.ini", config("protocol = http"), address="/run/one.sock")
    service.bridge.wait("one", "listening")
    service.bridge.app("http", "/run/one.sock")
    cursor = machine.journal_cursor()
    machine.write(f"{VASSALS}/one.ini.socket", "127.0.0.1:9311\n")
    machine.wait_journal("one.ini: changed", unit=WATCH, since_cursor=cursor)
    service.bridge.wait("one", "listening")
    service.bridge.app("http", "127.0.0.1:9311")
    machine.remove(f"{VASSALS}/one.ini")
    machine.wait_unit("vassal-one.socket", "ActiveState", "inactive")
    assert machine.request("http", "127.0.0.1:9311").error


def test_behind_the_fences_a_deleted_socket_is_healed(machine: Machine, service: Service) -> None:
    service.bridge.vassal("one.ini", address="/tmp/one.sock")
    service.start()
    assert service.state("StatusText") == "1 vassal"
    cursor = machine.journal_cursor()
    machine.remove("/tmp/one.sock")
    machine.wait_journal("one.ini: mended", unit=WATCH, since_cursor=cursor)
    service.bridge.app("uwsgi", "/tmp/one.sock")


@pytest.mark.parametrize("way", [MOVED_IN, BOUND_AGAIN], ids=["moved in", "bound again"])
def test_behind_the_fences_a_socket_replaced_while_it_was_away_is_healed(
    machine: Machine, service: Service, way: str
) -> None:
    service.bridge.vassal("one.ini", address="/srv/one.sock")
    machine.cleanups.append(lambda: machine.remove("/srv/one.sock"))
    service.start()
    machine.run("systemctl", "stop", WATCH)
    stranger = machine.popen(PYTHON, "-c", way, "/srv/one.sock")
    machine.cleanups.append(lambda: kill(stranger))
    assert Lines(stranger.stdout).next(time.monotonic() + PATIENCE) == "there"
    cursor = machine.journal_cursor()
    service.start()
    machine.wait_journal("one.ini: mended", unit=WATCH, since_cursor=cursor)
    service.bridge.app("uwsgi", "/srv/one.sock")


def test_behind_the_fences_a_vassal_may_be_a_link_into_a_home(machine: Machine, service: Service) -> None:
    machine.cleanups.append(lambda: machine.remove("/root/app"))
    service.start()
    machine.write("/root/app/uwsgi.ini", config())
    machine.write(f"{VASSALS}/one.ini.socket", "/run/one.sock\n")
    machine.run("ln", "-s", "/root/app/uwsgi.ini", f"{VASSALS}/one.ini")
    service.bridge.wait("one", "listening")
    first = service.bridge.app("uwsgi", "/run/one.sock")["ppid"]
    cursor = machine.journal_cursor()
    machine.write("/root/app/uwsgi.ini", config("procname = renewed"))
    machine.wait_journal("one.ini: reloaded", unit=WATCH, since_cursor=cursor)
    assert service.bridge.app("uwsgi", "/run/one.sock")["ppid"] == first


def test_behind_the_fences_vassals_and_sockets_of_others_can_be_read(machine: Machine, service: Service) -> None:
    machine.cleanups.append(lambda: machine.remove("/run/others"))
    machine.run("install", "--directory", "--mode=700", "--owner=www-data", "/run/others")
    bind = "import socket; socket.socket(socket.AF_UNIX).bind('/run/others/one.sock')"
    machine.run("setpriv", "--reuid=www-data", "--clear-groups", "/usr/bin/python3", "-c", bind)
    machine.run("chmod", "600", "/run/others/one.sock")
    machine.write(f"{VASSALS}/one.ini.socket", "/run/others/one.sock\n", mode=0o600, owner="www-data")
    machine.write(f"{VASSALS}/one.ini", config(), mode=0o600, owner="www-data")
    service.start()
    # Nobody holds the old socket any more, which only who may connect to it can tell.
    service.bridge.app("uwsgi", "/run/others/one.sock")


def test_behind_the_fences_a_pattern_over_folders_is_followed(machine: Machine, service: Service) -> None:
    service.configure(emperor=f"{VASSALS}/*/*.ini")
    service.start()
    path = f"{VASSALS}/deep/one.ini"
    machine.write_many({f"{path}.socket": "/run/one.sock\n", path: config()})
    unit = machine.run("systemd-escape", "--path", path.removesuffix(".ini")).stdout.strip()
    machine.wait_unit(f"vassal-{unit}.socket", "SubState", "listening")
    service.bridge.app("uwsgi", "/run/one.sock")


def test_behind_the_fences_the_rules_command_works_and_may_write_nowhere_else(
    machine: Machine, service: Service
) -> None:
    machine.cleanups.append(lambda: machine.remove("/srv/rule"))
    machine.write("/srv/rule", FENCED_RULE, mode=0o755)
    service.configure(emperor_on_demand_exec="/srv/rule")
    service.start()
    service.bridge.vassal("one.ini")
    service.wait_status("1 vassal")
    service.bridge.app("uwsgi", "/run/one.sock")


def test_behind_the_fences_it_goes_on_after_a_removal_by_hand(machine: Machine, service: Service) -> None:
    service.bridge.vassal("one.ini", address="/run/one.sock")
    service.start()
    service.bridge.run("remove", "--yes")
    service.bridge.vassal("two.ini", address="/run/two.sock")
    service.bridge.wait("two", "listening")
    machine.run("test", "-e", "/run/emperor-bridge/lock")


# What systemd thinks of them


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("unit", [WATCH, SYNC])
def test_systemd_measures_little_exposure(machine: Machine, unit: str) -> None:
    rows = machine.run("systemd-analyze", "security", "--no-pager", unit).stdout.strip()
    level = float(rows.rpartition(f"{unit}: ")[2].split()[0])
    assert level < EXPOSURE, rows


@pytest.mark.usefixtures("service")
def test_systemd_finds_nothing_wrong_with_any_of_them(machine: Machine) -> None:
    paths = [f"{FOLDER}/{unit}" for unit in SHIPPED]
    # Packages have the manual pages that the units name.
    result = machine.run("systemd-analyze", "verify", "--man=no", "--recursive-errors=one", *paths, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


# Without a resident process


@pytest.fixture
def unattended(service: Service) -> Service:
    """The path unit at work on the folder that it watches unless told otherwise."""
    machine = service.machine
    machine.cleanups.append(lambda: machine.remove(DEFAULT))
    machine.run("mkdir", "-p", DEFAULT)
    service.configure(emperor=DEFAULT)
    machine.run("systemctl", "enable", "--quiet", "--now", PATH)
    return service


def test_a_path_unit_syncs_when_a_vassal_is_added_changed_or_removed(machine: Machine, unattended: Service) -> None:
    machine.write_many({f"{DEFAULT}/one.ini.socket": "/run/one.sock\n", f"{DEFAULT}/one.ini": config()})
    unattended.bridge.wait("one", "listening")
    # While a sync runs the path unit sees nothing.
    machine.wait_unit(PATH, "SubState", "waiting")
    cursor = machine.journal_cursor()
    machine.write(f"{DEFAULT}/one.ini.socket", "/run/moved.sock\n")
    machine.wait_journal("one.ini.*changed", unit=SYNC, since_cursor=cursor)
    machine.wait_unit(PATH, "SubState", "waiting")
    unattended.bridge.app("uwsgi", "/run/moved.sock")
    machine.remove(f"{DEFAULT}/one.ini")
    machine.wait_unit("vassal-one.socket", "ActiveState", "inactive")


def test_what_changed_while_the_machine_was_off_is_synced_at_boot(machine: Machine, unattended: Service) -> None:
    machine.run("systemctl", "stop", PATH)
    unattended.bridge.vassal("one.ini", address="/run/one.sock", folder=DEFAULT)
    assert not machine.exists(f"{FOLDER}/vassal-one.socket")
    machine.reboot()
    unattended.bridge.wait("one", "listening")
    assert machine.show(PATH, "ActiveState") == "active"
