"""The first half of the road, which only reads: what is there, what is wanted, and what has to be done about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from bridge.host.listeners import make_identity
from bridge.model.unit import Observed
from bridge.model.vassal import Refusal
from bridge.reconcile.conflicts import Desired, admit
from bridge.reconcile.desired import desire
from bridge.reconcile.drift import lost_sockets, occupied_addresses, outdated, refuse_foreign_common, stopped_units
from bridge.reconcile.plan import make_plan
from bridge.reconcile.run import Circumstances, Outlook
from bridge.units.directory import installed_vassals
from bridge.units.quoting import EscapeError
from bridge.units.render import TARGET, Throttle, boot_target, make_templates, pause_of, render, render_common
from bridge.vassals.resolve import settle
from bridge.vassals.spawn import make_terms

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from jinja2 import Environment

    from bridge.config.paths import Layout
    from bridge.config.settings import Settings
    from bridge.diagnostics import Diagnostic
    from bridge.model.address import Address
    from bridge.model.vassal import Settled, Vassal
    from bridge.reconcile.apply import Teller
    from bridge.state.cache import Roll
    from bridge.systemd.manager import Manager
    from bridge.units.directory import Store
    from bridge.uwsgi.options import Config


@dataclass(frozen=True, slots=True)
class Part:
    """The vassals a run looks at, where it does not look at all."""

    configs: frozenset[str]
    roll: Roll
    """What is known of all of them, and of the others."""
    sees_sockets: bool = True
    """Whether it is to be seen if their sockets were lost."""


class Lookout:
    """Looks, for one layout and one set of settings.

    It remembers nothing of what it read: a daemon with thousands of vassals is small, and seldom looks at all of them.
    """

    def __init__(self, layout: Layout, settings: Settings, store: Store, tell: Teller) -> None:
        self._layout = layout
        self._settings = settings
        self._store = store
        self._tell = tell
        self._boot = boot_target(user_manager=layout.user_manager)
        self._throttle = Throttle(
            step=-(-settings.emperor_throttle // 1000), longest=-(-settings.emperor_max_throttle // 1000)
        )

    def look(
        self,
        manager: Manager | None,
        circumstances: Circumstances,
        *,
        configs: dict[Vassal, Config] | None = None,
    ) -> Outlook:
        """Look at everything; without a manager, at what is on the disk alone.

        The configs that are read for it are put into ``configs``, if that is given.

        Raises:
            BridgeError: the settings, the templates or the manager cannot be used.
        """
        observed = self.observe(manager)
        refuse_foreign_common(observed)
        identity = make_identity()
        desired = self.desire(identity, circumstances.unfinished, configs=configs)
        observed = self._observe_more(desired, observed, manager, circumstances, sees_sockets=True)
        return self._plan(desired, observed, allow_mass_removal=circumstances.allow_mass_removal)

    def look_at(self, part: Part, manager: Manager, circumstances: Circumstances) -> Outlook | None:
        """Look at a part of the vassals; None if they cannot be told apart from the others.

        Raises:
            BridgeError: the settings, the templates or the manager cannot be used.
        """
        identity = make_identity()
        desired = self.desire(identity, circumstances.unfinished, only=part.configs)
        labels = part.roll.labels_of(part.configs) | {settled.vassal.label for settled in desired.settled}
        labels |= {refusal.vassal.label for refusal in desired.refusals}
        services = [f"vassal-{label}.service" for label in labels]
        units = [*services, *(f"vassal-{label}.socket" for label in labels)]
        files = self._store.files(units)
        installed = installed_vassals(files, identity)
        addresses = [s.identity for s in desired.settled] + [one.identity for one in installed.values()]
        if part.roll.rivals(labels, filter(None, addresses), part.configs) or any(
            one.config not in part.configs for one in installed.values()
        ):
            return None
        observed = Observed(
            files=files,
            elsewhere=self._store.elsewhere(units),
            links=self._store.links(self._boot, units),
            installed=installed,
            states=manager.units([TARGET, *units, *map(pause_of, services)]),
        )
        observed = self._observe_more(desired, observed, manager, circumstances, sees_sockets=part.sees_sockets)
        others = part.roll.served - sum(
            record.is_served for config in part.configs if (record := part.roll.records.get(config))
        )
        return self._plan(
            desired, observed, allow_mass_removal=circumstances.allow_mass_removal, others=others, part=part.configs
        )

    def observe(self, manager: Manager | None) -> Observed:
        """Read what is on the disk and in the manager's memory.

        Raises:
            BridgeError: a directory or the manager cannot be read.
        """
        files = self._store.files()
        return Observed(
            files=files,
            elsewhere=self._store.elsewhere(),
            links=self._store.links(self._boot),
            installed=installed_vassals(files, make_identity()),
            states=manager.units() if manager else {},
        )

    def desire(
        self,
        identity: Callable[[Address], Address],
        unfinished: Collection[str] = (),
        *,
        configs: dict[Vassal, Config] | None = None,
        only: Collection[str] | None = None,
    ) -> Desired:
        """Read what is wanted.

        Raises:
            BridgeError: the settings cannot be used.
        """
        terms = make_terms(self._settings, user_manager=self._layout.user_manager)
        settled = partial(settle, terms=terms, identity=identity, configs=configs)
        return desire(self._settings, settle=settled, progress=self._tell, unfinished=unfinished, only=only)

    def render(self, settled: Settled) -> dict[str, str]:
        """Render a vassal's units.

        Raises:
            EscapeError: a value cannot be written into a unit.
            BridgeError: a template is at fault.
        """
        return render(settled, self._templates, throttle=self._throttle)

    @cached_property
    def _templates(self) -> Environment:
        return make_templates(self._layout.templates)

    def _observe_more(
        self,
        desired: Desired,
        observed: Observed,
        manager: Manager | None,
        circumstances: Circumstances,
        *,
        sees_sockets: bool,
    ) -> Observed:
        follow = not self._settings.emperor_nofollow
        observed = replace(observed, stale=circumstances.stale, exiled=self._store.exiled())
        return replace(
            observed,
            occupied=occupied_addresses(desired, observed, asked=manager is not None),
            outdated=outdated(desired, observed, manager, circumstances, follow=follow) if manager else frozenset(),
            lost=lost_sockets(observed, manager) if manager and sees_sockets else frozenset(),
            left=stopped_units(observed, circumstances) if circumstances.leave_stopped else frozenset(),
        )

    def _plan(
        self,
        desired: Desired,
        observed: Observed,
        *,
        allow_mass_removal: bool,
        others: int = 0,
        part: frozenset[str] | None = None,
    ) -> Outlook:
        admission = admit(desired, observed)
        texts = {}
        unfit = {}
        for settled in admission.admitted:
            try:
                texts[settled.vassal.label] = self.render(settled)
            except EscapeError as error:
                unfit[settled] = unwritable(settled.vassal, error)
        if unfit:
            # What they had is kept now, and others may not take it: admit once more, without them.
            turned_away = (Refusal(vassal=s.vassal, mode=s.mode, address=s.address) for s in unfit)
            fit = replace(
                desired,
                settled=tuple(s for s in desired.settled if s not in unfit),
                refusals=(*desired.refusals, *turned_away),
                diagnostics=(*desired.diagnostics, *unfit.values()),
            )
            return self._plan(fit, observed, allow_mass_removal=allow_mass_removal, others=others, part=part)
        plan = make_plan(
            admission=admission,
            texts=texts,
            common=self._common() if part is None else None,
            observed=observed,
            boot_target=self._boot,
            allow_mass_removal=allow_mass_removal,
            others=others,
        )
        return Outlook(desired=desired, admission=admission, observed=observed, plan=plan, part=part, others=others)

    def _common(self) -> dict[str, str]:
        return render_common(self._templates, user_manager=self._layout.user_manager, throttle=self._throttle)


def unwritable(vassal: Vassal, error: EscapeError) -> Diagnostic:
    """Say that what a vassal is made of cannot stand in a unit."""
    return vassal.problem("unit-value", f"a value cannot be written into a unit: {error}", "rename it")
