"""The units that ship in ``units/``, installed in the machine as README says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .bridge import VASSALS
from .suite import CHECKOUT, COMMAND

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

UNITS = CHECKOUT / "units"
FOLDER = "/etc/systemd/system"
TOML = "/etc/emperor-bridge/bridge.toml"
WATCH = "emperor-bridge.service"
SYNC = "emperor-bridge-sync.service"
PATH = "emperor-bridge-sync.path"
SHIPPED = {WATCH: "watch", SYNC: "sync", PATH: ""}


@dataclass
class Service:
    """The shipped units, with drop-ins for a command in a venv; all of it goes after the test."""

    bridge: Bridge

    @property
    def machine(self) -> Machine:
        """The machine they are in."""
        return self.bridge.machine

    def install(self) -> None:
        """Put the units in place; nothing is started."""
        for unit, command in SHIPPED.items():
            self.machine.write(f"{FOLDER}/{unit}", (UNITS / unit).read_text())
            if command:
                self.drop_in(unit, "venv", f"[Service]\nExecStart=\nExecStart={COMMAND} {command}\n")
        self.machine.cleanups.append(self.uninstall)
        self.machine.run("systemctl", "daemon-reload")

    def drop_in(self, unit: str, name: str, text: str) -> None:
        """Write a drop-in, as ``systemctl edit`` does."""
        self.machine.write(f"{FOLDER}/{unit}.d/{name}.conf", text)

    def configure(self, *, emperor: str = VASSALS, **rule: str) -> None:
        """Write bridge.toml; without a rule, the extension's is in force."""
        values = {"emperor": emperor, **(rule or {"emperor_on_demand_extension": ".socket"})}
        lines = [f"{name.replace('_', '-')} = {json.dumps(value)}" for name, value in values.items()]
        self.machine.write(TOML, "\n".join([*lines, ""]))

    def start(self, unit: str = WATCH) -> None:
        """Start a unit; it is ready on return."""
        self.machine.run("systemctl", "start", unit)

    def state(self, name: str) -> str:
        """Return a property of the daemon's unit."""
        return self.machine.show(WATCH, name)

    def wait_status(self, text: str) -> None:
        """Wait until the daemon says so of itself."""
        self.machine.wait_unit(WATCH, "StatusText", text)

    def uninstall(self) -> None:
        """Stop the units and take them away."""
        self.machine.run("systemctl", "disable", "--quiet", "--now", *SHIPPED, check=False)
        self.machine.run("systemctl", "reset-failed", *SHIPPED, check=False)
        self.machine.remove(*(f"{FOLDER}/{unit}" for unit in SHIPPED), *(f"{FOLDER}/{unit}.d" for unit in SHIPPED))
        self.machine.remove("/etc/emperor-bridge")
        self.machine.run("systemctl", "daemon-reload")
