"""Which processes of the Emperor's service are of which vassal, and what nobody would take over. Pure.

The Emperor starts a vassal with its name on the command line (core/emperor.c, ``vassal_new_argv``), and the workers
keep that. What a vassal starts, such as an attached daemon, is below it. A process can write over its command line
(``procname``). Then nobody knows whose it is, and the vassals whose processes were not found wait for all of those.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.takeover.emperor import configs_of

_VARIABLE = "UWSGI_EMPEROR_FD"
"""What every vassal of an Emperor has in its environment."""

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from bridge.host.services import ServiceProcess
    from bridge.model.vassal import ResolvedVassal


@dataclass(frozen=True, kw_only=True, slots=True)
class Holders:
    """The processes of the Emperor's service."""

    of: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Those of each vassal that runs, by label."""
    unknown: frozenset[int] = frozenset()
    """Those of which nobody knows whose they are."""
    strangers: tuple[str, ...] = ()
    """The configs of vassals that run and are not among those to take over."""
    sockets: frozenset[int] = frozenset()
    """The inode numbers of all sockets that they have open."""
    held: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Those that the processes of each vassal have open, by label."""
    waiting: frozenset[str] = frozenset()
    """The labels of the vassals that the Emperor listens for, and of which nothing runs."""
    own: frozenset[int] = frozenset()
    """The Emperor's own processes."""
    own_sockets: frozenset[int] = frozenset()
    """The sockets that these have open: at these, vassals wait for their first connection."""

    def awaited(self, label: str) -> frozenset[int]:
        """Return the processes that must have ended before a vassal is started."""
        return self.of.get(label, self.unknown)


def assign(
    processes: Collection[ServiceProcess], vassals: Iterable[ResolvedVassal], heard: Mapping[str, Collection[int]]
) -> Holders:
    """Assign the processes of the Emperor's service to the vassals.

    ``heard`` are the inode numbers of the sockets that listen at the addresses where vassals are to wait, by label.
    """
    labels: dict[str, set[str]] = {}
    for one in vassals:
        for name in _names(one):
            labels.setdefault(name, set()).add(one.vassal.label)
    by_pid = {process.pid: process for process in processes}
    owners = {process.pid: _owners(process, by_pid, labels) for process in processes}
    own = _own(by_pid, {pid for pid, found in owners.items() if found})
    of: dict[str, set[int]] = {}
    for pid, found in owners.items():
        for label in found:
            of.setdefault(label, set()).add(pid)
    for label, numbers in heard.items():
        # An app has the socket at which it was woken. The Emperor's own process has it, too.
        if holding := {p.pid for p in processes if p.pid not in own and not p.sockets.isdisjoint(numbers)}:
            of.setdefault(label, set()).update(holding)
    unknown = by_pid.keys() - own - set().union(*of.values())
    own_sockets = frozenset(number for pid in own for number in by_pid[pid].sockets)
    strangers = (configs_of(by_pid[pid].words)[-1:] for pid in unknown if _VARIABLE in by_pid[pid].variables)
    return Holders(
        of={label: frozenset(pids) for label, pids in of.items()},
        unknown=frozenset(unknown),
        strangers=tuple(sorted({config for found in strangers for config in found})),
        sockets=frozenset().union(*(process.sockets for process in processes)),
        held={label: frozenset(n for pid in pids for n in by_pid[pid].sockets) for label, pids in of.items()},
        waiting=frozenset(label for label in heard.keys() - of.keys() if not own_sockets.isdisjoint(heard[label])),
        own=frozenset(own),
        own_sockets=own_sockets,
    )


def _names(resolved: ResolvedVassal) -> set[str]:
    """Return how the Emperor may name a vassal on its command line; ``emperor://`` is a config that it sends."""
    vassal = resolved.vassal
    return {vassal.argument, vassal.name, vassal.config.path, f"emperor://{vassal.name}"}


def _owners(process: ServiceProcess, by_pid: Mapping[int, ServiceProcess], labels: Mapping[str, set[str]]) -> set[str]:
    """Return the labels of the vassals that a process, or the nearest one above it, was started for."""
    for one in (process, *_above(process, by_pid)):
        if found := set().union(*(labels.get(config, ()) for config in configs_of(one.words))):
            return found
    return set()


def _own(by_pid: Mapping[int, ServiceProcess], owned: Collection[int]) -> set[int]:
    """Return the Emperor's own processes.

    They are the topmost, those with the same command line, and those above a vassal.
    """
    of_vassals = {pid for pid, process in by_pid.items() if pid in owned or _VARIABLE in process.variables}
    above = {one.pid for pid in of_vassals for one in _above(by_pid[pid], by_pid)}
    topmost = {pid for pid, process in by_pid.items() if process.parent not in by_pid} | above
    commands = {by_pid[pid].words for pid in topmost - of_vassals}
    return {pid for pid, process in by_pid.items() if process.words in commands and pid not in of_vassals}


def _above(process: ServiceProcess, by_pid: Mapping[int, ServiceProcess]) -> list[ServiceProcess]:
    """Return the processes of the service that are above one, the nearest first."""
    found: list[ServiceProcess] = []
    while (above := by_pid.get(process.parent)) is not None and above not in found:
        found.append(above)
        process = above
    return found
