"""What commands do with vassals that a person names by config, name, stem or unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.model.change import Change, Verb
from bridge.model.unit_names import EscapeError
from bridge.model.vassal import names_of
from bridge.progress import stage
from bridge.reconcile.apply import SERVICE_PATIENCE
from bridge.reconcile.run import Scope
from bridge.vassals.resolve import unwritable

if TYPE_CHECKING:
    from bridge.diagnostics import Diagnostic
    from bridge.reconcile.actual import ActualState
    from bridge.reconcile.apply import PlanExecutor
    from bridge.reconcile.planner import Planner


def render(planner: Planner, wanted: str) -> tuple[dict[str, str], tuple[Diagnostic, ...]]:
    """Render the units of these vassals; return the unit files, and what is wrong with the vassals.

    Raises:
        BridgeError: the settings or the templates cannot be used.
    """
    desired = planner.loader(planner.reader()).load(Scope.all())
    chosen = [one for one in desired.resolved if wanted in names_of(one.vassal)]
    rejected = {one.vassal.key for one in desired.rejections if wanted in names_of(one.vassal)}
    texts: dict[str, str] = {}
    problems = [d for d in desired.diagnostics if d.key in rejected]
    for resolved in chosen:
        try:
            texts |= planner.render(resolved)
        except EscapeError as error:
            problems.append(unwritable(resolved.vassal, error))
    return texts, tuple(problems)


def retry(executor: PlanExecutor, actual: ActualState, wanted: str) -> list[Change]:
    """Try these vassals at once; return what was done.

    Raises:
        BridgeError: systemd or the file system refuses.
    """
    chosen = [installed for installed in actual.installed.values() if wanted in names_of(installed)]
    services = [installed.service for installed in chosen]
    executor.retry(services)
    down = [unit for one in chosen if actual.state(unit := one.primary_unit).is_down]
    executor.manager.reset_failed(services)
    executor.manager.start(down, timeout=SERVICE_PATIENCE, progress=stage(executor.progress, "starting"))
    return [Change.of(installed, Verb.RETRIED) for installed in chosen]
