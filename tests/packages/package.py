"""The packages in a booted machine, as an admin has them: apt, dpkg, and the command that is installed."""

from __future__ import annotations

import hashlib
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.booted.bridge import Bridge

if TYPE_CHECKING:
    from tests.booted.machine import Machine

NAME = "emperor-bridge"
OLDER = "0.0.9-1"
DEBS = "/srv/debs"
TOML = "/etc/emperor-bridge/bridge.toml"
DAEMON, PATH_UNIT = "emperor-bridge.service", "emperor-bridge-sync.path"
UNITS = (DAEMON, PATH_UNIT, "emperor-bridge-sync.service")
PRIVATE = "usr/share/emperor-bridge/bridge/__init__.py"


def make_older(deb: Path, where: Path) -> Path:
    """Make a package of an earlier version from this one; it has all that this one has."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "root"
        subprocess.run(["dpkg-deb", "--raw-extract", str(deb), str(root)], check=True)
        control, sums, module = root / "DEBIAN/control", root / "DEBIAN/md5sums", root / PRIVATE
        control.write_text(re.sub(r"(?m)^Version: .+$", f"Version: {OLDER}", control.read_text()))
        module.write_text(re.sub(r"(?m)^(__version__ = ).+$", rf'\1"{OLDER}"', module.read_text()))
        digest = hashlib.md5(module.read_bytes(), usedforsecurity=False).hexdigest()
        sums.write_text(re.sub(rf"(?m)^\w+(?=  {PRIVATE}$)", digest, sums.read_text()))
        made = where / f"{NAME}_{OLDER}_all.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(root), str(made)], check=True)
    return made


@dataclass
class Package:
    """What an admin does with the packages."""

    machine: Machine
    debs: list[str] = field(default_factory=list)
    """All that are built, in the machine."""
    older: str = ""
    """An earlier version of emperor-bridge."""
    source: str = ""
    """The source package of emperor-bridge."""

    @property
    def newer(self) -> str:
        """The emperor-bridge that is built."""
        return next(deb for deb in self.debs if f"/{NAME}_" in deb)

    @property
    def bridge(self) -> Bridge:
        """The command that is installed, with the installed configuration."""
        return Bridge(self.machine, options=[], program="/usr/bin/emperor-bridge")

    def bring(self, built: Path) -> None:
        """Copy the packages into the machine."""
        found = sorted(path for path in built.iterdir() if "dbgsym" not in path.name)
        with tempfile.TemporaryDirectory() as name:
            older = make_older(next(built.glob(f"{NAME}_*.deb")), Path(name))
            self.machine.write_many({f"{DEBS}/{path.name}": path.read_bytes() for path in [*found, older]})
        self.debs = [f"{DEBS}/{path.name}" for path in found if path.suffix == ".deb"]
        self.source = next(f"{DEBS}/{path.name}" for path in built.glob(f"{NAME}_*.dsc"))
        self.older = f"{DEBS}/{older.name}"

    def apt(self, command: str, *arguments: str) -> str:
        """Run apt-get as a script does, and return what it prints."""
        argv = ("apt-get", command, "--yes", "--no-install-recommends", *arguments)
        result = self.machine.run(*argv, env={"DEBIAN_FRONTEND": "noninteractive"}, timeout=300)
        assert "Traceback" not in result.stderr, result.stderr
        return result.stdout + result.stderr

    def install(self) -> str:
        """Install all of them, with what they depend on."""
        return self.apt("install", *self.debs)

    def verify(self) -> str:
        """Return which installed files differ from what the packages brought."""
        names = [deb.rpartition("/")[2].partition("_")[0] for deb in self.debs]
        return self.machine.run("dpkg", "--verify", *names, check=False).stdout

    def units(self, command: str) -> list[str]:
        """Return what systemctl says of the bridge's own units, such as is-enabled."""
        return self.machine.run("systemctl", command, *UNITS, check=False).stdout.split()

    def version(self) -> str:
        """Return the version that runs as the command."""
        return self.machine.run("emperor-bridge", "--version").stdout.split()[-1]
