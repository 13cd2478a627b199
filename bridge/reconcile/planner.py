"""The first half of the road, which only reads: what is there, what is wanted, and what has to be done about it."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from bridge.host.listeners import make_canonical_address
from bridge.model.unit_names import TARGET, EscapeError, boot_target, pause_of
from bridge.model.vassal import RejectedVassal
from bridge.reconcile.actual import ActualState
from bridge.reconcile.conflicts import find_conflicts
from bridge.reconcile.desired import Desired, desire
from bridge.reconcile.drift import lost_sockets, occupied_addresses, outdated, refuse_foreign_common, stopped_units
from bridge.reconcile.plan import make_plan
from bridge.reconcile.run import Part, PlannedRun, RunContext
from bridge.units.directory import installed_vassals
from bridge.units.render import Throttle, make_templates, render, render_common
from bridge.vassals.resolve import resolve
from bridge.vassals.spawn import spawn_defaults

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from jinja2 import Environment

    from bridge.config.paths import Paths
    from bridge.config.settings import Settings
    from bridge.diagnostics import Diagnostic
    from bridge.model.address import Address
    from bridge.model.vassal import ResolvedVassal, Vassal
    from bridge.progress import Progress
    from bridge.systemd.manager import Manager
    from bridge.units.directory import UnitDirectory
    from bridge.uwsgi.options import Config


class Lookout:
    """Looks, for one layout and one set of settings.

    It remembers nothing of what it read: a daemon with thousands of vassals is small, and seldom looks at all of them.
    """

    def __init__(self, paths: Paths, settings: Settings, store: UnitDirectory, tell: Progress) -> None:
        self._layout = paths
        self._settings = settings
        self._store = store
        self._tell = tell
        self._boot = boot_target(user_manager=paths.user_manager)
        self._throttle = Throttle(
            step=-(-settings.emperor_throttle // 1000), longest=-(-settings.emperor_max_throttle // 1000)
        )

    def look(
        self,
        manager: Manager | None,
        circumstances: RunContext,
        *,
        configs: dict[Vassal, Config] | None = None,
    ) -> PlannedRun:
        """Look at everything; without a manager, at what is on the disk alone.

        The configs that are read for it are put into ``configs``, if that is given.

        Raises:
            BridgeError: the settings, the templates or the manager cannot be used.
        """
        actual = self.observe(manager)
        refuse_foreign_common(actual)
        canonical_address = make_canonical_address()
        desired = self.desire(canonical_address, circumstances.unfinished, configs=configs)
        actual = self._observe_more(desired, actual, manager, circumstances, sees_sockets=True)
        return self._plan(desired, actual, allow_mass_removal=circumstances.allow_mass_removal)

    def look_at(self, part: Part, manager: Manager, circumstances: RunContext) -> PlannedRun | None:
        """Look at a part of the vassals; None if they cannot be told apart from the others.

        Raises:
            BridgeError: the settings, the templates or the manager cannot be used.
        """
        canonical_address = make_canonical_address()
        desired = self.desire(canonical_address, circumstances.unfinished, only=part.configs)
        labels = part.cache.labels_of(part.configs) | {resolved.vassal.label for resolved in desired.resolved}
        labels |= {rejection.vassal.label for rejection in desired.rejections}
        services = [f"vassal-{label}.service" for label in labels]
        units = [*services, *(f"vassal-{label}.socket" for label in labels)]
        files = self._store.files(units)
        installed = installed_vassals(files, canonical_address)
        addresses = [s.canonical_address for s in desired.resolved] + [
            one.canonical_address for one in installed.values()
        ]
        if part.cache.rivals(labels, filter(None, addresses), part.configs) or any(
            one.config not in part.configs for one in installed.values()
        ):
            return None
        actual = ActualState(
            files=files,
            elsewhere=self._store.elsewhere(units),
            links=self._store.links(self._boot, units),
            installed=installed,
            states=manager.units([TARGET, *units, *map(pause_of, services)]),
        )
        actual = self._observe_more(desired, actual, manager, circumstances, sees_sockets=part.sees_sockets)
        others = part.cache.served - sum(
            record.is_served for config in part.configs if (record := part.cache.records.get(config))
        )
        return self._plan(
            desired, actual, allow_mass_removal=circumstances.allow_mass_removal, others=others, part=part.configs
        )

    def observe(self, manager: Manager | None) -> ActualState:
        """Read what is on the disk and in the manager's memory.

        Raises:
            BridgeError: a directory or the manager cannot be read.
        """
        files = self._store.files()
        return ActualState(
            files=files,
            elsewhere=self._store.elsewhere(),
            links=self._store.links(self._boot),
            installed=installed_vassals(files, make_canonical_address()),
            states=manager.units() if manager else {},
        )

    def desire(
        self,
        canonical_address: Callable[[Address], Address],
        unfinished: Collection[str] = (),
        *,
        configs: dict[Vassal, Config] | None = None,
        only: Collection[str] | None = None,
    ) -> Desired:
        """Read what is wanted.

        Raises:
            BridgeError: the settings cannot be used.
        """
        defaults = spawn_defaults(self._settings, user_manager=self._layout.user_manager)
        resolved = partial(resolve, defaults=defaults, canonical_address=canonical_address, configs=configs)
        return desire(self._settings, resolve=resolved, progress=self._tell, unfinished=unfinished, only=only)

    def render(self, resolved: ResolvedVassal) -> dict[str, str]:
        """Render a vassal's units.

        Raises:
            EscapeError: a value cannot be written into a unit.
            BridgeError: a template is at fault.
        """
        return render(resolved, self._templates, throttle=self._throttle)

    @cached_property
    def _templates(self) -> Environment:
        return make_templates(self._layout.templates)

    def _observe_more(
        self,
        desired: Desired,
        actual: ActualState,
        manager: Manager | None,
        circumstances: RunContext,
        *,
        sees_sockets: bool,
    ) -> ActualState:
        follow = not self._settings.emperor_nofollow
        actual = replace(actual, stale=circumstances.stale, exiled=self._store.exiled())
        return replace(
            actual,
            occupied=occupied_addresses(desired, actual, asked=manager is not None),
            outdated=outdated(desired, actual, manager, circumstances, follow=follow) if manager else frozenset(),
            lost=lost_sockets(actual, manager) if manager and sees_sockets else frozenset(),
            left=stopped_units(actual, circumstances) if circumstances.leave_stopped else frozenset(),
        )

    def _plan(
        self,
        desired: Desired,
        actual: ActualState,
        *,
        allow_mass_removal: bool,
        others: int = 0,
        part: frozenset[str] | None = None,
    ) -> PlannedRun:
        conflicts = find_conflicts(desired, actual)
        texts = {}
        unfit = {}
        for resolved in conflicts.accepted:
            try:
                texts[resolved.vassal.label] = self.render(resolved)
            except EscapeError as error:
                unfit[resolved] = unwritable(resolved.vassal, error)
        if unfit:
            # What they had is kept now, and others may not take it: admit once more, without them.
            turned_away = (RejectedVassal(vassal=s.vassal, mode=s.mode, address=s.address) for s in unfit)
            fit = replace(
                desired,
                resolved=tuple(s for s in desired.resolved if s not in unfit),
                rejections=(*desired.rejections, *turned_away),
                diagnostics=(*desired.diagnostics, *unfit.values()),
            )
            return self._plan(fit, actual, allow_mass_removal=allow_mass_removal, others=others, part=part)
        plan = make_plan(
            conflicts=conflicts,
            texts=texts,
            common=self._common() if part is None else None,
            actual=actual,
            boot_target=self._boot,
            allow_mass_removal=allow_mass_removal,
            others=others,
        )
        return PlannedRun(desired=desired, conflicts=conflicts, actual=actual, plan=plan, part=part, others=others)

    def _common(self) -> dict[str, str]:
        return render_common(self._templates, user_manager=self._layout.user_manager, throttle=self._throttle)


def unwritable(vassal: Vassal, error: EscapeError) -> Diagnostic:
    """Say that what a vassal is made of cannot stand in a unit."""
    return vassal.problem("unit-value", f"a value cannot be written into a unit: {error}", "rename it")
