"""Resolve a vassal: read its config and decide everything its units need, or reject it."""

from __future__ import annotations

import os
import re
from functools import partial
from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic, Severity, printable
from bridge.host.links import link_targets
from bridge.model.unit_names import EscapeError
from bridge.model.vassal import ResolvedVassal, SpawnSpec
from bridge.records import dataclass
from bridge.units.quoting import argument, value, word
from bridge.uwsgi.options import ConfigError
from bridge.uwsgi.reader import ProcessView, read
from bridge.vassals.daemonize import find_daemonize, find_first_start, in_service
from bridge.vassals.own_socket import find_own_socket
from bridge.vassals.socket_access import find_access
from bridge.vassals.spawn import spawn_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.model.address import Address
    from bridge.model.vassal import SocketAccess, Vassal
    from bridge.uwsgi.options import Config
    from bridge.vassals.environment import Environments
    from bridge.vassals.on_demand import RuleResult
    from bridge.vassals.spawn import SpawnDefaults
    from bridge.vassals.tenant import TenantBoundary

_BACKLOG = re.compile(r"[1-9][0-9]{0,6}")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ResolveContext:
    """What is the same for all vassals of one run."""

    defaults: SpawnDefaults
    environments: Environments
    canonical_address: Callable[[Address], Address]
    """Resolves the symlinked folders of an address."""
    boundary: TenantBoundary | None = None
    """What tenants may decide. None: there are no tenants."""


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
    address = rule.address
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
        config, spawn, problem = _read(vassal, spawn, context)
    except ConfigError as error:
        problem = vassal.problem("config-unreadable", error.message, error.hint, at=(error.path, error.line))
        return Resolution(None, None, (*problems, problem))
    found = (problem, *_find_address_problems(config, vassal, rule, context), _find_unwritable(vassal, spawn))
    problems += filter(None, found)
    access, refused = find_access(config, vassal, spawn, address)
    problems += refused
    if address and not refused and (problem := _find_access_problem(config, vassal, access, context)):
        problems.append(problem)
    draft = ResolvedVassal(
        vassal=vassal,
        address=address,
        canonical_address=context.canonical_address(address) if address else None,
        access=access,
        spawn=spawn,
        backlog=_backlog(config),
        sources=_sources(vassal, config, rule),
    )
    remarks = (
        vassal.problem("config-empty", r.message, r.hint, at=(r.path, r.line), severity=Severity.WARNING)
        for r in config.remarks
    )
    return Resolution(config, draft, tuple(problems), tuple(remarks))


def _read(vassal: Vassal, spawn: SpawnSpec, context: ResolveContext) -> tuple[Config, SpawnSpec, Diagnostic | None]:
    """Read a vassal's config; return with it how the vassal is started so that ``daemonize`` leaves it in its unit.

    Raises:
        ConfigError: uWSGI would not start with it.
    """
    config = read_as_started(vassal, spawn, context)
    if not find_daemonize(config):
        return config, spawn, None
    spawn = in_service(spawn, config)
    again = read_as_started(vassal, spawn, context)
    return config, spawn, find_first_start(vassal, config, again, spawn)


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


def _find_address_problems(
    config: Config, vassal: Vassal, rule: RuleResult, context: ResolveContext
) -> Iterator[Diagnostic]:
    """Find why systemd must not, or cannot, listen on the rule's address for this vassal."""
    address = rule.address
    if address is None:
        return
    if context.boundary is not None:
        refusal = context.boundary.judge_address(address, vassal.config.owner, is_admins=rule.is_admins)
        if refusal:
            yield vassal.problem("socket-folder", *refusal)
    if problem := find_own_socket(config, vassal, address, context.canonical_address):
        yield problem


def _find_access_problem(
    config: Config, vassal: Vassal, access: SocketAccess, context: ResolveContext
) -> Diagnostic | None:
    """Find why a tenant may not give his socket to the user or group in his config."""
    option = config.last("chown-socket", "chown")
    if context.boundary is None or option is None:
        return None
    if refusal := context.boundary.judge_access(access, vassal.config.owner):
        message = f"{option.key} = {printable(option.value)} {refusal.message}"
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
