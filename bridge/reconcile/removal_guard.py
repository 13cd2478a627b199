"""The mass-removal guard: a folder that is emptied or not mounted looks like many vassals removed at once. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bridge.model.unit import InstalledVassal

MASS_LEAST = 10
"""Vassals that a monitor must have for the loss of more than half of them to be taken for a mistake."""


def spare(
    gone: Iterable[InstalledVassal], served: Mapping[tuple[str, int | None], int]
) -> tuple[frozenset[str], tuple[Diagnostic, ...]]:
    """Decide which vassals that are gone keep their units all the same.

    Each monitor is judged by itself: where more than half of at least ten are gone, none of them is removed. In tyrant
    mode this must hold without any single one of the tenants, too: what one tenant removes concerns nobody else.

    Args:
        gone: the vassals that have units and that no monitor reports any more.
        served: how many vassals have units, these included, by monitor and tenant.

    Returns:
        The labels of the vassals that keep their units, and a diagnostic for each monitor concerned.
    """
    by_monitor: dict[str, list[InstalledVassal]] = {}
    for one in gone:
        by_monitor.setdefault(one.monitor, []).append(one)
    spared: set[str] = set()
    problems = []
    for monitor, lost in by_monitor.items():
        tenants = {tenant: number for (of, tenant), number in served.items() if of == monitor}
        total = sum(tenants.values())
        if _is_mass(lost, tenants, total):
            spared |= {one.label for one in lost}
            problems.append(_mass_removal(monitor, len(lost), total))
    return frozenset(spared), tuple(problems)


def _is_mass(lost: list[InstalledVassal], tenants: Mapping[int | None, int], total: int) -> bool:
    if total < MASS_LEAST or len(lost) * 2 <= total:
        return False
    losses = Counter(one.tenant for one in lost)
    if set(losses) == {None}:
        return True
    return all((len(lost) - number) * 2 > total - tenants.get(one, number) for one, number in losses.items())


def _mass_removal(monitor: str, gone: int, total: int) -> Diagnostic:
    return Diagnostic(
        code="mass-removal",
        message=f"{gone} of {total} vassals of {monitor} are gone at once, so none of them is removed",
        hint="if that is meant: emperor-bridge sync --allow-mass-removal; else see whether a folder is not mounted",
    )
