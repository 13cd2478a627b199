"""An upgrade stops nothing: the units that version 0.1.0 made are adopted while apps run and clients ask."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from .asked import asked
from .bridge import VASSALS, WATCH, Bridge
from .fleets import PLAIN, SOCKETS, TYRANT, Fleet
from .machine import message

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from .machine import Machine

    Make = Callable[[Fleet, bool], "Upgrade"]

UNITS = "/etc/systemd/system"
STOPPING, STOPPED = "de5b426a63be47a7b6ac3eaac82e2f6f", "9d1aaa27d60140bd96365438aad20286"
"""The manager's MESSAGE_ID of a unit that is being stopped, and of one that has been (sd-messages.h)."""
MOVED = f"{SOCKETS}/moved.sock"

FLEETS = {"plain": (PLAIN, False), "plain, altered": (PLAIN, True), "tyrant": (TYRANT, False)}


@dataclass
class Upgrade:
    """A fleet as the earlier version left it, one vassal of it woken, and the bridge of today."""

    bridge: Bridge
    fleet: Fleet

    @property
    def machine(self) -> Machine:
        return self.bridge.machine

    def prepare(self, *, altered: bool) -> None:
        """Put the earlier version's work in place, and have some apps run."""
        self.fleet.installed(self.machine, altered=altered)
        for address in self.fleet.idle:
            assert address in self.listeners()
        for address in self.fleet.running:
            self.bridge.app("uwsgi", address)

    def units(self) -> list[str]:
        """Return the units of all vassals, with a file or only in memory."""
        listed = self.machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "vassal-*").stdout
        names = {line.split()[0] for line in listed.splitlines()}
        found = self.machine.run("find", UNITS, "-maxdepth", "1", "-name", "vassal-*", "-printf", "%f\n").stdout
        return sorted(names | set(found.split()))

    def show(self, *names: str) -> dict[str, dict[str, str]]:
        """Return properties of all vassals' units and of the target."""
        wanted = ",".join(("Id", *names))
        argv = ("systemctl", "show", f"--property={wanted}", "--", *self.units(), "vassals.target")
        blocks = [block.splitlines() for block in self.machine.run(*argv).stdout.split("\n\n") if block.strip()]
        found = [dict(line.split("=", 1) for line in block) for block in blocks]
        return {properties.pop("Id"): properties for properties in found}

    def listeners(self) -> dict[str, str]:
        """Return the kernel's number of each listening socket, by address."""
        found = {}
        for line in self.machine.run("ss", "-lxtHnOe").stdout.splitlines():
            if line.startswith("u_"):
                address, inode = re.split(r"\s+", line, maxsplit=4)[4].rstrip().rsplit(" * ", 1)[0].rsplit(maxsplit=1)
            else:
                address, inode = line.split()[4], line.partition("ino:")[2].split()[0]
            found[address] = inode
        return found

    def files(self) -> dict[str, str]:
        """Return the file of each socket at a path."""
        lines = self.machine.run("find", SOCKETS, "-type", "s", "-printf", "%D:%i %p\n").stdout.splitlines()
        return {path: inode for inode, path in (line.split(" ", 1) for line in lines)}

    def state(self) -> dict[str, Any]:
        """Return everything that an upgrade must leave as it is."""
        addresses = (*self.fleet.running, *self.fleet.idle)
        apps = {address: self.bridge.app("uwsgi", address) for address in self.fleet.running}
        units = self.show("ActiveState", "SubState", "MainPID", "InvocationID", "ActiveEnterTimestampMonotonic")
        # Of a unit that does nothing, systemd may remember an earlier test's, or forget it.
        idle = [unit for unit in units.values() if unit["ActiveState"] == "inactive"]
        for unit in idle:
            del unit["InvocationID"], unit["ActiveEnterTimestampMonotonic"]
        return {
            "apps": apps,
            "units": units,
            "listeners": {at: inode for at, inode in self.listeners().items() if at in addresses},
            "files": self.files(),
        }

    def written(self) -> dict[str, str]:
        """Return all that the bridge has in the unit directory: texts by path, and where links lead."""
        find = f"cd {UNITS} && find . -name '*vassal*' -type"
        texts = self.machine.run("sh", "-c", f"{find} f -exec sha256sum -z {{}} +").stdout.split("\0")[:-1]
        links = self.machine.run("sh", "-c", f"{find} l -printf '%l  %p\\0'").stdout.split("\0")[:-1]
        return {path: what for what, path in (line.split("  ", 1) for line in (*texts, *links))}

    def stops(self, cursor: str) -> list[str]:
        """Return what the journal tells of vassals' units that were stopped since."""
        entries = self.machine.journal(cursor)
        return [
            message(entry)
            for entry in entries
            if entry.get("MESSAGE_ID") in {STOPPING, STOPPED} and entry.get("UNIT", "").startswith("vassal")
        ]

    def asked(self) -> AbstractContextManager[None]:
        """Have a client ask the apps that run, from before to after; it must get every answer."""
        return asked(self.machine, self.fleet.running)


