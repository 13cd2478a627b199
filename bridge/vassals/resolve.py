"""Resolve a vassal: read its config and decide everything its units need, or reject it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic, Severity
from bridge.host.links import link_targets
from bridge.model.unit_names import EscapeError
from bridge.model.vassal import ResolvedVassal, SocketOptions, SpawnSpec, Way
from bridge.units.quoting import argument, value, word
from bridge.uwsgi.options import ConfigError, written
from bridge.uwsgi.reader import ProcessView, read
from bridge.vassals.reloaded import as_reloaded, find_daemonize, find_first_start, find_lost
from bridge.vassals.socket_access import find_access, socket_options
from bridge.vassals.spawn import spawn_spec
from bridge.vassals.waiting import Waiting

if TYPE_CHECKING:
    from bridge.model.vassal import SocketAccess, Vassal
    from bridge.uwsgi.options import Config
    from bridge.vassals.environment import Environments
    from bridge.vassals.on_demand import RuleResult
    from bridge.vassals.spawn import SpawnDefaults
    from bridge.vassals.tenant import TenantBoundary
    from bridge.vassals.waiting import WaitingRules

_BACKLOG = re.compile(r"[1-9][0-9]{0,6}")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ResolveContext:
    """What is the same for all vassals of one run."""

    defaults: SpawnDefaults
    environments: Environments
    waiting: WaitingRules

    @property
    def boundary(self) -> TenantBoundary | None:
        """What tenants may decide. None: there are no tenants."""
        return self.waiting.boundary


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Resolution:
    """A vassal as its config has it, and all that is wrong with it."""

    config: Config | None
    """As uWSGI will read it. None: it cannot be read."""
    draft: ResolvedVassal | None
    """What the units would be made from, if nothing were wrong; None if the config cannot be read."""
    problems: tuple[Diagnostic, ...] = ()
    """Why the vassal is refused."""
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def resolved(self) -> ResolvedVassal | None:
        """What the units are made from. None: the vassal is refused."""
        return None if self.problems else self.draft


def resolve(vassal: Vassal, rule: RuleResult, context: ResolveContext) -> Resolution:
    """Read a vassal's config and decide what its units are made from, or say all that is in the way."""
    problems: list[Diagnostic] = []
    spawn = spawn_spec(vassal, context.defaults)
    if isinstance(spawn, Diagnostic):
        problems.append(spawn)
        if not vassal.config.owner.uid:
            # A tenant's link may lead to any file of root's. None is read, and quoted, for that.
            return Resolution(None, None, (spawn,))
        # To look for further problems, the config is read on its owner's behalf.
        spawn = SpawnSpec(argv=(), tenant=vassal.config.owner.uid)
    try:
        config, spawn, waiting = _read(vassal, spawn, rule, context)
    except ConfigError as error:
        unreadable = vassal.problem("config-unreadable", error.message, error.hint, at=(error.path, error.line))
        return Resolution(None, None, (*problems, unreadable))
    problems += waiting.problems
    problems += filter(None, (_find_unwritable(vassal, spawn),))
    is_own = waiting.way is Way.OWN
    access, refused = find_access(config, vassal, spawn, waiting.addresses, is_own=is_own)
    problems += refused
    if waiting.addresses and not refused and (problem := _find_access_problem(config, vassal, access, context)):
        problems.append(problem)
    draft = ResolvedVassal(
        vassal=vassal,
        addresses=waiting.addresses,
        canonical_addresses=tuple(map(context.waiting.canonical_address, waiting.addresses)),
        access=access,
        spawn=spawn,
        backlog=_backlog(config),
        options=socket_options(config) if is_own else SocketOptions(),
        sources=_sources(vassal, config, rule),
        way=waiting.way,
        why_always=waiting.reason,
    )
    remarks = (
        vassal.problem("config-empty", r.message, r.hint, at=(r.path, r.line), severity=Severity.WARNING)
        for r in config.remarks
    )
    return Resolution(config, draft, tuple(problems), tuple(remarks))


