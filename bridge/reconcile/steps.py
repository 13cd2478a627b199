"""The steps of a plan, as data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from bridge.diagnostics import Diagnostic
    from bridge.model.change import Change
    from bridge.model.vassal import ResolvedVassal


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All that has to be done, in the order of the fields. Whether a daemon-reload is due is seen while doing it."""

    stop: tuple[str, ...] = ()
    """Units to stop, services and sockets as one job."""
    idle: tuple[str, ...] = ()
    """Units of the same vassals that are down. They are told to stop, too, for a connection or a queued job may start
    one meanwhile. It would run on without its unit file, or keep its socket from starting again."""
    link: Mapping[str, str] = field(default_factory=dict)
    """Links to make, by path below the unit directory."""
    write: Mapping[str, str] = field(default_factory=dict)
    """Unit files to write."""
    unlink: tuple[str, ...] = ()
    """Links to remove, by path below the unit directory."""
    remove: tuple[str, ...] = ()
    """Unit files to remove."""
    unread: Mapping[str, ResolvedVassal] = field(default_factory=dict)
    """Sockets to start whose vassals' configs are read, and units written, while others start."""
    keep_running: frozenset[str] = frozenset()
    """Those of the written units that run on: only their text is new, and it takes effect at their next start."""
    reread: tuple[str, ...] = ()
    """Units in the manager's memory whose files an interrupted run may have changed already."""
    renew: tuple[str, ...] = ()
    """Services whose definition is new while their sockets stay. They are stopped once systemd knows the new one, so
    that a connection that comes meanwhile is not answered by the old one for long."""
    start: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()
    """Services to be told that their config changed."""
    retry: tuple[str, ...] = ()
    """Services that pause after a failure, or asked not to be started, and are to be tried at once."""
    changes: tuple[Change, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    waits_for: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Labels of the vassals that must have stopped first, by the label of the vassal that gets their address."""
    spared: frozenset[str] = frozenset()
    """Labels of vassals that are gone and keep their units, because too many are gone at once."""

    def part(self, is_in: Callable[[str], bool]) -> Plan:
        """Return the part of the plan that concerns these units; changes and diagnostics stay as they are."""

        def some(units: Iterable[str]) -> tuple[str, ...]:
            return tuple(unit for unit in units if is_in(unit.rpartition("/")[2]))

        return replace(
            self,
            stop=some(self.stop),
            idle=some(self.idle),
            unlink=some(self.unlink),
            remove=some(self.remove),
            link={path: self.link[path] for path in some(self.link)},
            write={unit: self.write[unit] for unit in some(self.write)},
            unread={unit: self.unread[unit] for unit in some(self.unread)},
            keep_running=frozenset(some(self.keep_running)),
            reread=some(self.reread),
            renew=some(self.renew),
            start=some(self.start),
            reload=some(self.reload),
            retry=some(self.retry),
        )

    def with_texts(self, texts: Mapping[str, str]) -> Plan:
        """Return the plan, now that all configs are read: of a vassal without texts there is nothing to do."""
        left_out = self.unread.keys() - texts.keys()
        return replace(
            self,
            write={**self.write, **texts},
            unread={},
            start=tuple(unit for unit in self.start if unit not in left_out),
            link={path: self.link[path] for path in self.link if path.rpartition("/")[2] not in left_out},
        )

    def waiting(self, late: Collection[str]) -> dict[str, str]:
        """Return which vassals get the address of a late one, label by label."""
        found = {label: others.intersection(late) for label, others in self.waits_for.items() if label not in late}
        return {label: min(others) for label, others in found.items() if others}

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        files = self.unlink or self.remove or self.link or self.write
        return not (files or self.stop or self.reread or self.renew or self.start or self.reload or self.retry)
