"""The rows of ``check --sockets``: how each vassal gets its sockets, and why it runs always."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.model.vassal import ResolvedVassal, Way


@dataclass(frozen=True, kw_only=True, slots=True)
class SocketRow:
    """One vassal's line in the table. ``--json`` prints these fields."""

    vassal: str
    config: str
    way: Way
    sockets: tuple[str, ...]
    """The addresses that systemd holds for it."""
    reason: str = ""
    """Why it runs always, if ``on-demand-own-sockets`` is set."""


def socket_table(vassals: Iterable[ResolvedVassal]) -> list[SocketRow]:
    """Return a row for each vassal that can be served, ordered by name."""
    rows = [
        SocketRow(
            vassal=one.vassal.name,
            config=one.vassal.config.path,
            way=one.way,
            sockets=tuple(map(str, one.addresses)),
            reason=one.why_always,
        )
        for one in vassals
    ]
    return sorted(rows, key=lambda row: row.vassal)
