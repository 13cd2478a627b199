"""Read the desired and the actual state and make a plan; nothing is changed."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeVar

from bridge.config.settings import OwnSocketsMode
from bridge.host.listeners import make_canonical_address
from bridge.host.users import forget_users
from bridge.model.unit_names import TARGET, EscapeError, boot_target
from bridge.reconcile.actual import ActualReader
from bridge.reconcile.conflicts import find_conflicts, refuse_foreign_common
from bridge.reconcile.contention import contends, labels_of, takes_address
from bridge.reconcile.drift import DriftDetector
from bridge.reconcile.load import DesiredLoader
from bridge.reconcile.occupied import occupied_addresses
from bridge.reconcile.plan import DesiredUnits, gone_vassals, make_plan
from bridge.reconcile.removal_guard import spare
from bridge.reconcile.run import Assessment, PlannedRun, Scope
from bridge.reconcile.sockets import find_moved_sockets
from bridge.reconcile.unread import UnreadVassals, put_off
from bridge.units.render import Limits, RenderContext, Throttle, make_templates, render, render_common
from bridge.vassals.environment import Environments
from bridge.vassals.guard import Guard, is_unexpected
from bridge.vassals.resolve import ResolveContext, unwritable
from bridge.vassals.spawn import spawn_defaults
from bridge.vassals.tenant import make_boundary
from bridge.vassals.waiting import WaitingRules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bridge.config.paths import Paths
    from bridge.config.settings import Settings
    from bridge.model.vassal import ResolvedVassal
    from bridge.monitors.base import Monitor
    from bridge.progress import Progress
    from bridge.reconcile.actual import ActualState
    from bridge.reconcile.desired import Desired
    from bridge.reconcile.run import RunContext, WithConfigs
    from bridge.state.cache import VassalCache
    from bridge.state.pauses import PauseNotes
    from bridge.systemd.protocol import Manager
    from bridge.units.directory import UnitDirectory
    from bridge.units.template_cache import TemplateCache

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Makes plans with one set of paths and settings. It keeps nothing of what it read: the daemon is to be small."""

    paths: Paths
    settings: Settings
    monitors: Sequence[Monitor]
    directory: UnitDirectory
    pauses: PauseNotes
    progress: Progress

    def plan_all(
        self,
        manager: Manager | None,
        context: RunContext,
        *,
        with_configs: WithConfigs | None = None,
        puts_off: bool = False,
    ) -> PlannedRun:
        """Plan for every vassal; without a manager, from what is on disk alone.

        With ``puts_off``, the configs of thousands of new vassals are left to :meth:`unread`.

        Raises:
            BridgeError: the settings, the templates or the manager cannot be used.
        """
        reader = self.reader()
        actual = replace(reader.read_all(manager), ending=context.ending)
        refuse_foreign_common(actual)
        tenants = {one.key: one.tenant for one in actual.installed.values()}
        exiled, canonical = self.pauses.exiled(), reader.canonical_address
        later = partial(put_off, actual=actual, exiled=exiled, canonical_address=canonical) if puts_off else None
        loader = self.loader(reader, manager, tenants)
        desired = loader.load(Scope.all(), context.unfinished, with_configs=with_configs, put_off=later)
        return self._plan(desired, actual, manager, context)

    def unread(self, desired: Desired, manager: Manager) -> UnreadVassals:
        """Return what reads the configs that were put off. Raises as :meth:`loader`."""
        return UnreadVassals(desired.unread, self.loader(self.reader(), manager).load_one, self.render)

    def plan_scope(self, manager: Manager, context: RunContext, scope: Scope, cache: VassalCache) -> PlannedRun | None:
        """Plan for the vassals in scope; None if one of them contends with a vassal outside for a name or an address.

        Raises:
            BridgeError: the settings, the templates or the manager cannot be used.
        """
        keys = scope.keys or frozenset()
        reader = self.reader()
        tenants = {key: record.tenant for key in keys if (record := cache.records.get(key))}
        desired = self.loader(reader, manager, tenants).load(scope, context.unfinished)
        actual = reader.read_some(manager, labels_of(desired, cache, keys))
        if actual.of_others or contends(desired, actual, cache, keys):
            return None
        if context.has_others and takes_address(desired, actual):
            # The addresses of other configurations are not in the cache.
            return None
        return self._plan(desired, actual, manager, context, (scope, cache))

    def assess(self, manager: Manager) -> Assessment:
        """Compare the desired with the actual state of every vassal, without a plan.

        Raises:
            BridgeError: the settings or the manager cannot be used.
        """
        reader = self.reader()
        actual = reader.read_all(manager)
        desired = self.loader(reader, manager).load(Scope.all())
        return _for_most(desired, lambda part: _assess(part, actual))

    def assess_scope(self, manager: Manager, scope: Scope, cache: VassalCache) -> Assessment | None:
        """Do the same for the vassals in scope; None as for :meth:`plan_scope`. The others are taken from the cache.

        Raises:
            BridgeError: the settings or the manager cannot be used.
        """
        keys = scope.keys or frozenset()
        reader = self.reader()
        desired = self.loader(reader, manager).load(scope)
        actual = reader.read_some(manager, labels_of(desired, cache, keys))
        if actual.of_others or contends(desired, actual, cache, keys):
            return None
        assessment = _for_most(desired, lambda part: _assess(part, actual))
        installed = {**cache.installed(keys), **actual.installed}
        return replace(assessment, actual=replace(actual, installed=installed, states=manager.units()))

    def reader(self) -> ActualReader:
        """Return what reads the actual state. It asks for each folder of sockets once."""
        monitors = frozenset(monitor.id for monitor in self.monitors)
        return ActualReader(self.paths, self.directory, make_canonical_address(), monitors)

    def loader(
        self, reader: ActualReader, manager: Manager | None = None, tenants: Mapping[str, int | None] | None = None
    ) -> DesiredLoader:
        """Return what loads the desired state; ``tenants`` are the owners at the time the units were made, by key.

        Raises:
            BridgeError: the settings name a program, user or group that is not there.
        """
        forget_users()
        is_user = self.paths.user_manager
        defaults = spawn_defaults(self.settings, user_manager=is_user)
        environments = Environments(manager, user_manager=is_user)
        mode = OwnSocketsMode(self.settings.on_demand_own_sockets)
        waiting = WaitingRules(reader.canonical_address, make_boundary(self.settings), mode)
        context = ResolveContext(defaults, environments, waiting)
        return DesiredLoader(
            settings=self.settings,
            monitors=self.monitors,
            context=context,
            progress=self.progress,
            tenants=tenants or {},
        )

    def render(self, resolved: ResolvedVassal) -> dict[str, str]:
        """Render a vassal's units.

        Raises:
            EscapeError: a value cannot be written into a unit.
            BridgeError: a template is at fault.
        """
        return render(resolved, self.render_context)

    @property
    def boot_link(self) -> str:
        """The link that starts the vassals at boot, by its path below the unit directory."""
        return f"{boot_target(user_manager=self.paths.user_manager)}.wants/{TARGET}"

    def save_templates(self) -> None:
        """Keep the compiled templates for the next run, if any are new. Without them it compiles them again."""
        if "_template_cache" in vars(self):
            with suppress(OSError):
                self._template_cache.save()

    @cached_property
    def _template_cache(self) -> TemplateCache:
        from bridge.units.template_cache import TemplateCache

        return TemplateCache(self.paths.compiled)

    @cached_property
    def render_context(self) -> RenderContext:
        """What vassals are rendered with."""
        return RenderContext(
            templates=make_templates(self.paths.templates, self._template_cache),
            user_manager=self.paths.user_manager,
            throttle=Throttle(
                step=-(-self.settings.emperor_throttle // 1000), longest=-(-self.settings.emperor_max_throttle // 1000)
            ),
            limits=Limits(starting=self.settings.max_starting, running=self.settings.max_running),
            pauses=self.paths.pauses,
            configuration=self.paths.configuration,
        )

    def _plan(
        self,
        desired: Desired,
        actual: ActualState,
        manager: Manager | None,
        context: RunContext,
        part: tuple[Scope, VassalCache] | None = None,
    ) -> PlannedRun:
        desired, texts = _rendered(desired, self.render)
        common = None if part else render_common(self.render_context)
        units = DesiredUnits(texts=texts, common=common, boot_link=self.boot_link)
        return _for_most(desired, lambda some: self._plan_units(some, units, actual, manager, (context, part)))

    def _plan_units(
        self,
        desired: Desired,
        units: DesiredUnits,
        actual: ActualState,
        manager: Manager | None,
        of_run: tuple[RunContext, tuple[Scope, VassalCache] | None],
    ) -> PlannedRun:
        context, part = of_run
        guard = Guard()
        detector = DriftDetector(
            context=context, exiled=self.pauses.exiled(), follow=not self.settings.emperor_nofollow, guard=guard
        )
        conflicts = _assess(desired, actual).conflicts
        # A rejected config may bear the name of a vassal that is served: what changes in it must not reload that one.
        drift = detector.detect(replace(desired, resolved=conflicts.accepted), actual, manager)
        if guard.problems:
            desired = desired.without(guard.problems)
            conflicts = _assess(desired, actual).conflicts
        others = part[1].served(part[0].keys or ()) if part else Counter()
        gone = () if context.allow_mass_removal else gone_vassals(conflicts, actual)
        served = others + Counter((one.monitor, one.tenant) for one in actual.installed.values())
        return PlannedRun(
            desired=desired,
            actual=actual,
            drift=drift,
            conflicts=conflicts,
            plan=make_plan(conflicts, actual, drift, units, spare(gone, served)),
            context=context,
            scope=part[0] if part else Scope.all(),
            others=others,
        )


def _rendered(
    desired: Desired, render: Callable[[ResolvedVassal], Mapping[str, str]]
) -> tuple[Desired, dict[str, Mapping[str, str]]]:
    """Render every vassal that was read; reject those of which an admin's template writes what no unit can hold."""
    texts: dict[str, Mapping[str, str]] = {}
    guard = Guard()
    for resolved in desired.resolved:
        vassal = resolved.vassal
        if vassal.key in desired.unread:
            continue
        with guard.of(vassal):
            try:
                texts[vassal.key] = render(resolved)
            except EscapeError as error:
                guard.problems[vassal.key] = unwritable(vassal, error)
    return desired.without(guard.problems), texts


def _assess(desired: Desired, actual: ActualState) -> Assessment:
    conflicts = find_conflicts(desired, actual, occupied_addresses(desired, actual))
    moved = find_moved_sockets(desired, actual)
    conflicts = replace(conflicts, diagnostics=(*conflicts.diagnostics, *moved))
    return Assessment(desired=desired, actual=actual, conflicts=conflicts)


def _for_most(desired: Desired, work: Callable[[Desired], T]) -> T:
    """Do work on all vassals. If it fails for some as nobody expected, reject those, and do it on all others.

    Raises:
        BridgeError: it fails in a way that concerns the whole run.
    """
    try:
        return work(desired)
    except Exception as error:
        if not is_unexpected(error):
            raise
        guard = Guard()
        guard.find(lambda some: work(replace(desired, resolved=tuple(some))), desired.resolved)
        if not guard.problems:
            raise
    return _for_most(desired.without(guard.problems), work)
