"""Fleets of vassals, and what earlier versions of the bridge made of them.

``units-VERSION/FLEET`` is an image of the root directory: vassals below ``srv``, and as recorded in a machine their
units below ``etc`` and the bridge's own notes below ``run``. ``python -m tests.booted.fleets CHECKOUT`` records the
last two again, with another checkout's code.
"""

from __future__ import annotations

import argparse
import io
import json
import shlex
import shutil
import sys
import tarfile
from base64 import b64decode
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .bridge import VASSALS, Bridge, install
from .container import HERE
from .machine import Machine
from .suite import PYTHON

OLD = HERE / "units-0.1.0"
SITES, SOCKETS = "/srv/sites", "/run/fleet"
LAST_RUN = "/run/emperor-bridge/last-run"
TENANTS = {"alice": 4001, "bob": 4002}
FIND = "find etc/systemd/system run/emperor-bridge -not -type d '(' -name '*vassal*' -o -path 'run/*' ')' -print0"
"""All that the bridge keeps: its units, the links to them, its notes."""
PACK = f"cd / && {FIND} | sort -z | tar --create --null --no-recursion --files-from=- | base64"
ALTER = "find /etc/systemd/system -type f -name 'vassal*' -exec sed --in-place '$a # of an earlier version' {} +"
RUN_OF = "import sys; sys.path.insert(0, sys.argv.pop(1)); from bridge.cli import main; sys.exit(main())"


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Some vassals, and where their apps answer."""

    name: str
    options: tuple[str, ...]
    woken: tuple[str, ...]
    """Addresses of vassals on demand, to be woken before anything happens."""
    always: tuple[str, ...]
    idle: tuple[str, ...]
    owners: tuple[tuple[str, str], ...] = ()
    """Configs and to whom they belong; all others are root's."""
    since: tuple[str, ...] = ()
    """Options that the later version needs beside these."""

    @property
    def running(self) -> tuple[str, ...]:
        """Where apps answer that run."""
        return (*self.woken, *self.always)

    def put(self, machine: Machine, *parts: str) -> None:
        """Copy parts of the image into the machine, as root's and new."""
        for part in parts:
            machine.run("cp", "--recursive", f"{OLD}/{self.name}/{part}", "/")

    def vassals(self, machine: Machine) -> None:
        """Write the vassals, until the test ends; their owners must be there."""
        machine.cleanups.append(lambda: machine.remove(VASSALS, SITES, SOCKETS))
        self.put(machine, "srv")
        for config, owner in self.owners:
            machine.run("chown", f"{owner}:{owner}", config)

    def installed(self, machine: Machine, *, altered: bool = False) -> None:
        """Have the machine as the earlier version left it: units, links and notes, all sockets listening.

        If ``altered``, no unit's text is today's, however alike the versions are.
        """
        self.vassals(machine)
        self.put(machine, "etc", "run")
        # A folder is known by its inode.
        noted = json.loads(machine.read(LAST_RUN))
        noted["folders"] = {folder: int(machine.run("stat", "-c", "%i", folder).stdout) for folder in noted["folders"]}
        machine.write(LAST_RUN, json.dumps(noted))
        if altered:
            machine.run("sh", "-c", ALTER)
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "start", "vassals.target")


PLAIN = Fleet(
    name="plain",
    options=("--emperor", VASSALS, "--emperor", f"{SITES}/*/app.ini", "--emperor-on-demand-extension", ".socket"),
    woken=(f"{SOCKETS}/woken.sock",),
    always=("127.0.0.1:9502",),
    idle=(
        f"{SOCKETS}/idle.sock",
        "127.0.0.1:9501",
        "@fleet-abstract",
        f"{SOCKETS}/odd %n.sock",
        f"{SOCKETS}/shop.sock",
    ),
)
TYRANT = Fleet(
    name="tyrant",
    options=("--emperor", VASSALS, "--emperor-tyrant", "--emperor-on-demand-extension", ".socket"),
    since=("--tenant-socket-directory", SOCKETS),
    woken=(f"{SOCKETS}/alice.sock",),
    always=("127.0.0.1:9504",),
    idle=("127.0.0.1:9503",),
    owners=tuple((f"{VASSALS}/{name}.ini", name.partition("-")[0]) for name in ("alice", "bob", "bob-always")),
)
FLEETS = {fleet.name: fleet for fleet in (PLAIN, TYRANT)}


def add_tenants(machine: Machine) -> None:
    """Make users that vassals belong to, until the test ends; each is also in the group games."""
    for name, uid in TENANTS.items():
        machine.run("useradd", "--uid", str(uid), "--user-group", "--groups", "games", "--no-create-home", name)
        machine.cleanups.append(partial(machine.run, "sh", "-c", f"pkill -KILL -u {name}; userdel --force {name}"))


def record(machine: Machine, fleet: Fleet, checkout: str) -> None:
    """Have a checkout's code make the units of a fleet, and take them into the image."""
    install(machine)
    add_tenants(machine)
    fleet.vassals(machine)
    bridge = Bridge(machine, options=list(fleet.options))
    command = [PYTHON, "-c", RUN_OF, checkout, *bridge.command("sync")[1:]]
    sys.stdout.write(f"{shlex.join(command[3:])}\n{machine.run(*command).stdout}")
    # In Base64: what comes from the machine is text.
    packed = machine.run("sh", "-c", PACK).stdout
    for part in ("etc", "run"):
        shutil.rmtree(OLD / fleet.name / part, ignore_errors=True)
    with tarfile.open(fileobj=io.BytesIO(b64decode(packed))) as tar:
        tar.extractall(OLD / fleet.name, filter="data")
    machine.run(*command[:4], "remove", *fleet.options, "--yes")
    for clean in reversed(machine.cleanups):
        clean()
    machine.cleanups.clear()


def main() -> None:
    """Record both fleets."""
    parser = argparse.ArgumentParser(prog="python -m tests.booted.fleets")
    parser.add_argument("checkout")
    arguments = parser.parse_args()
    with Machine() as machine:
        for fleet in FLEETS.values():
            record(machine, fleet, str(Path(arguments.checkout).resolve()))


if __name__ == "__main__":
    main()
