"""What the road works with and what it comes to see before anything is changed, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.model.vassal import RejectedVassal
from bridge.reconcile.actual import ActualState
from bridge.reconcile.desired import Desired

if TYPE_CHECKING:
    from bridge.diagnostics import Diagnostic
    from bridge.state.cache import VassalCache


from dataclasses import field
from typing import TYPE_CHECKING

from bridge.state.last_run import LastRun

if TYPE_CHECKING:
    from bridge.diagnostics import Diagnostic
    from bridge.model.vassal import RejectedVassal
    from bridge.reconcile.actual import ActualState
    from bridge.reconcile.conflicts import ConflictResult
    from bridge.reconcile.desired import Desired
    from bridge.reconcile.plan import Plan


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRun:
    """Where the road has led before anything is changed."""

    desired: Desired
    conflicts: ConflictResult
    actual: ActualState
    plan: Plan
    part: frozenset[str] | None = None
    """The configs that were looked at; None: all."""
    others: int = 0
    """How many vassals have units and were not looked at."""

    @property
    def vassals(self) -> int:
        """How many vassals have units, once all is done."""
        return self.others + len(self.conflicts.accepted) + len(self.conflicts.kept)

    @property
    def rejections(self) -> tuple[RejectedVassal, ...]:
        """All vassals that are there but not served as they are now."""
        return (*self.desired.rejections, *self.conflicts.rejections)

    @property
    def meant_down(self) -> frozenset[str]:
        """Labels of vassals that are down because they, or an admin, want it so."""
        actual = self.actual
        return frozenset(
            label
            for label, installed in actual.installed.items()
            if (label in actual.exiled or installed.waits_on in actual.left)
            and installed.waits_on not in self.plan.start
        )

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """All problems found on the way."""
        return (*self.desired.diagnostics, *self.plan.diagnostics)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunContext:
    """What a look is made with beyond the sources, the disk and the manager."""

    stamp: int = 0
    """When the last run began (nanoseconds since the epoch): older changes were dealt with then."""
    stale: frozenset[str] = frozenset()
    """Units that an interrupted run was about to stop and start again."""
    last: LastRun = field(default_factory=LastRun)
    leave_stopped: bool = False
    """Whether units that somebody else stopped are to stay so."""
    unfinished: frozenset[str] = frozenset()
    """Files that somebody is just writing."""
    allow_mass_removal: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """The vassals a run looks at, where it does not look at all."""

    configs: frozenset[str]
    cache: VassalCache
    """What is known of all of them, and of the others."""
    sees_sockets: bool = True
    """Whether it is to be seen if their sockets were lost."""