def sync(upgrade: Upgrade) -> None:
    upgrade.bridge.sync()


def watch(upgrade: Upgrade) -> None:
    """Start the daemon, or start it anew; it is ready on return."""
    if upgrade.machine.exists(f"{UNITS}/{WATCH}"):
        upgrade.machine.run("systemctl", "restart", WATCH)
    else:
        upgrade.bridge.watch()


# Before the bridge, whose end they outlive.
pytestmark = pytest.mark.usefixtures("tenants")

WAYS: dict[str, Callable[[Upgrade], object]] = {"sync": sync, "watch": watch}
across = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def make(bridge: Bridge) -> Make:
    """Return what puts a fleet of the earlier version into the machine."""

    def made(fleet: Fleet, altered: bool) -> Upgrade:
        bridge.options = [*fleet.options, *fleet.since]
        upgrade = Upgrade(bridge, fleet)
        upgrade.prepare(altered=altered)
        return upgrade

    return made


@across
@pytest.mark.parametrize("name", FLEETS)
def test_an_upgrade_stops_nothing_and_brings_the_new_units(make: Make, name: str, way: str) -> None:
    upgrade = make(*FLEETS[name])
    before = upgrade.state()
    cursor = upgrade.machine.journal_cursor()
    with upgrade.asked():
        for _ in range(2):
            WAYS[way](upgrade)
            assert upgrade.state() == before
            loaded = upgrade.show("NeedDaemonReload", "LoadState")
            assert {(one["NeedDaemonReload"], one["LoadState"]) for one in loaded.values()} == {("no", "loaded")}
    assert upgrade.stops(cursor) == []

    for address in upgrade.fleet.idle:
        upgrade.bridge.app("uwsgi", address)
    rows = upgrade.bridge.status().values()
    assert len(rows) == len(upgrade.fleet.idle) + len(upgrade.fleet.running)
    assert {(row["state"], row["problem"]) for row in rows} == {("running", None)}

    adopted = upgrade.written()
    upgrade.bridge.unwatch()
    upgrade.bridge.run("remove", "--yes")
    assert upgrade.written() == {}
    upgrade.bridge.sync()
    assert upgrade.written() == adopted


def test_a_vassal_that_is_refused_at_an_upgrade_starts_at_boot_as_it_was(make: Make) -> None:
    upgrade = make(PLAIN, True)
    upgrade.machine.write(f"{VASSALS}/idle.ini.socket", "127.0.0.1:none\n")
    upgrade.bridge.sync(status=1)
    link = "./vassals-sockets.target.wants/vassal-idle.socket"
    assert upgrade.written()[link] == "../vassal-idle.socket"
    upgrade.machine.run("systemctl", "stop", "vassals.target")
    upgrade.machine.wait_unit("vassal-idle.socket", "ActiveState", "inactive")
    upgrade.machine.run("systemctl", "start", "vassals.target")
    upgrade.machine.wait_unit("vassal-idle.socket", "ActiveState", "active")
    assert f"{SOCKETS}/idle.sock" in upgrade.listeners()


@across
def test_a_new_address_in_an_upgrade_moves_only_its_own_vassal(make: Make, way: str) -> None:
    upgrade = make(PLAIN, True)
    machine = upgrade.machine
    before = upgrade.state()
    machine.write(f"{VASSALS}/idle.ini.socket", f"{MOVED}\n")
    with upgrade.asked():
        WAYS[way](upgrade)
    after = upgrade.state()
    own = {"vassal-idle.socket", "vassal-idle.service"}
    old = f"{SOCKETS}/idle.sock"
    for kind, moved in (("units", own), ("listeners", {old}), ("files", {old, MOVED})):
        same = {key: value for key, value in after[kind].items() if key not in moved}
        assert same == {key: value for key, value in before[kind].items() if key not in moved}
    assert after["apps"] == before["apps"]
    assert (MOVED in after["files"], old in after["files"], old in after["listeners"]) == (True, False, False)
    upgrade.bridge.app("uwsgi", MOVED)


def test_what_an_admin_stopped_stays_so_over_an_upgrade_of_the_daemon(make: Make) -> None:
    upgrade = make(PLAIN, True)
    upgrade.machine.run("systemctl", "stop", "vassal-port.socket", "vassal-always.service")
    upgrade.fleet = Fleet(name="plain", options=PLAIN.options, woken=PLAIN.woken, always=(), idle=PLAIN.idle)
    before = upgrade.state()
    watch(upgrade)
    assert upgrade.state() == before
