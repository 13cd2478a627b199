"""Render the units of the vassals that an admin names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.model.unit_names import EscapeError
from bridge.model.vassal import names_of
from bridge.reconcile.run import Scope
from bridge.vassals.resolve import unwritable

if TYPE_CHECKING:
    from bridge.diagnostics import Diagnostic
    from bridge.reconcile.planner import Planner


def render_named(planner: Planner, wanted: str) -> tuple[dict[str, str], tuple[Diagnostic, ...]]:
    """Return the unit files of the vassals with this name, config, stem or unit, and what is wrong with them.

    Raises:
        BridgeError: the settings or the templates cannot be used.
    """
    desired = planner.loader(planner.reader()).load(Scope.all())
    rejected = {one.vassal.key for one in desired.rejections if wanted in names_of(one.vassal)}
    texts: dict[str, str] = {}
    problems = [d for d in desired.diagnostics if d.key in rejected]
    for resolved in desired.resolved:
        if wanted not in names_of(resolved.vassal):
            continue
        try:
            texts |= planner.render(resolved)
        except EscapeError as error:
            problems.append(unwritable(resolved.vassal, error))
    return texts, tuple(problems)
