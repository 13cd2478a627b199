"""What the vassals, the rules and the configs ask for: the first half of the road, which only reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.model.vassal import RejectedVassal

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.diagnostics import Diagnostic
    from bridge.model.address import Address
    from bridge.model.vassal import ResolvedVassal, Vassal


from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic
from bridge.model.vassal import Mode, ResolvedVassal
from bridge.monitors import monitor_for
from bridge.vassals.on_demand import apply_on_demand_rule

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from bridge.config.settings import Settings
    from bridge.model.address import Address
    from bridge.model.vassal import Vassal
    from bridge.monitors.base import Report


def desire(
    settings: Settings,
    *,
    resolve: Callable[[Vassal, Address | None], ResolvedVassal | Diagnostic],
    progress: Callable[[str, int, int], None],
    unfinished: Collection[str] = (),
    only: Collection[str] | None = None,
) -> Desired:
    """Ask all monitors, apply the rule, and have every config, or ``only`` these, read and settled.

    A vassal of which a file is ``unfinished``, because somebody is just writing it, stays as it is.

    Raises:
        BridgeError: the settings themselves cannot be used: an unknown monitor, a command that is none.
    """
    reports = [monitor_for(spec, settings).report(only) for spec in settings.emperor]
    vassals = _distinct(reports)
    rejections: list[RejectedVassal] = []
    diagnostics = [d for report in reports for d in report.diagnostics]
    resolved: list[ResolvedVassal] = []
    for number, (vassal, ruling) in enumerate(zip(vassals, apply_on_demand_rule(settings, vassals), strict=True)):
        if number % 64 == 0:
            progress("reading vassals", number, len(vassals))
        if vassal.config in unfinished or vassal.config + settings.emperor_on_demand_extension in unfinished:
            rejections.append(RejectedVassal(vassal=vassal, mode=Mode.ALWAYS))
            continue
        diagnostics += ruling.diagnostics
        if ruling.refused:
            rejections.append(RejectedVassal(vassal=vassal, mode=Mode.ON_DEMAND))
            continue
        decided = resolve(vassal, ruling.address)
        if isinstance(decided, Diagnostic):
            diagnostics.append(decided)
            mode = Mode.ON_DEMAND if ruling.address else Mode.ALWAYS
            rejections.append(RejectedVassal(vassal=vassal, mode=mode, address=ruling.address))
        else:
            resolved.append(decided)
    return Desired(
        resolved=tuple(resolved),
        rejections=tuple(rejections),
        unusable=frozenset(config for report in reports for config in report.refused),
        unreachable=frozenset(report.monitor for report in reports if not report.complete),
        diagnostics=tuple(diagnostics),
    )


def _distinct(reports: list[Report]) -> list[Vassal]:
    """Return all vassals, one that two monitors report alike only once."""
    return list({(v.label, v.config): v for report in reports for v in report.vassals}.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Desired:
    """What monitors, rules and configs ask for."""

    resolved: tuple[ResolvedVassal, ...] = ()
    rejections: tuple[RejectedVassal, ...] = ()
    unusable: frozenset[str] = frozenset()
    """Configs that are there but whose names or files cannot be a vassal's."""
    unreachable: frozenset[str] = frozenset()
    """Monitors that could not be asked."""
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def refused(self) -> frozenset[str]:
        """Configs that are there but cannot be served as they are now: what ran for them goes on."""
        return self.unusable | {rejection.vassal.config for rejection in self.rejections}
