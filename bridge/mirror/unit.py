"""The service that a feeder runs as: unprivileged, fenced, and bound to the process that hears it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

Property: TypeAlias = tuple[str, tuple[str, Any]]
"""The name of a property of a transient unit, and its type and value (org.freedesktop.systemd1(5))."""

MEMORY_MAX = 512 * 1024 * 1024
"""Bytes that a feeder may use: a driver takes 25 MB, and an answer of 8,000 rows as much again."""
TASKS_MAX = 32
_FAMILIES = ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"]
_HOMES = ("/home/", "/root/", "/run/user/")


@dataclass(frozen=True, kw_only=True, slots=True)
class FeederUnit:
    """What a feeder's service differs in."""

    description: str
    program: str
    """The Python interpreter."""
    library: str
    """The folder that has the package ``bridge``."""
    reads: tuple[str, ...] = ()
    """Where the interpreter itself is: in a venv it is a link."""
    user: str = ""
    """As whom it runs. Empty: a user that exists only as long as it does."""
    bound_to: str = ""
    """The service that ends it when it ends itself."""
    writable: tuple[str, ...] = ()
    """Folders in which it makes sockets."""
    seconds: float = 0.0
    """After which it is ended. 0: never."""
    is_users: bool = False
    """Whether a user's own service manager runs it, which can fence little."""


def properties(unit: FeederUnit, stdin: object) -> list[Property]:
    """Return the properties of the service; ``stdin`` is its end of the socket. There is no secret in them."""
    found: list[Property] = [
        ("Description", ("s", unit.description)),
        ("Type", ("s", "exec")),
        ("ExecStart", ("a(sasb)", [(unit.program, [unit.program, "-P", "-m", "bridge.feeder"], False)])),
        ("Environment", ("as", [f"PYTHONPATH={unit.library}", "PYTHONDONTWRITEBYTECODE=1"])),
        ("StandardInputFileDescriptor", ("h", stdin)),
        ("CollectMode", ("s", "inactive-or-failed")),
        ("NoNewPrivileges", ("b", True)),
        ("MemoryMax", ("t", MEMORY_MAX)),
        ("TasksMax", ("t", TASKS_MAX)),
        ("TimeoutStopUSec", ("t", 2_000_000)),
    ]
    if unit.seconds:
        found.append(("RuntimeMaxUSec", ("t", int(unit.seconds * 1e6))))
    if unit.bound_to:
        found += [("BindsTo", ("as", [unit.bound_to])), ("After", ("as", [unit.bound_to]))]
    return found if unit.is_users else [*found, *_fence(unit)]


def _fence(unit: FeederUnit) -> list[Property]:
    is_at_home = any(path.startswith(_HOMES) for path in (unit.program, unit.library, *unit.reads))
    found: list[Property] = [
        ("ProtectSystem", ("s", "strict")),
        # The bridge itself may be installed in a home.
        ("ProtectHome", ("s", "read-only" if is_at_home else "yes")),
        ("PrivateTmp", ("b", True)),
        ("PrivateDevices", ("b", True)),
        ("ProtectKernelTunables", ("b", True)),
        ("ProtectControlGroups", ("b", True)),
        ("LockPersonality", ("b", True)),
        ("CapabilityBoundingSet", ("t", 0)),
        ("RestrictAddressFamilies", ("(bas)", (True, _FAMILIES))),
        ("SystemCallFilter", ("(bas)", (True, ["@system-service"]))),
        ("UMask", ("u", 0o077)),
        ("User", ("s", unit.user)) if unit.user else ("DynamicUser", ("b", True)),
    ]
    if unit.writable:
        found.append(("ReadWritePaths", ("as", list(unit.writable))))
    return found
