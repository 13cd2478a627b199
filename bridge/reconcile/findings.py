"""What planning finds before it makes the plan, as data: conflicts between vassals, and drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.diagnostics import Diagnostic
    from bridge.model.vassal import RejectedVassal, ResolvedVassal


@dataclass(frozen=True, kw_only=True, slots=True)
class ConflictResult:
    """Which vassals get their units, and whose units stay as they are."""

    accepted: tuple[ResolvedVassal, ...] = ()
    rejections: tuple[RejectedVassal, ...] = ()
    """The vassals rejected here, beyond those rejected before."""
    kept: frozenset[str] = frozenset()
    """Labels of vassals whose units are left alone."""
    masked: frozenset[str] = frozenset()
    """Labels of vassals an admin masked."""
    diagnostics: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """How the actual state has drifted from what the last run left."""

    outdated: frozenset[str] = frozenset()
    """Labels of vassals that run, or gave up, on an older config than the one on disk."""
    sockets_lost: frozenset[str] = frozenset()
    """Labels of vassals whose socket systemd holds while its file is gone or somebody else's."""
    exiled: frozenset[str] = frozenset()
    """Labels of vassals that asked, with exit code 26, not to be started again."""
    stopped_by_admin: frozenset[str] = frozenset()
    """Units that somebody else stopped, and that stay stopped."""
    interrupted: frozenset[str] = frozenset()
    """Units that an interrupted run was about to stop and start again."""
    unread: frozenset[str] = frozenset()
    """Units whose files an interrupted run may have changed without stopping them."""
