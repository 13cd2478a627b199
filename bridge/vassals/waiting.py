"""Decides on what a vassal waits for its first connection: on its rule's address, on its own sockets, or on nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.config.settings import OwnSocketsMode
from bridge.diagnostics import Diagnostic, printable
from bridge.model.address import InetAddress, overlaps
from bridge.model.vassal import Way
from bridge.uwsgi.jobs import find_what_must_run
from bridge.uwsgi.options import written
from bridge.uwsgi.socket_options import REQUESTS, SHARED, SSL, sockets
from bridge.vassals.own_sockets import find_binder, own_sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.model.address import Address
    from bridge.model.vassal import Vassal
    from bridge.uwsgi.options import Config, Option
    from bridge.vassals.on_demand import RuleResult
    from bridge.vassals.own_sockets import OwnSockets
    from bridge.vassals.tenant import Refusal, TenantBoundary

_EMPEROR = "UWSGI_EMPEROR"
"""How the variables begin by which a vassal of an Emperor knows that it is one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """Where a vassal waits, and why not elsewhere."""

    way: Way = Way.ALWAYS
    addresses: tuple[Address, ...] = ()
    reason: str = ""
    """Why it runs always, though the settings have vassals wait on their own sockets."""
    problems: tuple[Diagnostic, ...] = ()
    """Why the vassal is refused."""


@dataclass(frozen=True, slots=True)
class WaitingRules:
    """What is the same for all vassals of one run."""

    canonical_address: Callable[[Address], Address]
    """Resolves the symlinked folders of an address."""
    boundary: TenantBoundary | None = None
    """What tenants may decide. None: there are no tenants."""
    mode: OwnSocketsMode = OwnSocketsMode.NONE

    def decide(self, config: Config, vassal: Vassal, rule: RuleResult) -> Waiting:
        """Decide where a vassal waits. The rule comes first; the sockets of the config count where it gives none."""
        if rule.address is not None:
            return self._by_rule(config, vassal, rule, rule.address)
        if self.mode is OwnSocketsMode.NONE or (vassal.row is not None and vassal.row.address == ""):
            return Waiting()
        own = own_sockets(config, self.canonical_address)
        reason = self._why_always(config, vassal, own)
        return Waiting(reason=reason) if reason else Waiting(way=Way.OWN, addresses=own.addresses)

    def without_effect(self, lost: Option, vassal: Vassal, rule: RuleResult) -> Waiting:
        """Decide again for a vassal that would lose the effect of an option if its sockets were handed over."""
        reason = f"{written(lost)} has no effect in a uWSGI that gets its sockets so"
        if rule.address is None:
            return Waiting(reason=reason)
        problem = vassal.problem(
            "socket-is-rules",
            f"its config binds {rule.address}, where it is to wait, and systemd cannot hand it over: {reason}",
            f"remove {lost.key}; or remove the socket from the config: uWSGI gets it as file descriptor 0",
            at=(lost.path, lost.line),
        )
        return Waiting(way=Way.FD_0, addresses=rule.addresses, problems=(problem,))

    def _by_rule(self, config: Config, vassal: Vassal, rule: RuleResult, address: Address) -> Waiting:
        addresses: tuple[Address, ...] = (address,)
        problems: list[Diagnostic] = []
        binder = find_binder(config, vassal, address, self.canonical_address)
        if isinstance(binder, Diagnostic):
            problems.append(binder)
        elif binder is not None:
            own = own_sockets(config, self.canonical_address)
            addresses = own.addresses
            if (obstacle := _why_not(own, binder, address, self.canonical_address)) is not None:
                problems.append(_conflict(vassal, binder, address, obstacle))
        way = Way.OWN if binder is not None else Way.BOTH if _binds(config) else Way.FD_0
        every = dict.fromkeys((address, *addresses))
        refusals = (self._refusal(vassal, one, is_admins=rule.is_admins and one == address) for one in every)
        problems = [vassal.problem("socket-folder", *refusal) for refusal in refusals if refusal] + problems
        return Waiting(way=way, addresses=addresses if not problems else (address,), problems=tuple(problems))

    def _why_always(self, config: Config, vassal: Vassal, own: OwnSockets) -> str:
        """Return why a vassal without a rule runs always; empty if it can wait on its own sockets."""
        if self.mode is OwnSocketsMode.IDLE and not (config.flag("die-on-idle") and config.last("idle")):
            return "its config has no die-on-idle"
        if job := find_what_must_run(config):
            return f"{written(job)} must run always"
        if own.obstacle:
            return f"{written(own.obstacle.option)} {own.obstacle.message}"
        if not own.addresses:
            return "it has no sockets for requests"
        refusals = (self._refusal(vassal, address) for address in own.addresses)
        return next((refusal.message for refusal in refusals if refusal), "")

    def _refusal(self, vassal: Vassal, address: Address, *, is_admins: bool = False) -> Refusal | None:
        if self.boundary is None:
            return None
        return self.boundary.judge_address(address, vassal.config.owner, is_admins=is_admins)


def _binds(config: Config) -> bool:
    return any(option.key in REQUESTS | SSL | SHARED for option in sockets(config))


def _why_not(
    own: OwnSockets, binder: Option, address: Address, canonical_address: Callable[[Address], Address]
) -> tuple[str, str] | None:
    """Return why the sockets of a config that binds the rule's address cannot be handed over, and what to do."""
    if own.obstacle is not None:
        option, message, hint = own.obstacle
        return f"{written(option)} {message}", hint
    wanted = canonical_address(address)
    held = [one for one in own.addresses if overlaps(canonical_address(one), wanted)]
    if not held:
        return f"{binder.key} is not a socket that can be handed over", "give the rule another address"
    if not any(_covers(one, wanted) for one in held):
        return f"it is only a part of {address}", f"give the rule {held[0]}"
    return None


def _covers(own: Address, wanted: Address) -> bool:
    """Tell whether who comes to an address reaches a socket that overlaps with it."""
    if not (isinstance(own, InetAddress) and isinstance(wanted, InetAddress)):
        return True
    return own.ip == wanted.ip or (own.ip.is_unspecified and own.ip.version >= wanted.ip.version)


def _conflict(vassal: Vassal, binder: Option, address: Address, obstacle: Sequence[str]) -> Diagnostic:
    line, reason = "this line", ""
    if condition := binder.condition:
        where = f"{written(condition)} in line {condition.line} of {printable(condition.path)}"
        reason = f" ({where} holds here)"
        if _EMPEROR in condition.value:
            line = "this line and the condition, as there is no Emperor"
    why, hint = obstacle
    return vassal.problem(
        "socket-is-rules",
        f"{written(binder)} is the address the vassal is to wait on, {address}, and systemd cannot hand it over: "
        f"{why}{reason}",
        f"{hint}; or remove {line}: uWSGI gets the socket as file descriptor 0 (set protocol for another protocol)",
        at=(binder.path, binder.line),
    )
