"""Load the desired state: ask the monitors, apply the on-demand rule, and read every config."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bridge.host.links import link_targets
from bridge.model.vassal import Mode, RejectedVassal
from bridge.reconcile.desired import Desired
from bridge.vassals.guard import Guard
from bridge.vassals.on_demand import apply_on_demand_rule, rule_file
from bridge.vassals.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from bridge.config.settings import Settings
    from bridge.diagnostics import Diagnostic
    from bridge.model.vassal import ResolvedVassal, Vassal
    from bridge.monitors.base import Monitor, Report
    from bridge.progress import Progress
    from bridge.reconcile.run import Scope, WithConfigs
    from bridge.uwsgi.options import Config
    from bridge.vassals.on_demand import RuleResult
    from bridge.vassals.resolve import Resolution, ResolveContext

    PutOff = Callable[[Sequence[tuple[Vassal, RuleResult]]], Mapping[str, ResolvedVassal]]
    """Takes vassals with their rules; returns, by key, what is known of those whose configs are not read now."""

_PROGRESS_EVERY = 64


class _Loaded(NamedTuple):
    """One vassal as it was loaded."""

    rejected: RejectedVassal | None
    """None: it can be served."""
    found: Resolution | None = None
    """None: its config was not read."""
    problems: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class DesiredLoader:
    """Loads the desired state of all vassals or of some."""

    settings: Settings
    monitors: Sequence[Monitor]
    context: ResolveContext
    progress: Progress
    tenants: Mapping[str, int | None] = field(default_factory=dict)
    """The owners that vassals had when their units were made, by key."""

    def load(
        self,
        scope: Scope,
        unfinished: Collection[str] = frozenset(),
        *,
        with_configs: WithConfigs | None = None,
        put_off: PutOff | None = None,
    ) -> Desired:
        """Load the desired state. A vassal of which a file is ``unfinished`` stays as it is.

        ``put_off`` chooses the vassals whose configs are not read now. ``with_configs`` is called with all that was.

        Raises:
            BridgeError: the settings themselves cannot be used, such as a command that is none.
        """
        reports = [monitor.report(scope.keys) for monitor in self.monitors]
        vassals = _distinct(reports)
        rejections: list[RejectedVassal] = []
        diagnostics = [d for report in reports for d in report.diagnostics]
        resolved: list[ResolvedVassal] = []
        configs: dict[str, Config] = {}
        drafts: list[ResolvedVassal] = []
        rules = list(zip(vassals, apply_on_demand_rule(self.settings, vassals), strict=True))
        known = put_off(rules) if put_off and not unfinished else {}
        for number, (vassal, rule) in enumerate(rules):
            if vassal.key in known:
                resolved.append(known[vassal.key])
                continue
            if number % _PROGRESS_EVERY == 0:
                self.progress("reading vassals", number, len(vassals))
            rejected, found, problems = self._guarded(vassal, rule, unfinished)
            diagnostics += problems
            if rejected is not None:
                rejections.append(rejected)
            elif found and found.resolved:
                resolved.append(found.resolved)
            if with_configs and found and found.config and found.draft:
                configs[vassal.key] = found.config
                drafts += [found.draft] if rejected is not None else []
        desired = Desired(
            resolved=tuple(resolved),
            rejections=tuple(rejections),
            unusable=frozenset(key for report in reports for key in report.rejected)
            | self._absent(vassals, unfinished),
            unreachable=frozenset(report.monitor for report in reports if not report.complete),
            diagnostics=tuple(diagnostics),
            configs=configs,
            drafts=tuple(drafts),
            unfinished=tuple(v.config.path for v in vassals if unfinished and self._is_unfinished(v, unfinished)),
            unread={vassal.key: rule for vassal, rule in rules if vassal.key in known},
        )
        if with_configs:
            with_configs(desired)
        return desired

    def load_one(self, vassal: Vassal, rule: RuleResult) -> ResolvedVassal | None:
        """Read the config of a vassal that was put off; None if there is anything to say of it."""
        rejected, found, problems = self._resolve(vassal, rule, frozenset())
        return found.resolved if found and rejected is None and not problems else None

    def _guarded(self, vassal: Vassal, rule: RuleResult, unfinished: Collection[str]) -> _Loaded:
        guard = Guard()
        with guard.of(vassal):
            return self._resolve(vassal, rule, unfinished)
        mode = None if rule.is_invalid else Mode.ON_DEMAND if rule.address else Mode.ALWAYS
        rejected = RejectedVassal(vassal=vassal, mode=mode, addresses=rule.addresses, sources=(vassal.config.path,))
        return _Loaded(rejected, None, tuple(guard.problems.values()))

    def _resolve(self, vassal: Vassal, rule: RuleResult, unfinished: Collection[str]) -> _Loaded:
        if unfinished and rule_file(self.settings, vassal.config.path) in unfinished:
            return _Loaded(_rejected(vassal, None, rule))
        mode = Mode.ON_DEMAND if rule.address or rule.is_invalid else Mode.ALWAYS
        if self._is_unfinished(vassal, unfinished):
            return _Loaded(_rejected(vassal, mode, rule), None, rule.diagnostics if rule.is_invalid else ())
        found = resolve(vassal, rule, self.context)
        problems = (*rule.diagnostics, *found.problems, *found.warnings)
        if found.resolved and not rule.is_invalid:
            return _Loaded(None, found, problems)
        # The fault may stand in a file that the config includes.
        read = found.draft.sources if found.draft else ()
        more = (problem.path for problem in found.problems if problem.path)
        return _Loaded(_rejected(vassal, mode, rule, (*read, *more)), found, problems)

    def _absent(self, vassals: Iterable[Vassal], unfinished: Iterable[str]) -> frozenset[str]:
        """Return the keys of vassals with units whose unfinished configs are gone: somebody is replacing them."""
        keys = {key for path in unfinished for monitor in self.monitors if (key := monitor.key_at(path)) is not None}
        return frozenset(key for key in keys if key in self.tenants) - {vassal.key for vassal in vassals}

    def _is_unfinished(self, vassal: Vassal, unfinished: Collection[str]) -> bool:
        """Tell whether a vassal stays as it is. One whose config is another tenant's now does not."""
        path = vassal.config.path
        if rule_file(self.settings, path) in unfinished:
            return True
        before = self.tenants.get(vassal.key)
        changed_hands = self.settings.emperor_tyrant and before is not None and before != vassal.config.owner.uid
        return path in unfinished and not changed_hands


def _rejected(vassal: Vassal, mode: Mode | None, rule: RuleResult, read: Iterable[str] = ()) -> RejectedVassal:
    """Return a vassal that cannot be served as it is now; ``read`` are files that were read for it."""
    path = vassal.config.path
    sources = tuple(dict.fromkeys((path, *link_targets(path), *rule.sources, *read)))
    addresses = () if mode is None else rule.addresses
    return RejectedVassal(vassal=vassal, mode=mode, addresses=addresses, sources=sources)


def _distinct(reports: Sequence[Report]) -> list[Vassal]:
    """Return all vassals. A file that two monitors report under one unit name counts once."""
    return list({(v.label, v.config.path): v for report in reports for v in report.vassals}.values())
