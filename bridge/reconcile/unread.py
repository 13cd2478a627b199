"""Vassals whose configs are read while systemd starts others.

When thousands are new, their names and addresses are known from the rules before anything is started, and with that who
is in whose way. The rest is read a share at a time. A vassal of which there is anything to say is put aside. Then, once
the others are started, a plan of all vassals follows, in which every config is read first.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError
from bridge.model.address import collision_key
from bridge.model.unit_names import EscapeError, label_of, link_path
from bridge.model.vassal import ResolvedVassal, SocketAccess, SpawnSpec
from bridge.vassals.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from bridge.model.address import Address
    from bridge.model.vassal import Vassal
    from bridge.reconcile.actual import ActualState
    from bridge.reconcile.run import PlannedRun
    from bridge.state.lock import Pending
    from bridge.vassals.on_demand import RuleResult

    Rules = Sequence[tuple[Vassal, RuleResult]]
    """Vassals with what the rule says of each."""

WORTH = 500
"""The new vassals from which on configs are read later. Fewer are read sooner than systemd has started the first."""


def put_off(
    vassals: Rules, actual: ActualState, exiled: Collection[str], canonical_address: Callable[[Address], Address]
) -> dict[str, ResolvedVassal]:
    """Choose the vassals whose configs may be read later: new ones, with a name and addresses that nobody else wants.

    ``exiled`` are the labels of vassals that asked not to be started again. Returns what is known of each, by key.
    """
    wanted = {vassal.key: tuple(map(canonical_address, rule.addresses)) for vassal, rule in vassals}
    every = (*actual.installed.values(), *actual.of_others.values())
    had = (address for one in every for address in one.canonical_addresses)
    claims = Counter(map(collision_key, (*had, *(address for some in wanted.values() for address in some))))
    labels = Counter(vassal.label for vassal, _ in vassals)
    chosen = {
        vassal.key: _known(vassal, rule, wanted[vassal.key])
        for vassal, rule in vassals
        if wanted[vassal.key]
        and not rule.diagnostics
        and labels[vassal.label] == 1
        and all(claims[collision_key(address)] == 1 for address in wanted[vassal.key])
        and vassal.label not in exiled
        and _is_new(vassal, actual)
    }
    # One is read at once: what is wrong with a template of the admin's is told before anything is started.
    chosen.pop(next(iter(chosen), ""), None)
    return chosen if len(chosen) >= WORTH else {}


class UnreadVassals:
    """Reads what a plan has put off."""

    def __init__(
        self,
        rules: Mapping[str, RuleResult],
        resolve: Callable[[Vassal, RuleResult], ResolvedVassal | None],
        render: Callable[[ResolvedVassal], Mapping[str, str]],
    ) -> None:
        """``resolve`` returns None for a vassal of which there is anything to say."""
        self._rules = rules
        self._resolve = resolve
        self._render = render
        self._read: dict[str, ResolvedVassal] = {}

    def texts(self, vassals: Iterable[ResolvedVassal]) -> dict[str, str]:
        """Read these vassals' configs, and return their unit files; none of a vassal that is put aside."""
        return {unit: text for known in vassals for unit, text in self._texts_of(known).items()}

    def complete(
        self,
        planned: PlannedRun,
        left: Pending,
        plan_again: Callable[[], PlannedRun],
        carry_out: Callable[[PlannedRun, Pending], Pending],
    ) -> tuple[PlannedRun, Pending]:
        """Return an applied run with the configs that were read meanwhile, and what is left to do.

        If any was put aside, a plan of all vassals is made and carried out before.

        Raises:
            BridgeError: systemd or the file system refuses.
        """
        if self._read.keys() == self._rules.keys():
            return self._completed(planned), left
        rest = plan_again()
        return self._joined(planned, rest), carry_out(rest, left)

    def _completed(self, planned: PlannedRun) -> PlannedRun:
        conflicts = replace(planned.conflicts, accepted=tuple(self._now(planned.conflicts.accepted)))
        desired = replace(planned.desired, resolved=tuple(self._now(planned.desired.resolved)), unread={})
        return replace(planned, conflicts=conflicts, desired=desired)

    def _joined(self, planned: PlannedRun, rest: PlannedRun) -> PlannedRun:
        """Return the run that followed, with the changes of the first."""
        labels = {one.vassal.label for one in self._read.values()}
        put_aside = {label_of(socket) for socket in planned.plan.unread} - labels
        made = (change for change in planned.plan.changes if label_of(change.unit) not in put_aside)
        changes = sorted((*made, *rest.plan.changes), key=lambda change: change.vassal)
        return replace(rest, plan=replace(rest.plan, changes=tuple(changes)))

    def _texts_of(self, known: ResolvedVassal) -> Mapping[str, str]:
        vassal = known.vassal
        with Guard().of(vassal):
            resolved = self._resolve(vassal, self._rules[vassal.key])
            if resolved is None or resolved.canonical_addresses != known.canonical_addresses:
                return {}
            try:
                texts = self._render(resolved)
            except (EscapeError, BridgeError):
                # The plan that follows tells what is wrong with the template, and the others are not left half started.
                return {}
            self._read[vassal.key] = resolved
            return texts
        return {}

    def _now(self, vassals: Iterable[ResolvedVassal]) -> Iterator[ResolvedVassal]:
        return (self._read.get(one.vassal.key, one) for one in vassals)


def _is_new(vassal: Vassal, actual: ActualState) -> bool:
    """Tell whether there is nothing of a vassal yet: no unit file, no link, and no unit in systemd's memory."""
    units = (vassal.service, vassal.socket, vassal.pause)
    is_known = any(unit in place for place in (actual.files, actual.elsewhere, actual.states) for unit in units)
    return not is_known and not any(link_path(unit) in actual.links for unit in units)


def _known(vassal: Vassal, rule: RuleResult, canonical: tuple[Address, ...]) -> ResolvedVassal:
    return ResolvedVassal(
        vassal=vassal,
        addresses=rule.addresses,
        canonical_addresses=canonical,
        access=SocketAccess(),
        spawn=SpawnSpec(argv=()),
    )
