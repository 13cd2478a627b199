"""What the road works with and what it comes to see before anything is changed, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.state.last_run import LastRun

if TYPE_CHECKING:
    from bridge.diagnostics import Diagnostic
    from bridge.model.unit import Observed
    from bridge.model.vassal import Refusal
    from bridge.reconcile.conflicts import Admission, Desired
    from bridge.reconcile.plan import Plan


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """Where the road has led before anything is changed."""

    desired: Desired
    admission: Admission
    observed: Observed
    plan: Plan
    part: frozenset[str] | None = None
    """The configs that were looked at; None: all."""
    others: int = 0
    """How many vassals have units and were not looked at."""

    @property
    def vassals(self) -> int:
        """How many vassals have units, once all is done."""
        return self.others + len(self.admission.admitted) + len(self.admission.kept)

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """All vassals that are there but not served as they are now."""
        return (*self.desired.refusals, *self.admission.refusals)

    @property
    def meant_down(self) -> frozenset[str]:
        """Labels of vassals that are down because they, or an admin, want it so."""
        observed = self.observed
        return frozenset(
            label
            for label, installed in observed.installed.items()
            if (label in observed.exiled or installed.waits_on in observed.left)
            and installed.waits_on not in self.plan.start
        )

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """All problems found on the way."""
        return (*self.desired.diagnostics, *self.plan.diagnostics)


@dataclass(frozen=True, kw_only=True, slots=True)
class Circumstances:
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
