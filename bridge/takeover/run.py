"""Take over from an Emperor, and go back to it; a run that is killed anywhere is finished by the next.

The note says how far it has come (:mod:`bridge.state.take_over`). Forward, each step can be repeated: units are
written, then sockets start and the Emperor stops, then it is disabled. Back as well: the Emperor is stopped if vassals
may have been started beside it, the vassals' units are removed, and it is enabled as it was and started.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic, errors
from bridge.host.services import sockets_of
from bridge.model.unit import DOWN
from bridge.model.unit_names import TARGET, boot_target
from bridge.progress import no_progress
from bridge.reconcile.removal import plan_whole_removal
from bridge.reconcile.run import RunOptions
from bridge.state.take_over import Step, TakeOver, TakeOverNote
from bridge.systemd.unit_files import UnitFiles
from bridge.takeover.emperor import Emperor, find_emperor, with_triggers
from bridge.takeover.gap import Gap
from bridge.takeover.handover import Handover
from bridge.takeover.leavings import remove_leavings
from bridge.units.directory import UnitDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.config.paths import Paths
    from bridge.reconcile.reconciler import Reconciler
    from bridge.reconcile.run import PlannedRun
    from bridge.systemd.protocol import Manager

START_PATIENCE = 90.0
"""Seconds that the Emperor may take to start; systemd's own limit is the same."""


class Outcome(StrEnum):
    """How a take-over ended."""

    PLANNED = "planned"
    REFUSED = "refused"
    """Nothing was changed."""
    DONE = "done"
    BACK = "back"
    """The Emperor runs again."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class TakeOverResult:
    """What a take-over did, or would do."""

    outcome: Outcome
    units: tuple[str, ...]
    """The Emperor's service, and the units that start it."""
    planned: PlannedRun
    problems: tuple[Diagnostic, ...] = ()
    """Problems beyond those of the plan."""
    gap: Gap = field(default_factory=Gap)
    is_undone: bool = False
    """Whether what was planned was not done, or not for good: vassals are run as before."""

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """All problems."""
        return (*self.planned.diagnostics, *self.problems)


class TakeOverRun:
    """One run of ``take-over``, in either direction."""

    def __init__(self, paths: Paths, manager: Manager, reconciler: Reconciler) -> None:
        self._paths = paths
        self._manager = manager
        self._reconciler = reconciler
        self._note = TakeOverNote(paths.take_over)
        self._files = UnitFiles(paths.user_manager)
        self._boot_link = f"{boot_target(user_manager=paths.user_manager)}.wants/{TARGET}"

    def plan(self, named: str | None) -> TakeOverResult:
        """Plan a take-over from the Emperor of this name, or the one that runs.

        Raises:
            BridgeError: it cannot be found, or the settings cannot be used.
        """
        return self._plan(self._begun(named))

    def _plan(self, noted: TakeOver) -> TakeOverResult:
        ending = frozenset(sockets_of(noted.unit, is_users=self._paths.user_manager))
        planned = self._reconciler.plan(self._manager, RunOptions(ending=ending))
        strangers = self._handover(noted).look(planned.conflicts.accepted).strangers
        problems = tuple(_stranger(noted.unit, config) for config in strangers)
        before = self._note.read()
        if (before is None or before.step is Step.DONE) and (already := len(planned.actual.installed)):
            problems += (_mixed(already, noted.unit, is_done=before is not None and before.unit == noted.unit),)
        return TakeOverResult(outcome=Outcome.PLANNED, units=tuple(noted.units), planned=planned, problems=problems)

    def take_over(self, named: str | None, *, is_forced: bool) -> TakeOverResult:
        """Take over, under the lock; if a vassal that the Emperor served does not come up, go back to the Emperor.

        If it ``is_forced``, neither what is refused nor what does not come up ends it.

        Raises:
            BridgeError: nothing was changed; or it was, and the note has it for the next run.
        """
        with _file_errors():
            return self._take_over(named, is_forced=is_forced)

    def _take_over(self, named: str | None, *, is_forced: bool) -> TakeOverResult:
        noted = self._begun(named)
        result = self._plan(noted)
        if errors(result.diagnostics) and not is_forced:
            return replace(result, outcome=Outcome.REFUSED, is_undone=True)
        if noted.step is not Step.WRITING:
            # Vassals may have been started beside the Emperor.
            noted = noted.at(Step.SWITCHING)
        noted = replace(noted, leavings=noted.leavings or self._handover(noted).leavings())
        self._note.write(noted)
        handover = self._handover(noted)
        try:
            planned, problems = self._reconciler.apply(self._manager, result.planned, handover.carry_out)
        except BaseException as error:
            raise _failed(noted.unit, error, self._return(self._note.read() or noted)) from error
        silent = tuple(_silent(address) for address in handover.gap.silent)
        keys = {one.vassal.key for one in planned.conflicts.accepted if one.vassal.label in handover.served}
        is_served = not silent and keys.isdisjoint(problem.key for problem in errors(problems))
        problems += silent
        if not is_served and not is_forced:
            not_back = self._return(noted.at(Step.SWITCHING))
            problems += not_back
            outcome = Outcome.DONE if not_back else Outcome.BACK
        else:
            self._finish(noted, handover)
            outcome = Outcome.DONE
        return TakeOverResult(
            outcome=outcome,
            units=result.units,
            planned=planned,
            problems=(*result.problems, *problems),
            gap=handover.gap,
            is_undone=outcome is Outcome.BACK,
        )

    def back(self) -> TakeOverResult:
        """Go back to the Emperor, under the lock.

        Raises:
            BridgeError: there was no take-over, or systemd refuses; the note has it for the next run.
        """
        if (noted := self._note.read()) is None:
            problem = Diagnostic(code="emperor-unknown", message="there was no take-over, so there is no way back")
            raise BridgeError(problem)
        removal = plan_whole_removal(self._reconciler.planner, self._manager)
        with _file_errors():
            problems = self._return(noted)
        outcome = Outcome.DONE if problems else Outcome.BACK
        return TakeOverResult(
            outcome=outcome,
            units=tuple(noted.units),
            planned=removal,
            problems=problems,
            is_undone=outcome is Outcome.DONE,
        )

    def _begun(self, named: str | None) -> TakeOver:
        """Return the take-over that an earlier run has begun and not ended, or else one that begins.

        Raises:
            BridgeError: no Emperor is found, or another one is named.
        """
        noted = self._note.read()
        if noted is None or noted.step is Step.DONE:
            emperor = find_emperor(named, self._manager, is_users=self._paths.user_manager)
            enabled = {unit: self._files.is_enabled(unit) for unit in emperor.units}
            if noted is not None and noted.unit == emperor.unit:
                # Somebody has started it again meanwhile: the way back is still the one to where all began.
                enabled |= {unit: True for unit, was_enabled in noted.enabled.items() if was_enabled}
            return TakeOver(unit=emperor.unit, enabled=enabled)
        if named not in {None, noted.unit, noted.unit.removesuffix(".service")}:
            raise noted.unfinished()
        return noted

    def _handover(self, noted: TakeOver) -> Handover:
        triggers = with_triggers(noted.unit, self._manager).triggers
        known = (unit for unit in noted.enabled if unit != noted.unit)
        return Handover(
            manager=self._manager,
            emperor=Emperor(noted.unit, tuple(dict.fromkeys((*triggers, *known)))),
            paths=self._paths,
            boot_link=self._boot_link,
            switching=lambda: self._note.write(noted.at(Step.SWITCHING)),
        )

    def _finish(self, noted: TakeOver, handover: Handover) -> None:
        """Have the vassals start at boot, and then the Emperor no more."""
        handover.forget()
        remove_leavings(noted.leavings)
        UnitDirectory(self._paths).link({self._boot_link: f"../{TARGET}"})
        self._files.set_enabled([unit for unit in noted.units if noted.enabled.get(unit)], is_enabled=False)
        self._note.write(noted.at(Step.DONE))

    def _return(self, noted: TakeOver) -> tuple[Diagnostic, ...]:
        """Go back to the Emperor; if it does not start, the bridge serves again. Return what is wrong."""
        handover = self._handover(noted)
        removal = plan_whole_removal(self._reconciler.planner, self._manager)
        if noted.step is not Step.WRITING:
            self._note.write(noted.at(Step.RETURNING))
            if not removal.plan.is_empty:
                # Where systemd has listened meanwhile, an Emperor that still runs would not be heard.
                handover.wait_until_down()
        # At each moment one of both starts at boot.
        self._files.set_enabled([unit for unit in noted.units if noted.enabled.get(unit)], is_enabled=True)
        self._reconciler.apply(self._manager, removal)
        handover.forget()
        self._manager.start(handover.emperor.units, timeout=START_PATIENCE, progress=no_progress)
        state = self._manager.units([noted.unit]).get(noted.unit, DOWN)
        if not state.is_down:
            self._reconciler.forget()
            self._note.forget()
            return ()
        planned = self._reconciler.plan(self._manager, RunOptions(ending=frozenset()))
        _, problems = self._reconciler.apply(self._manager, planned)
        self._finish(noted, handover)
        return (_not_started(noted.unit), *problems)


