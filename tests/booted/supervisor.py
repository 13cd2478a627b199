"""Boot the machine, restart it when it reboots, and clear everything away in the end.

Run by `container.py` as a process of its own, with the standard library only. It works until its standard
input ends, which happens however the parent ends, SIGKILL included; that is why it can clean up after a
parent that could not. On standard output it reports one JSON object per line.

Nothing is ever mounted in this process's own mount namespace: the overlay exists only in the container's, so
that removing the work directory can not reach the host's files.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import uuid
from pathlib import Path

PREFIX = "emperor-bridge-machine-"
KILL_TIMEOUT_MS = 5000
REBOOT = 133  # systemd-nspawn's exit code with --keep-unit when the container asked for a reboot

# Runs in the private mount namespace, as the process that becomes systemd-nspawn.
# nspawn keeps notes in /run, which is the host's, so it gets a /run of its own.
MOUNT_AND_EXEC = """
directory=$1 groups=$2
shift 2
for group in $groups; do echo $$ >"$group/cgroup.procs"; done
mount --bind / "$directory/lower"
mount -o remount,bind,ro "$directory/lower"
mount -t overlay overlay "$directory/root" \
    -o "lowerdir=$directory/lower,upperdir=$directory/upper,workdir=$directory/work"
mount -t tmpfs tmpfs /run
exec "$@"
"""

# Wanted by systemd itself, useless here. What the host's administrator enabled is not seen at all.
MASKED_UNITS = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dev-hugepages.mount",
    "docker.service",
    "docker.socket",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "kmod-static-nodes.service",
    "ldconfig.service",
    "logrotate.timer",
    "man-db.timer",
    "postgresql.service",
    "proc-sys-fs-binfmt_misc.automount",
    "snapd.service",
    "snapd.socket",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-flush.service",
    "systemd-machine-id-commit.service",
    "systemd-modules-load.service",
    "systemd-network-generator.service",
    "systemd-networkd-wait-online.service",
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-resolved.service",
    "systemd-sysctl.service",
    "systemd-timesyncd.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd.service",
    "systemd-update-done.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
)
MASKED_FILES = (
    "system-generators/postgresql-generator",
    "system-generators/systemd-getty-generator",
    "system-generators/systemd-gpt-auto-generator",
    "system-generators/systemd-sysv-generator",
)


def report(event: str, **details: object) -> None:
    """Tell the parent; a parent that is gone is no reason to stop cleaning up."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps({"event": event, **details}).encode() + b"\n")


def cgroups(name: str) -> list[Path]:
    """Name the machine's cgroups in the hierarchies that systemd manages."""
    top = Path("/sys/fs/cgroup")
    if (top / "cgroup.controllers").exists():
        return [top / name]
    return [top / kind / name for kind in ("unified", "systemd") if (top / kind).is_dir()]


def kill_cgroup(group: Path) -> None:
    """Kill what is left in a cgroup and wait until it is empty, if its hierarchy can do that."""
    if not (group / "cgroup.kill").exists():
        return
    (group / "cgroup.kill").write_text("1")
    poll = select.poll()
    with (group / "cgroup.events").open() as events:
        poll.register(events, select.POLLPRI)
        while "populated 1" in events.read() and poll.poll(KILL_TIMEOUT_MS):
            events.seek(0)


def remove_cgroup(group: Path) -> None:
    """Remove a cgroup and its children with every process in them."""
    kill_cgroup(group)
    for directory, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            Path(directory).rmdir()


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


def make_directory(upper: Path, path: Path) -> Path:
    """Make a directory of the overlay with the owner and mode it has on the host."""
    target = upper / path.relative_to("/")
    if not target.exists():
        if path != Path("/"):
            make_directory(upper, path.parent)
        host = path.stat() if path.is_dir() else None
        target.mkdir(exist_ok=True)
        target.chmod(stat.S_IMODE(host.st_mode) if host else 0o755)
        if host:
            os.chown(target, host.st_uid, host.st_gid)
    return target


