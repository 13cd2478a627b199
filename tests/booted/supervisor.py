"""Boot the machine, restart it when it reboots, and clear everything away in the end.

Run by `container.py` as a process of its own, with the standard library only. It works until its standard
input ends, which happens however the parent ends, SIGKILL included; that is why it can clean up after a
parent that could not. On standard output it reports one JSON object per line.

Nothing is ever mounted in this process's own mount namespace: the overlay exists only in the container's, so
that removing the work directory cannot reach the tree's files.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cgroups import cgroups, remove_cgroup
    from .upper import Plan, prepare
else:
    from cgroups import cgroups, remove_cgroup
    from upper import Plan, prepare

PREFIX = "emperor-bridge-machine-"
KILL_TIMEOUT_MS = 5000
REBOOT = 133  # systemd-nspawn's exit code with --keep-unit when the container asked for a reboot

# Runs in the private mount namespace, as the process that becomes systemd-nspawn.
# nspawn keeps notes in /run, which is the host's, so it gets a /run of its own.
MOUNT_AND_EXEC = """
directory=$1 tree=$2 groups=$3
shift 3
for group in $groups; do echo $$ >"$group/cgroup.procs"; done
mount --bind "$tree" "$directory/lower"
mount -o remount,bind,ro "$directory/lower"
mount -t overlay overlay "$directory/root" \
    -o "lowerdir=$directory/lower,upperdir=$directory/upper,workdir=$directory/work"
mount -t tmpfs tmpfs /run
exec "$@"
"""


def report(event: str, **details: object) -> None:
    """Tell the parent; a parent that is gone is no reason to stop cleaning up."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps({"event": event, **details}).encode() + b"\n")


def remove(directory: Path) -> None:
    """Remove a machine's cgroups and work directory, unless something is mounted below it."""
    for group in cgroups(directory.name):
        remove_cgroup(group)
    if f" {directory}/" in Path("/proc/self/mountinfo").read_text():
        raise RuntimeError(f"something is mounted below {directory}; it is not removed")
    shutil.rmtree(directory, ignore_errors=True)


def remove_stale(base: Path) -> None:
    """Remove what supervisors that were killed have left."""
    for directory in base.glob(PREFIX + "*"):
        pid = directory.name.removeprefix(PREFIX)
        if pid.isdigit() and not Path("/proc", pid).exists():
            remove(directory)


def bind_option(directory: Path, path: str) -> str:
    """Bind a host path read-only, through an overlay that opens it when only its owner may enter it."""
    name = path.replace("\\", "\\\\").replace(":", "\\:")
    if Path(path).stat().st_mode & 0o005 == 0o005:
        return f"--bind-ro={name}"
    return f"--overlay-ro={name}:{directory}/open:{name}"


def nspawn(directory: Path, plan: Plan, console: int, notify: str) -> subprocess.Popen[bytes]:
    """Start the container."""
    files = Path("/proc/sys/fs/nr_open").read_text().strip()
    groups = cgroups(directory.name)
    for group in groups:
        remove_cgroup(group)
        group.mkdir()
    command = ["setpriv", "--pdeathsig", "KILL"]
    command += ["nsenter", f"--net={plan.namespace}"] if plan.bridge else []
    command += ["unshare", "--mount", "sh", "-ec", MOUNT_AND_EXEC, "sh"]
    command += [str(directory), plan.tree, " ".join(map(str, groups))]
    command += ["systemd-nspawn", "--quiet", "--boot", f"--directory={directory}/root"]
    command += [f"--machine={plan.name}", "--register=no", "--keep-unit", "--settings=no"]
    command += [f"--network-bridge={plan.bridge}" if plan.bridge else "--private-network"]
    command += ["--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=pipe"]
    command += ["--notify-ready=yes", f"--rlimit=NOFILE=1024:{files}"]
    command += [bind_option(directory, path) for path in plan.binds]
    environment = {**os.environ, "NOTIFY_SOCKET": notify}
    if plan.tree != "/":
        # From 258 on systemd knows no other; what the host has suits its own tree.
        environment["UNIFIED_CGROUP_HIERARCHY"] = "1"
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, env=environment)


def supervise(directory: Path, plan: Plan) -> None:
    """Keep the container running until the parent ends or the container does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, (directory / "console").open("w") as log:
        # With a path it is there from every network namespace.
        notify.bind(str(directory / "notify"))
        status = REBOOT
        while status == REBOOT:
            status = run_once(directory, plan, log.fileno(), notify)
        lines = (directory / "console").read_text(errors="replace").splitlines()
    report("ended", status=status, console="\n".join(lines[-30:]))


def run_once(directory: Path, plan: Plan, console: int, notify: socket.socket) -> int:
    """Run the container from boot to end and return its exit status."""
    container = nspawn(directory, plan, console, notify.getsockname())
    pidfd = os.pidfd_open(container.pid)
    leader, booted = 0, False
    poll = select.poll()
    for descriptor in (0, notify.fileno(), pidfd):
        poll.register(descriptor, select.POLLIN)
    try:
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if notify.fileno() in ready:
                for line in notify.recv(65536).decode(errors="replace").splitlines():
                    key, _, value = line.partition("=")
                    if key == "X_NSPAWN_LEADER_PID":
                        leader = int(value)
                        report("leader", pid=leader)
                    elif line == "READY=1" and not booted:  # some versions repeat it at each reload
                        booted = True
                        report("ready")
            if pidfd in ready:
                leader = 0
                break
            if 0 in ready and not os.read(0, 4096):
                break
    finally:
        status = end(container, pidfd, leader)
    return status


def end(container: subprocess.Popen[bytes], pidfd: int, leader: int) -> int:
    """End the container if it still runs, PID 1 first: nspawn then ends by itself, leaving nothing."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if leader:
        with contextlib.suppress(ProcessLookupError):
            os.kill(leader, signal.SIGKILL)
    if not leader or not poll.poll(KILL_TIMEOUT_MS):
        container.kill()
    os.close(pidfd)
    return container.wait()


def main() -> None:
    """Run one machine below a directory, the first argument, as the plan, the second, says."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    base = Path(sys.argv[1])
    plan = Plan(**json.loads(sys.argv[2]))
    directory = base / f"{PREFIX}{os.getpid()}"
    try:
        base.mkdir(parents=True, exist_ok=True)
        remove_stale(base)
        directory.mkdir()
        with plan.locked():
            prepare(directory, plan)
            supervise(directory, plan)
    except (OSError, ValueError, RuntimeError) as error:
        report("failed", reason=str(error))
    finally:
        remove(directory)


if __name__ == "__main__":
    main()
