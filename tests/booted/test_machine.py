"""The harness itself: what the other tests rely on."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from pathlib import Path

import pytest

from .machine import CommandError, Machine, MachineError, message
from .process import Lines, kill, spawn
from .suite import CHECKOUT, PYTHON

APPLICATION = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [("hello from " + environ["PATH_INFO"]).encode()]
"""
VASSAL = """
[uwsgi]
plugins = python3
wsgi-file = /srv/harness/app.py
protocol = {protocol}
master = true
die-on-term = true
"""
SOCKET = """
[Socket]
ListenStream={address}
"""
SERVICE = """
[Service]
StandardInput=socket
StandardOutput=journal
StandardError=journal
ExecStart=/usr/bin/uwsgi --ini /srv/harness/vassal.ini
KillMode=mixed
"""
BOOT_AND_WAIT = """
import sys, time
from {package}.machine import Machine
machine = Machine()
machine.start()
print(machine.supervisor_pid(), machine.pid1(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def user(machine: Machine) -> str:
    machine.add_user("alice")
    machine.cleanups.append(lambda: machine.remove_user("alice"))
    return "alice"


def add_vassal(machine: Machine, protocol: str, address: str) -> None:
    def clean_up() -> None:
        machine.run("systemctl", "stop", "harness.socket", "harness.service", check=False)
        machine.remove("/etc/systemd/system/harness.socket", "/etc/systemd/system/harness.service")
        machine.remove("/srv/harness")
        machine.run("systemctl", "daemon-reload")

    machine.cleanups.append(clean_up)
    machine.write_many(
        {
            "/srv/harness/app.py": APPLICATION,
            "/srv/harness/vassal.ini": VASSAL.format(protocol=protocol),
            "/etc/systemd/system/harness.socket": SOCKET.format(address=address),
            "/etc/systemd/system/harness.service": SERVICE,
        }
    )
    machine.run("systemctl", "start", "harness.socket")
    machine.wait_unit("harness.socket", "SubState", "listening")


def wait_for_end(pidfd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def traces(directory: Path, supervisor: int) -> list[str]:
    """What is left of a machine on the host."""
    name = f"emperor-bridge-machine-{supervisor}"
    found = [str(path) for path in directory.glob("*")]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{name}")]
    for process in Path("/proc").glob("[0-9]*"):
        for file in ("cmdline", "mountinfo"):
            try:
                text = (process / file).read_text(errors="replace")
            except OSError:
                continue
            if name in text:
                found.append(f"{process / file}")
    return found


def test_the_boot_is_complete(machine: Machine) -> None:
    assert machine.run("systemctl", "is-system-running").stdout == "running\n"
    assert machine.run("systemctl", "--failed", "--quiet").stdout == ""
    assert machine.run("ps", "-o", "comm=", "-p", "1").stdout == "systemd\n"
    assert machine.run("ls", "/sys/class/net").stdout == "lo\n"
    assert Path(f"/proc/{machine.pid1()}/ns/pid").readlink() != Path("/proc/self/ns/pid").readlink()


def test_arguments_reach_the_command_unchanged(machine: Machine) -> None:
    words = ["a b", "$HOME", "", "'\"", "*", "line\nbreak", "-x", "ü", "A=B"]
    code = "import json, sys; print(json.dumps(sys.argv[1:]))"
    assert json.loads(machine.run(PYTHON, "-c", code, *words).stdout) == words


def test_exit_codes_and_streams(machine: Machine) -> None:
    script = "cat; echo err >&2; echo $WORD; pwd; exit 7"
    argv = ("sh", "-c", script)
    result = machine.run(*argv, check=False, input=b"in\n", env={"WORD": "word"}, cwd="/usr")
    assert (result.stdout, result.stderr, result.returncode) == ("in\nword\n/usr\n", "err\n", 7)
    with pytest.raises(CommandError, match="exited with 7") as failure:
        machine.run(*argv)
    assert failure.value.result.returncode == 7


def test_a_command_that_hangs_is_killed_with_its_children(machine: Machine) -> None:
    with pytest.raises(MachineError, match="did not end within"):
        machine.run("sh", "-c", "sleep 987 & sleep 987", timeout=0.5)
    assert machine.run("pgrep", "-x", "sleep", check=False).stdout == ""


def test_files(machine: Machine) -> None:
    machine.cleanups.append(lambda: machine.remove("/var/run/harness", "/srv/harness"))
    machine.write("/srv/harness/deep/file", b"\xc3\xa4\n", mode=0o640, owner="www-data")
    assert machine.read("/srv/harness/deep/file") == "ä\n"
    assert machine.run("stat", "-c", "%a %U", "/srv/harness/deep/file").stdout == "640 www-data\n"
    machine.write("/var/run/harness/file", "through an absolute symlink")
    assert machine.exists("/run/harness/file")
    assert not Path("/run/harness").exists()
    assert not Path("/srv/harness").exists()
    machine.remove("/srv/harness", "/srv/never-there")
    assert not machine.exists("/srv/harness")


def test_the_checkout_is_there_read_only(machine: Machine) -> None:
    assert machine.read(__file__) == Path(__file__).read_text()
    with pytest.raises(MachineError, match="Read-only"):
        machine.run("touch", str(CHECKOUT / "written"))


def test_a_user_has_a_session_with_a_manager(machine: Machine, user: str) -> None:
    uid = machine.run("id", "-u", user).stdout.strip()
    assert machine.run("id", "-un", user=user).stdout == f"{user}\n"
    assert machine.run("systemctl", "--user", "is-system-running", "--wait", user=user).stdout == "running\n"
    argv = ("systemd-run", "--user", "--wait", "--pipe", "--quiet", "sh", "-c", "echo $HOME $XDG_RUNTIME_DIR")
    assert machine.run(*argv, user=user).stdout == f"/home/{user} /run/user/{uid}\n"
    code = "import jeepney, os; print(os.getuid(), os.getgroups())"
    assert machine.run(PYTHON, "-c", code, user=user).stdout.startswith(uid)
    machine.run("systemd-run", "--user", "--unit=nap", "sleep", "infinity", user=user)
    machine.wait_unit("nap.service", "ActiveState", "active", user=user)
    (nap,) = machine.processes("nap.service", user=user)
    assert nap.command.endswith("sleep infinity")


@pytest.mark.parametrize("protocol", ["uwsgi", "http", "fastcgi"])
@pytest.mark.parametrize(
    ("listen", "connect"),
    [
        ("/run/harness.sock", "/run/harness.sock"),
        ("@harness", "@harness"),
        ("127.0.0.1:9002", "127.0.0.1:9002"),
        ("[::1]:9003", "[::1]:9003"),
    ],
    ids=["unix", "abstract", "tcp4", "tcp6"],
)
def test_requests_wake_a_real_uwsgi(machine: Machine, protocol: str, listen: str, connect: str) -> None:
    add_vassal(machine, protocol, listen)
    assert machine.processes("harness.service") == []
    cursor = machine.journal_cursor()
    response = machine.request(protocol, connect, path="/hello")
    assert (response.status, response.body, response.error) == (200, "hello from /hello", None)
    machine.wait_journal(r"inherited .* fd 0", unit="harness.service", since_cursor=cursor)
    machine.wait_unit("harness.service", "ActiveState", "active")
    assert any("vassal.ini" in process.command for process in machine.processes("harness.service"))


def test_a_request_without_a_listener_says_so(machine: Machine) -> None:
    response = machine.request("http", "127.0.0.1:9999")
    assert response.status is None
    assert response.error
    assert response.error.startswith("ConnectionRefusedError")


def test_waiting_for_a_unit_sees_a_change_that_comes_later(machine: Machine) -> None:
    machine.cleanups.append(lambda: machine.run("systemctl", "stop", "later.service", check=False))
    started = time.monotonic()
    machine.run("systemd-run", "--unit=later.service", "--collect", "--remain-after-exit", "sleep", "1")
    machine.wait_unit("later.service", "SubState", "exited")
    assert time.monotonic() - started >= 1
    with pytest.raises(MachineError, match=r"SubState is not 'dead' after 0\.2 s: it is 'exited'"):
        machine.wait_unit("later.service", "SubState", "dead", timeout=0.2)


def test_the_journal(machine: Machine) -> None:
    machine.run("logger", "harness: before")
    cursor = machine.journal_cursor()
    machine.run("logger", "harness: after")
    texts = [message(entry) for entry in machine.journal(since_cursor=cursor)]
    assert "harness: after" in texts
    assert "harness: before" not in texts
    assert message(machine.wait_journal("harness: be")) == "harness: before"
    with pytest.raises(MachineError, match="shows no"):
        machine.wait_journal("never logged", timeout=0.3)


def test_reboot(machine: Machine, user: str) -> None:
    machine.cleanups.append(lambda: machine.remove("/srv/kept"))
    machine.write("/srv/kept", "on disk")
    machine.write("/run/lost", "in memory")
    before = machine.read("/proc/sys/kernel/random/boot_id")
    machine.reboot()
    assert machine.read("/proc/sys/kernel/random/boot_id") != before
    assert machine.read("/srv/kept") == "on disk"
    assert not machine.exists("/run/lost")
    assert machine.run("systemctl", "is-system-running").stdout == "running\n"
    uid = machine.run("id", "-u", user).stdout.strip()
    machine.wait_unit(f"user@{uid}.service", "ActiveState", "active")
    machine.run("systemctl", "--user", "is-system-running", "--wait", user=user)


def test_closing_leaves_nothing(tmp_path_on_disk: Path) -> None:
    with Machine(tmp_path_on_disk) as second:
        second.add_user("bob")
        supervisor, leader = second.supervisor_pid(), second.pid1()
        assert traces(tmp_path_on_disk, supervisor) != []
    assert traces(tmp_path_on_disk, supervisor) == []
    assert not Path("/proc", str(leader)).exists()
    with pytest.raises(MachineError, match="not running"):
        second.run("true")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_parent_leaves_nothing(tmp_path_on_disk: Path, how: signal.Signals) -> None:
    environment = f"EMPEROR_BRIDGE_MACHINE_DIR={tmp_path_on_disk}"
    package = (__package__ or "").split(".")
    top = Path(__file__).resolve().parents[len(package)]
    code = BOOT_AND_WAIT.format(package=".".join(package))
    parent = spawn(["env", f"--chdir={top}", environment, sys.executable, "-c", code])
    try:
        line = Lines(parent.stdout).next(time.monotonic() + 60)
        assert line, parent.stderr.read().decode() if parent.stderr else ""
        supervisor, leader = map(int, line.split())
        pidfds = [os.pidfd_open(pid) for pid in (leader, supervisor)]
        os.kill(parent.pid, how)
        for pidfd in pidfds:
            assert wait_for_end(pidfd, 20)
            os.close(pidfd)
        assert traces(tmp_path_on_disk, supervisor) == []
    finally:
        kill(parent)


def test_the_next_machine_removes_what_a_killed_supervisor_left(tmp_path_on_disk: Path) -> None:
    first = Machine(tmp_path_on_disk)
    first.start()
    supervisor = first.supervisor_pid()
    leader = os.pidfd_open(first.pid1())
    os.kill(supervisor, signal.SIGKILL)
    first.close()
    with Machine(tmp_path_on_disk):
        assert wait_for_end(leader, 10)
        assert not (tmp_path_on_disk / f"emperor-bridge-machine-{supervisor}").exists()
    os.close(leader)
    assert traces(tmp_path_on_disk, supervisor) == []


def test_a_machine_that_cannot_boot_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MachineError, match="is on tmpfs, which cannot hold"):
        Machine(Path("/dev/shm")).start()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MachineError, match="needs systemd-nspawn, unshare"):
        Machine().start()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MachineError, match="needs root"):
        Machine().start()
