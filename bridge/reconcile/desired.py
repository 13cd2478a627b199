"""The desired state: what monitors, rules and configs ask for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bridge.model.vassal import RejectedVassal, ResolvedVassal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from bridge.diagnostics import Diagnostic
    from bridge.uwsgi.options import Config
    from bridge.vassals.on_demand import RuleResult


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
    """The configs that were read, by key, if they are kept; also those of rejected vassals."""
    drafts: tuple[ResolvedVassal, ...] = ()
    """The rejected vassals whose configs are kept, as they would be if nothing were wrong."""
    unfinished: tuple[str, ...] = ()
    """The configs of vassals that stay as they are, since somebody is writing or replacing one of their files."""
    unread: Mapping[str, RuleResult] = field(default_factory=dict)
    """What the rule says of those resolved vassals, by key, whose configs are read while others start."""

    @property
    def owners(self) -> dict[str, int | None]:
        """The owners' uids of all vassals and entries that the monitors have, by key. None: unknown."""
        return self.rejected_owners | {one.vassal.key: one.vassal.config.owner.uid for one in self.resolved}

    @property
    def rejected_owners(self) -> dict[str, int | None]:
        """The owners' uids of vassals that cannot be served as they are now, by key: what ran for them goes on.

        That of an entry that is no vassal is unknown.
        """
        owners: dict[str, int | None] = dict.fromkeys(self.unusable)
        return owners | {rejection.vassal.key: rejection.vassal.config.owner.uid for rejection in self.rejections}

    @property
    def rejected_configs(self) -> dict[str, int]:
        """The same by the paths of their configs, by which a vassal is known whose monitor got another id."""
        return {rejection.vassal.config.path: rejection.vassal.config.owner.uid for rejection in self.rejections}

    def part(self, keys: Collection[str]) -> Desired:
        """Return the desired state with only these of the vassals that were read."""
        resolved = tuple(one for one in self.resolved if one.vassal.key in keys)
        return replace(self, resolved=resolved, drafts=tuple(one for one in self.drafts if one.vassal.key in keys))

    def without(self, problems: Mapping[str, Diagnostic]) -> Desired:
        """Return the desired state in which the vassals with these problems, by key, are rejected."""
        if not problems:
            return self
        return replace(
            self,
            resolved=tuple(one for one in self.resolved if one.vassal.key not in problems),
            rejections=(
                *self.rejections,
                *(RejectedVassal.of(one) for one in self.resolved if one.vassal.key in problems),
            ),
            diagnostics=(*self.diagnostics, *problems.values()),
        )
