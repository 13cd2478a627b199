"""What a machine boots: a tree, and the layer over it that makes it a machine for tests.

Standard library only: the supervisor uses it.
"""

from __future__ import annotations

import fcntl
import os
import stat
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@dataclass(frozen=True)
class Plan:
    """What to boot, and what to show in it."""

    tree: str = "/"
    lock: str = ""
    """The file that is locked while the tree is in use."""
    binds: list[str] = field(default_factory=list)
    """The host's directories that are there at their own paths, read-only."""
    files: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Files with their modes."""
    name: str = "bridge-test"
    """Its host name, unless a file says otherwise."""
    bridge: str = ""
    """The network bridge that its cable goes to; without one it has no network."""
    namespace: str = ""
    """The file of the network namespace where that bridge is."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others from removing the tree."""
        if not self.lock:
            yield
            return
        with Path(self.lock).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield


@dataclass(frozen=True)
class _Layer:
    tree: Path
    upper: Path

    def make(self, path: Path) -> Path:
        """Make a directory with the owner and mode it has in the tree."""
        target = self.upper / path.relative_to("/")
        if not target.exists():
            if path != Path("/"):
                self.make(path.parent)
            below = self.tree / path.relative_to("/")
            status = below.stat() if below.is_dir() else None
            target.mkdir(exist_ok=True)
            target.chmod(stat.S_IMODE(status.st_mode) if status else 0o755)
            if status:
                os.chown(target, status.st_uid, status.st_gid)
        return target

    def write(self, path: Path, text: str, mode: int = 0o644) -> None:
        """Write a file, and make its directory."""
        target = self.make(path.parent) / path.name
        target.write_text(text)
        target.chmod(mode)


def prepare(directory: Path, plan: Plan) -> None:
    """Make the overlay's upper layer: what differs from the tree."""
    for name in ("lower", "upper", "work", "root", "open"):
        (directory / name).mkdir()
    (directory / "upper").chmod(0o755)
    layer = _Layer(Path(plan.tree), directory / "upper")
    etc = layer.make(Path("/etc"))
    # A machine id of its own: without one systemd takes this for a first boot and enables every preset.
    (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
    (etc / "fstab").write_text("")
    for updated in (etc / ".updated", layer.make(Path("/var")) / ".updated"):
        updated.touch()
    for manager in ("system", "user"):
        os.setxattr(layer.make(Path("/etc/systemd", manager)), "trusted.overlay.opaque", b"y")
    units = etc / "systemd/system"
    (units / "default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
    for unit in MASKED_UNITS:
        (units / unit).symlink_to("/dev/null")
    layer.make(Path("/etc/systemd/system-generators"))
    for name in MASKED_FILES:
        (etc / "systemd" / name).symlink_to("/dev/null")
    # The machine's /tmp is new at each boot, and the checkout may be bound below it: nothing to empty.
    tmpfiles = layer.make(Path("/etc/tmpfiles.d")) / "tmp.conf"
    tmpfiles.unlink(missing_ok=True)
    tmpfiles.symlink_to("/dev/null")
    journald = layer.make(Path("/etc/systemd/journald.conf.d"))
    (journald / "zz-tests.conf").write_text("[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n")
    for bind in plan.binds:
        for parent in Path(bind).parents:
            if parent.is_dir():
                # Ordinary users must reach the checkout and its interpreter, below /root for instance.
                target = layer.make(parent)
                target.chmod(stat.S_IMODE(target.stat().st_mode) | 0o011)
    for path, (text, mode) in plan.files.items():
        layer.write(Path(path), text, mode)
