"""The inputs and the results of planning a run. Nothing has been changed yet."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.model.unit_names import label_of
from bridge.reconcile.actual import ActualState
from bridge.reconcile.desired import Desired
from bridge.reconcile.findings import ConflictResult, Drift
from bridge.reconcile.steps import Plan
from bridge.state.last_run import LastRun
from bridge.state.lock import NOTHING, Pending

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from bridge.diagnostics import Diagnostic
    from bridge.model.change import Change
    from bridge.model.vassal import RejectedVassal, ResolvedVassal

    WithConfigs = Callable[[Desired], None]
    """Takes the desired state with every config that was read."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The vassals that a run processes."""

    keys: frozenset[str] | None = None
    """Their keys. None: all vassals."""

    @classmethod
    def all(cls) -> Scope:
        """Return the scope of all vassals."""
        return cls()

    @classmethod
    def of(cls, keys: Collection[str]) -> Scope:
        """Return the scope of the vassals with these keys."""
        return cls(frozenset(keys))

    @property
    def is_all(self) -> bool:
        """Whether every vassal is in scope."""
        return self.keys is None

    def covers(self, key: str | None) -> bool:
        """Tell whether the vassal with this key is in scope. No key stands for what concerns all vassals."""
        return self.keys is None or key in self.keys


class ScopeTooSmallError(Exception):
    """The run must be of all vassals: another process ran meanwhile, or the scope's vassals contend with others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """What the caller of a run asks for."""

    scope: Scope | None = None
    """The vassals that changed, where the caller sees every change. None: the reconciler finds them."""
    leave_stopped: bool = False
    """Whether units that somebody else stopped stay stopped."""
    unfinished: frozenset[str] = frozenset()
    """Files that somebody is writing or replacing."""
    waits_for_late: bool = True
    """Whether a run waits for vassals that do not end. If not, :attr:`Reconciler.late` has them."""
    allow_mass_removal: bool = False
    covers_changes: bool = False
    """Whether a plan without the lock may cover only what changed since the last run, if no vassal is rejected."""
    only_scope: bool = False
    """Whether to raise :class:`ScopeTooSmallError` where a plan of all vassals is needed."""
    ending: frozenset[int] | None = None
    """The inode numbers of sockets that end before the plan starts anything. None: this is no take-over."""
    with_configs: WithConfigs | None = None
    """Called with the desired state and every config that was read, before the plan is made of all vassals."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class RunContext:
    """What a plan is made with, beyond the desired and the actual state."""

    stamp: int = 0
    """When the last run began (nanoseconds since the epoch): that run saw all older changes."""
    began: int = 0
    """When this run began (nanoseconds since the epoch)."""
    interrupted: frozenset[str] = frozenset()
    """Units that an interrupted run was about to stop and start again."""
    unread: frozenset[str] = frozenset()
    """Units whose files an interrupted run may have changed without stopping them."""
    untold: frozenset[str] = frozenset()
    """Services that an earlier run was to tell that their config changed, and did not."""
    last: LastRun = field(default_factory=LastRun)
    leave_stopped: bool = False
    """Whether units that somebody else stopped stay stopped."""
    unfinished: frozenset[str] = frozenset()
    """Files that somebody is writing or replacing."""
    allow_mass_removal: bool = False
    ending: frozenset[int] = frozenset()
    """The inode numbers of sockets that end before the plan starts anything, such as the Emperor's."""
    sees_sockets: bool = True
    """Whether the plan looks for sockets whose files are lost. The daemon sees that by itself."""
    has_others: bool = False
    """Whether other configurations have vassals, or may have."""
    is_removal: bool = False
    """Whether everything is removed, so that no cache is left for a next run."""
    waits_for_late: bool = True
    """Whether the run waits for vassals that do not end."""
    left: Pending = NOTHING
    """What the last run left to do, of vassals that had not ended."""
    is_callers_scope: bool = False
    """Whether the caller named the vassals in scope, and no fingerprints were compared."""
    digests: Mapping[str, int] = field(default_factory=dict)
    """The fingerprints of the vassals outside the scope, as the cache on disk has them."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class Assessment:
    """The desired state beside the actual state, and the conflicts between them: what ``status`` shows."""

    desired: Desired
    actual: ActualState
    conflicts: ConflictResult = field(default_factory=ConflictResult)

    @property
    def rejections(self) -> tuple[RejectedVassal, ...]:
        """All vassals that a monitor reports but that are not served as they are now."""
        return (*self.desired.rejections, *self.conflicts.rejections)

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """All problems found so far."""
        return (*self.desired.diagnostics, *self.conflicts.diagnostics)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class PlannedRun(Assessment):
    """A plan, and all that it was made from."""

    drift: Drift = field(default_factory=Drift)
    plan: Plan = field(default_factory=Plan)
    context: RunContext
    scope: Scope = Scope()
    others: Counter[tuple[str, int | None]] = field(default_factory=Counter)
    """How many vassals outside the scope have units, by monitor and tenant."""
    deferred: frozenset[str] = frozenset()
    """Labels of vassals that could not be told of their new configs, once the plan is applied: another run does it."""
    late: frozenset[str] = frozenset()
    """Labels of vassals that have not ended, once the plan is applied: what it says of them is left to another run."""

    @classmethod
    def of_nothing(cls, context: RunContext, others: Counter[tuple[str, int | None]]) -> PlannedRun:
        """Return the plan of a run with no vassal in scope."""
        return cls(desired=Desired(), actual=ActualState(), context=context, scope=Scope.of(()), others=others)

    @property
    def vassals(self) -> int:
        """How many vassals have units, once the plan is applied."""
        return self.others.total() + len(self.conflicts.accepted) + len(self.conflicts.kept | self.plan.spared)

    @property
    def unmoved(self) -> tuple[ResolvedVassal, ...]:
        """The accepted vassals whose sockets no drop-in has listen elsewhere."""
        moved = self.actual.listening
        return tuple(one for one in self.conflicts.accepted if one.vassal.label not in moved)

    @property
    def meant_down(self) -> frozenset[str]:
        """Labels of vassals that are down because they, or an admin, want it so, or because another run starts them."""
        return self.late | frozenset(
            label
            for label, installed in self.actual.installed.items()
            if (label in self.drift.exiled or installed.primary_unit in self.drift.stopped_by_admin)
            and installed.primary_unit not in self.plan.start
        )

    @property
    def names(self) -> dict[str, str]:
        """The names of the vassals in scope that have units once the plan is applied, by label."""
        installed = self.actual.installed
        names = {label: installed[label].name for label in self.conflicts.kept | self.plan.spared}
        return names | {one.vassal.label: one.vassal.name for one in self.conflicts.accepted}

    @property
    def removed(self) -> dict[str, str]:
        """The names of the vassals whose units the plan removes, by label."""
        names = self.names
        gone = self.actual.installed.items()
        return {label: one.name for label, one in gone if label not in names and label not in self.late}

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes that were made, or would be."""
        return tuple(change for change in self.plan.changes if label_of(change.unit) not in self.late | self.deferred)

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """All problems found on the way."""
        return (*self.desired.diagnostics, *self.plan.diagnostics)