def prepare(directory: Path, binds: list[str]) -> None:
    """Make the overlay's upper layer: what differs from the host's own tree."""
    for name in ("lower", "upper", "work", "root", "open"):
        (directory / name).mkdir()
    upper = directory / "upper"
    upper.chmod(0o755)
    etc = make_directory(upper, Path("/etc"))
    # A machine id of its own: without one systemd takes this for a first boot and enables every preset.
    (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
    (etc / "fstab").write_text("")
    for updated in (etc / ".updated", make_directory(upper, Path("/var")) / ".updated"):
        updated.touch()
    for manager in ("system", "user"):
        os.setxattr(make_directory(upper, Path("/etc/systemd", manager)), "trusted.overlay.opaque", b"y")
    units = etc / "systemd/system"
    (units / "default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
    for unit in MASKED_UNITS:
        (units / unit).symlink_to("/dev/null")
    make_directory(upper, Path("/etc/systemd/system-generators"))
    for name in MASKED_FILES:
        (etc / "systemd" / name).symlink_to("/dev/null")
    # The machine's /tmp is new at each boot, and the checkout may be bound below it: nothing to empty.
    tmpfiles = make_directory(upper, Path("/etc/tmpfiles.d")) / "tmp.conf"
    tmpfiles.unlink(missing_ok=True)
    tmpfiles.symlink_to("/dev/null")
    journald = make_directory(upper, Path("/etc/systemd/journald.conf.d"))
    (journald / "zz-tests.conf").write_text("[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n")
    for bind in binds:
        for parent in Path(bind).parents:
            if parent.is_dir():
                # Ordinary users must reach the checkout and its interpreter, below /root for instance.
                target = make_directory(upper, parent)
                target.chmod(stat.S_IMODE(target.stat().st_mode) | 0o011)


def bind_option(directory: Path, path: str) -> str:
    """Bind a host path read-only, through an overlay that opens it when only its owner may enter it."""
    name = path.replace("\\", "\\\\").replace(":", "\\:")
    if Path(path).stat().st_mode & 0o005 == 0o005:
        return f"--bind-ro={name}"
    return f"--overlay-ro={name}:{directory}/open:{name}"


def nspawn(directory: Path, binds: list[str], console: int, notify: str) -> subprocess.Popen[bytes]:
    """Start the container."""
    files = Path("/proc/sys/fs/nr_open").read_text().strip()
    groups = cgroups(directory.name)
    for group in groups:
        remove_cgroup(group)
        group.mkdir()
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "sh", "-ec", MOUNT_AND_EXEC, "sh"]
    command += [str(directory), " ".join(map(str, groups))]
    command += ["systemd-nspawn", "--quiet", "--boot", f"--directory={directory}/root"]
    command += ["--machine=bridge-test", "--register=no", "--keep-unit", "--private-network", "--settings=no"]
    command += ["--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=pipe"]
    command += ["--notify-ready=yes", f"--rlimit=NOFILE=1024:{files}"]
    command += [bind_option(directory, path) for path in binds]
    environment = {**os.environ, "NOTIFY_SOCKET": notify}
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, env=environment)


def supervise(directory: Path, binds: list[str]) -> None:
    """Keep the container running until the parent ends or the container does."""
    name = f"{directory.name}-notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, (directory / "console").open("w") as log:
        notify.bind(f"\0{name}")
        status = REBOOT
        while status == REBOOT:
            status = run_once(directory, binds, log.fileno(), notify)
        lines = (directory / "console").read_text(errors="replace").splitlines()
    report("ended", status=status, console="\n".join(lines[-30:]))


def run_once(directory: Path, binds: list[str], console: int, notify: socket.socket) -> int:
    """Run the container from boot to end and return its exit status."""
    address = notify.getsockname().decode().replace("\0", "@", 1)
    container = nspawn(directory, binds, console, address)
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
    """Run one machine as the JSON in the first argument asks: {"base": directory, "binds": [paths]}."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    config = json.loads(sys.argv[1])
    base = Path(config["base"])
    directory = base / f"{PREFIX}{os.getpid()}"
    try:
        base.mkdir(parents=True, exist_ok=True)
        remove_stale(base)
        directory.mkdir()
        prepare(directory, config["binds"])
        supervise(directory, config["binds"])
    except (OSError, ValueError, RuntimeError) as error:
        report("failed", reason=str(error))
    finally:
        remove(directory)


if __name__ == "__main__":
    main()
