"""The desired state: what monitors, rules and configs ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.diagnostics import Diagnostic
    from bridge.model.vassal import RejectedVassal, ResolvedVassal
    from bridge.uwsgi.options import Config


@dataclass(frozen=True, kw_only=True, slots=True)
class Desired:
    """What monitors, rules and configs ask for."""

    resolved: tuple[ResolvedVassal, ...] = ()
    rejections: tuple[RejectedVassal, ...] = ()
    unusable: frozenset[str] = frozenset()
    """Keys of entries that a monitor has but whose names or files cannot be a vassal's."""
    unreachable: frozenset[str] = frozenset()
    """Ids of monitors that could not be asked."""
    diagnostics: tuple[Diagnostic, ...] = ()
    configs: Mapping[str, Config] = field(default_factory=dict)
    """The configs that were read, by key, if they are kept."""

    @property
    def rejected_keys(self) -> frozenset[str]:
        """Keys of vassals that cannot be served as they are now: what ran for them goes on."""
        return self.unusable | {rejection.vassal.key for rejection in self.rejections}

    @property
    def rejected_configs(self) -> frozenset[str]:
        """The paths of their configs, by which a vassal is known whose monitor got another id."""
        return frozenset(rejection.vassal.config.path for rejection in self.rejections)
