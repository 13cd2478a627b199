"""Hosts that share one database or broker: machines on a network whose hub is another machine.

The hub is where the server runs, and where visitors come from. The network is a bridge in the hub's network namespace,
so that nothing of it is left when the machines have ended, however they end.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .bridge import WATCH, Bridge
from .container import usual_plan
from .machine import PATIENCE, Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

NETWORK = "10.77.0"
SERVER = f"{NETWORK}.1"
HOSTS = {f"web{number}": f"{NETWORK}.1{number}" for number in (1, 2, 3)}
NAMES = "127.0.0.1 localhost\n" + "".join(
    f"{address} {names}\n" for names, address in {"db broker": SERVER, **HOSTS}.items()
)
BRIDGE = "fleet"
CABLE = """\
[Unit]
DefaultDependencies=no
Before=network-pre.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip address add {address}/24 dev host0
ExecStart=ip link set host0 up
"""
PLUG_IN = f"""
ip link add name {BRIDGE} type bridge
ip address add {SERVER}/24 dev {BRIDGE}
ip link set lo up
ip link set {BRIDGE} up
"""


@dataclass(frozen=True)
class Host:
    """A host that follows the server."""

    name: str
    machine: Machine
    bridge: Bridge

    def watch(self) -> None:
        """Run the daemon, also at boot."""
        self.bridge.watch()
        self.machine.run("systemctl", "add-wants", "multi-user.target", WATCH)
        self.machine.cleanups.append(lambda: self.machine.run("systemctl", "disable", WATCH))

    def told_at(self, pattern: str, *, timeout: float = PATIENCE) -> float:
        """Return when the daemon told something, in seconds since 1970; it is waited for."""
        return int(self.bridge.told(pattern, timeout=timeout)["__REALTIME_TIMESTAMP"]) / 1e6


@contextmanager
def plugged_in(hub: Machine) -> Iterator[list[Host]]:
    """Boot the hosts, and give them a network with the hub as long as the block lasts."""
    names = hub.read("/etc/hosts")
    with ExitStack() as stack:
        stack.callback(hub.write, "/etc/hosts", names)
        hub.write("/etc/hosts", NAMES)
        stack.callback(hub.run, "ip", "link", "delete", BRIDGE)
        hub.run("sh", "-ec", PLUG_IN)
        machines = [Machine(plan=plan(hub, name)) for name in HOSTS]
        with ThreadPoolExecutor(len(machines)) as pool:
            list(pool.map(stack.enter_context, machines))
        yield [Host(name, machine, Bridge(machine)) for name, machine in zip(HOSTS, machines, strict=True)]


def plan(hub: Machine, name: str) -> dict[str, Any]:
    """Return what to boot for a host, which has its address also after a reboot."""
    usual = usual_plan()
    files = {
        "/etc/hostname": f"{name}\n",
        "/etc/hosts": NAMES,
        "/etc/systemd/system/cable.service": CABLE.format(address=HOSTS[name]),
        "/etc/systemd/system/sysinit.target.d/cable.conf": "[Unit]\nWants=cable.service\n",
    }
    own = {"name": name, "bridge": BRIDGE, "namespace": f"/proc/{hub.pid1()}/ns/net"}
    return usual | own | {"files": usual.get("files", {}) | {path: (text, 0o644) for path, text in files.items()}}