@contextmanager
def _file_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        problem = Diagnostic(
            code="unit-directory",
            path=error.filename,
            message=f"a take-over cannot change this: {error.strerror}",
            hint="mend this and run the command again; it takes up where it stopped",
        )
        raise BridgeError(problem) from error


def _silent(address: str) -> Diagnostic:
    return Diagnostic(
        code="take-over-silent",
        message=f"nobody listens on {address}, where a vassal of the Emperor's did",
        hint="emperor-bridge take-over --force, if that is as it should be",
    )


def _stranger(unit: str, config: str) -> Diagnostic:
    return Diagnostic(
        code="emperor-vassal",
        message=f"{unit} runs {config}, which is none of the vassals here: nobody would run it after a take-over",
        hint="name all its folders in bridge.toml, or let emperor-ini name its config",
    )


def _mixed(number: int, unit: str, *, is_done: bool) -> Diagnostic:
    if is_done:
        message = f"{unit} runs again, though the bridge has taken over from it and runs its vassals ({number})"
        hint = f"stop it: systemctl disable --now {unit}; or go back to it: emperor-bridge take-over --back"
    else:
        message = f"the bridge runs vassals already ({number}), and the way back would remove these too"
        hint = "emperor-bridge remove, if the Emperor runs them as well; or --force, if they may go on the way back"
    return Diagnostic(code="take-over-mixed", message=message, hint=hint)


def _failed(unit: str, error: BaseException, then: tuple[Diagnostic, ...]) -> BridgeError:
    found: tuple[Diagnostic, ...] = error.diagnostics if isinstance(error, BridgeError) else ()
    why = "" if found else f" ({type(error).__name__} {error}".rstrip() + ")"
    now = "" if then else f"; {unit} is in charge again"
    problem = Diagnostic(code="take-over-failed", message=f"the take-over failed{why}{now}", detail=repr(error))
    return BridgeError(problem, *found, *then)


def _not_started(unit: str) -> Diagnostic:
    return Diagnostic(
        code="emperor-not-started",
        message=f"{unit} does not start, so the bridge serves the vassals again",
        hint=f"see: journalctl -u {unit}",
    )
