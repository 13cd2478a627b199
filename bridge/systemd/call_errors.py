"""What an admin is told of a call to the service manager that failed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.systemd.bus import CallError

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNKNOWN = "org.freedesktop.DBus.Error.ServiceUnknown"
_SPAWN = "org.freedesktop.DBus.Error.Spawn."


@contextmanager
def call_errors(method: str) -> Iterator[None]:
    """Convert a ``CallError`` into a ``BridgeError`` that names the method."""
    try:
        yield
    except CallError as error:
        raise _bridge_error(method, error) from error


def _bridge_error(method: str, error: CallError) -> BridgeError:
    if error.name == _UNKNOWN or error.name.startswith(_SPAWN):
        return BridgeError(
            Diagnostic(
                code="no-manager",
                message=f"systemd cannot be reached over D-Bus: {error}",
                hint="D-Bus answers, but systemd does not: the host must run it",
            )
        )
    hint = "run as root, or use --user" if "AccessDenied" in error.name or "InteractiveAuth" in error.name else ""
    return BridgeError(Diagnostic(code="manager", message=f"systemd refuses {method}: {error}", hint=hint))
