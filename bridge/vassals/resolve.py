"""Resolve a vassal: read its config and decide everything its units need, or reject it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic, Severity, printable
from bridge.host.links import link_targets
from bridge.model.unit_names import EscapeError
from bridge.model.vassal import ResolvedVassal
from bridge.units.quoting import argument, value, word
from bridge.uwsgi.options import ConfigError
from bridge.uwsgi.reader import ProcessView, read
from bridge.vassals.daemonize import find_daemonize, find_first_start, in_service
from bridge.vassals.own_socket import find_own_socket
from bridge.vassals.socket_access import find_access
from bridge.vassals.spawn import spawn_spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.model.address import Address
    from bridge.model.vassal import SocketAccess, SpawnSpec, Vassal
    from bridge.uwsgi.options import Config
    from bridge.vassals.environment import Environments
    from bridge.vassals.on_demand import RuleResult
    from bridge.vassals.spawn import SpawnDefaults
    from bridge.vassals.tenant import TenantBoundary

_BACKLOG = re.compile(r"[1-9][0-9]{0,6}")


@dataclass(frozen=True, slots=True)
class ResolveContext:
    """What is the same for all vassals of one run."""

    defaults: SpawnDefaults
    environments: Environments
    canonical_address: Callable[[Address], Address]
    """Resolves the symlinked folders of an address."""
    boundary: TenantBoundary | None = None
    """What tenants may decide. None: there are no tenants."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """A vassal that can be served, and its config as uWSGI will read it."""

    resolved: ResolvedVassal
    config: Config
    diagnostics: tuple[Diagnostic, ...] = ()
    """Warnings on the config."""


def resolve(vassal: Vassal, rule: RuleResult, context: ResolveContext) -> Resolution | Diagnostic:
    """Read a vassal's config and decide what its units are made from, or say why there can be none."""
    address = rule.address
    spawn = spawn_spec(vassal, context.defaults)
    if isinstance(spawn, Diagnostic):
        return spawn
    started = _read(vassal, spawn, context)
    if isinstance(started, Diagnostic):
        return started
    config, spawn = started
    problem = _find_address_problem(config, vassal, rule, context)
    if problem := problem or _find_unwritable(vassal, spawn):
        return problem
    access = find_access(config, vassal, spawn, address)
    if isinstance(access, Diagnostic):
        return access
    if address and (problem := _find_access_problem(config, vassal, access, context)):
        return problem
    resolved = ResolvedVassal(
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
    return Resolution(resolved, config, tuple(remarks))


def _read(vassal: Vassal, spawn: SpawnSpec, context: ResolveContext) -> tuple[Config, SpawnSpec] | Diagnostic:
    """Read a vassal's config; return with it how the vassal is started so that ``daemonize`` leaves it in its unit."""
    try:
        config = read_as_started(vassal, spawn, context)
        if not find_daemonize(config):
            return config, spawn
        spawn = in_service(spawn, config)
        again = read_as_started(vassal, spawn, context)
        return find_first_start(vassal, config, again, spawn) or (config, spawn)
    except ConfigError as error:
        return vassal.problem("config-unreadable", error.message, error.hint, at=(error.path, error.line))


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


def _find_address_problem(
    config: Config, vassal: Vassal, rule: RuleResult, context: ResolveContext
) -> Diagnostic | None:
    """Find why systemd must not, or cannot, listen on the rule's address for this vassal."""
    address = rule.address
    if address is None:
        return None
    if context.boundary is not None:
        refusal = context.boundary.judge_address(address, vassal.config.owner, is_admins=rule.is_admins)
        if refusal:
            return vassal.problem("socket-folder", *refusal)
    return find_own_socket(config, vassal, address, context.canonical_address)


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
