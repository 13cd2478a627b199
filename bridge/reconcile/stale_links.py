"""Links for the boot that are out of date: those that lead nowhere, and those of earlier versions. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.model.unit_names import OBSOLETE_STARTERS, link_path

if TYPE_CHECKING:
    from collections.abc import Collection

    from bridge.reconcile.actual import ActualState


def dead_links(actual: ActualState, write: Collection[str], remove: Collection[str]) -> list[str]:
    """Return links of the bridge's own making that lead nowhere, as a killed run can leave them.

    An earlier version's link goes with its vassal, too. ``write`` and ``remove`` are the units that a plan writes and
    removes.
    """
    found = []
    for path, target in actual.links.items():
        unit = path.rpartition("/")[2]
        is_dead = unit not in actual.files and unit not in write
        is_own = path == link_path(unit) and target == f"../{unit}"
        if (is_dead and is_own) or (_is_obsolete(path) and (is_dead or unit in remove)):
            found.append(path)
    return found


def links_to_move(actual: ActualState, unlink: Collection[str]) -> dict[str, str]:
    """Return an earlier version's links, and where each is made now, but for those that go anyway.

    A vassal that keeps its units needs its link too, whichever configuration it is of.
    """
    left = (path for path in actual.links if _is_obsolete(path) and path not in unlink)
    return {path: link_path(path.rpartition("/")[2]) for path in left}


def _is_obsolete(link: str) -> bool:
    return link.partition(".wants/")[0] in OBSOLETE_STARTERS
