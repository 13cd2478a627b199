"""Warns of addresses that a daemon-reload closes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.diagnostics import Severity
from bridge.model.address import is_fragile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.diagnostics import Diagnostic
    from bridge.model.vassal import ResolvedVassal


def find_reload_hazard(resolved: ResolvedVassal) -> Iterator[Diagnostic]:
    """Yield a warning if systemd no longer knows the vassal's socket after a daemon-reload, and closes it."""
    for address in resolved.addresses:
        if not (odd := is_fragile(address)):
            continue
        yield resolved.vassal.problem(
            "socket-reload",
            f"systemd closes its socket {address} at each daemon-reload, because of {odd!r} in it; "
            "emperor-bridge opens it again at its next run",
            "choose an address in plain ASCII, without quotes and backslashes",
            severity=Severity.WARNING,
        )