def _read(
    vassal: Vassal, spawn: SpawnSpec, rule: RuleResult, context: ResolveContext
) -> tuple[Config, SpawnSpec, Waiting]:
    """Read a vassal's config; return with it how the vassal is started, and where it waits.

    Raises:
        ConfigError: uWSGI would not start with it.
    """
    config = read_as_started(vassal, spawn, context)
    waiting = context.waiting.decide(config, vassal, rule)
    if waiting.way is Way.OWN and not waiting.problems:
        count = len(waiting.addresses)
        handed = as_reloaded(spawn, config, sockets=count)
        lost = find_lost(config, read_as_started(vassal, handed, context), handed, sockets=count)
        if lost is not None:
            waiting = context.waiting.without_effect(lost, vassal, rule)
        elif rule.address is None and (refusal := _find_refused_access(config, vassal, handed, waiting, context)):
            # No rule asks for it, so the vassal is not refused: it runs always, and binds with its own rights.
            waiting = Waiting(reason=refusal.message)
        else:
            return config, handed, waiting
    if not find_daemonize(config):
        return config, spawn, waiting
    spawn = as_reloaded(spawn, config)
    problem = find_first_start(vassal, config, read_as_started(vassal, spawn, context), spawn)
    return config, spawn, replace(waiting, problems=(*filter(None, [problem]), *waiting.problems))


def read_as_started(vassal: Vassal, spawn: SpawnSpec, context: ResolveContext) -> Config:
    """Read a vassal's config as the uWSGI that systemd starts will: in the environment of its service.

    Raises:
        ConfigError: uWSGI would not start with it.
    """
    defaults, environments = context.defaults, context.environments
    view = ProcessView(
        environ=environments.of(spawn, vassal.directory),
        login=partial(environments.login, spawn),
        cwd=vassal.directory,
        before=defaults.before,
        after=defaults.after,
        tenant=spawn.tenant,
        program=defaults.binary,
    )
    return read(vassal.config.path, view)


def _find_refused_access(
    config: Config, vassal: Vassal, spawn: SpawnSpec, waiting: Waiting, context: ResolveContext
) -> Diagnostic | None:
    """Find why a tenant may not give his own sockets to the user or group in his config."""
    access, _ = find_access(config, vassal, spawn, waiting.addresses, is_own=True)
    return _find_access_problem(config, vassal, access, context)


def _find_access_problem(
    config: Config, vassal: Vassal, access: SocketAccess, context: ResolveContext
) -> Diagnostic | None:
    """Find why a tenant may not give his socket to the user or group in his config."""
    option = config.last("chown-socket", "chown")
    if context.boundary is None or option is None:
        return None
    if refusal := context.boundary.judge_access(access, vassal.config.owner):
        message = f"{written(option)} {refusal.message}"
        return vassal.problem("socket-access", message, refusal.hint, at=(option.path, option.line))
    return None


def _find_unwritable(vassal: Vassal, spawn: SpawnSpec) -> Diagnostic | None:
    """Find a value that systemd's quoting cannot express."""
    try:
        value(vassal.directory)
        for text in (spawn.user, spawn.group):
            value(text) if text else None
        for text in (*spawn.argv, *spawn.start_hook, *spawn.stop_hook):
            argument(text)
        for text in spawn.environment:
            word(text)
    except EscapeError as error:
        return unwritable(vassal, error)
    return None


def unwritable(vassal: Vassal, error: EscapeError) -> Diagnostic:
    """Say that a unit file cannot hold a value of this vassal."""
    return vassal.problem("unit-value", f"a value cannot be written into a unit: {error}", "rename it")


def _sources(vassal: Vassal, config: Config, rule: RuleResult) -> tuple[str, ...]:
    """Return the files the vassal is made from or depends on, and what links lead to, each once."""
    # A ``$NAME`` is no file.
    options = dict.fromkeys(option.path for option in config.options if not option.path.startswith("$"))
    files = [vassal.config.path, *(os.path.join(vassal.directory, one) for one in options), *config.asked]
    steps = (step for file in dict.fromkeys(files) for step in (file, *link_targets(file)))
    return tuple(dict.fromkeys([*steps, *rule.sources]))


def _backlog(config: Config) -> int | None:
    option = config.last("listen")
    return int(option.value) if option and _BACKLOG.fullmatch(option.value) else None
