"""The three on-demand rules: which address, if any, a vassal waits on.

The Emperor uses one rule only (core/emperor.c, ``emperor_check_on_demand_socket``). No address means that the vassal
runs always.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from bridge.config.settings import RuleKind
from bridge.diagnostics import BridgeError, Diagnostic, Severity, printable
from bridge.host.files import FileError, ForeignFileError
from bridge.host.links import link_targets
from bridge.host.second_process import SecondProcess
from bridge.host.users import find_login, user_name
from bridge.model.address import AddressError, parse_address
from bridge.model.unit_names import EscapeError
from bridge.units.quoting import value
from bridge.vassals.address_hints import MistakeFinder
from bridge.vassals.guard import Guard
from bridge.vassals.patience import Patience
from bridge.vassals.tenant import read_rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.config.settings import Settings
    from bridge.model.address import Address
    from bridge.model.vassal import Vassal, VassalRow

RULE_FILE_MAX = 4096
"""Bytes of a rule file that are read; an address has at most 108."""
EXEC_TIMEOUT = 10.0
"""Seconds one run of the command may take."""
EXEC_OUTPUT_MAX = 4096
"""Bytes the command may print."""
_MANY = 500
"""Vassals whose rule files take longer to read than a child process takes to start."""
_SHOWN = 120
"""Characters of an address that a message shows."""
_PATIENCE = Patience()
"""With the commands for tenants' vassals. Whoever made them slow is remembered from run to run."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleResult:
    """What the rule says of one vassal."""

    address: Address | None = None
    sources: tuple[str, ...] = ()
    """The files it was read from, whether they are there or not, and those that a symlink leads to."""
    diagnostics: tuple[Diagnostic, ...] = ()
    is_admins: bool = False
    """Whether the admin's own setting names the socket's folder."""

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The address, if there is one."""
        return (self.address,) if self.address else ()

    @property
    def is_invalid(self) -> bool:
        """Whether the rule gave something nobody can listen on, so that the vassal's mode is not known."""
        return any(d.severity is Severity.ERROR for d in self.diagnostics)


def rule_in_force(settings: Settings) -> Callable[[Vassal], RuleResult]:
    """Return the one rule that is in force.

    Raises:
        BridgeError: the command of the exec rule cannot be split into words.
    """
    rule = settings.on_demand_rule
    if rule.kind is RuleKind.EXTENSION:
        return partial(_by_extension, rule.value, settings.emperor_tyrant)
    if rule.kind is RuleKind.DIRECTORY:
        return partial(_by_directory, rule.value)
    if rule.kind is RuleKind.EXEC:
        from bridge.vassals.shell_syntax import shell_hint

        patience = _PATIENCE if settings.emperor_tyrant else None
        return partial(_by_exec, _split(rule.value), shell_hint(rule.value), patience)
    return _no_rule


def apply_on_demand_rule(settings: Settings, vassals: Iterable[Vassal]) -> list[RuleResult]:
    """Ask the rule in force about every vassal; the answers are in the order of the vassals.

    Commands run several at once. Of thousands of rule files, a child process reads half. Raises as
    :func:`rule_in_force`.
    """
    in_force = rule_in_force(settings)

    def rule(vassal: Vassal) -> RuleResult:
        guard = Guard()
        with guard.of(vassal):
            return _of_row(vassal, vassal.row, in_force) if vassal.row else in_force(vassal)
        return RuleResult(diagnostics=tuple(guard.problems.values()))

    if settings.on_demand_rule.kind is not RuleKind.EXEC:
        vassals = list(vassals)
        others = len(vassals) // 2 if settings.on_demand_rule.extension and len(vassals) >= _MANY else 0
        with closing(SecondProcess(lambda: list(map(rule, vassals[:others])), is_worth_it=others > 0)) as process:
            later = list(map(rule, vassals[others:]))
            return [*process.result(), *later]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=2 * (os.cpu_count() or 1)) as pool:
        return list(pool.map(rule, vassals))


def rule_file(settings: Settings, config: str) -> str | None:
    """Return the path of a config's rule file, under the extension rule; None under any other."""
    extension = settings.on_demand_rule.extension
    return config + extension if extension else None


def _of_row(vassal: Vassal, row: VassalRow, in_force: Callable[[Vassal], RuleResult]) -> RuleResult:
    """Return what a row says of its vassal. The rule in force is asked only if the row leaves it to that."""
    if row.address is None:
        result = in_force(vassal)
    elif row.address:
        result = _address_of(row.address, vassal, vassal.config.path, _finder(vassal, vassal.config.path))
    else:
        result = RuleResult()
    return replace(result, sources=(row.note, *result.sources))


def _no_rule(_vassal: Vassal) -> RuleResult:
    return RuleResult()


def _by_extension(extension: str, is_tyrant: bool, vassal: Vassal) -> RuleResult:
    path = vassal.config.path + extension
    try:
        raw = read_rule(path, vassal.config.owner if is_tyrant else None, max_bytes=RULE_FILE_MAX)
        result = _result(raw, vassal, path)
    except FileNotFoundError:
        result = RuleResult()
    except ForeignFileError as error:
        result = RuleResult(diagnostics=(_foreign_rule(vassal, path, f"uid {error.owner}"),))
    except FileError as error:
        result = _reject(vassal, f"the rule file cannot be read: {error}", "mend or remove it", (path, None))
    return replace(result, sources=(path, *link_targets(path)))


def _foreign_rule(vassal: Vassal, path: str, whose: str) -> Diagnostic:
    return vassal.problem(
        "rule-owner",
        f"the rule file does not count, for {whose} made it or a symlink on the way to it: the vassal runs always",
        f"chown {vassal.config.owner.uid} {printable(path)}, or chown it to root",
        at=(path, None),
        severity=Severity.WARNING,
    )


def _by_directory(directory: str, vassal: Vassal) -> RuleResult:
    if mistake := _finder(vassal, "").find(directory):
        hint = f"write emperor-on-demand-directory = {printable(mistake.meant)}" if mistake.meant else "write a path"
        return _reject(vassal, f"emperor-on-demand-directory {printable(directory)!r} {mistake.message}", hint)
    result = _address_of(f"{directory.rstrip('/')}/{vassal.stem}.socket", vassal, vassal.config.path)
    return replace(result, is_admins=True)


def _by_exec(command: tuple[str, ...], hint: str, patience: Patience | None, vassal: Vassal) -> RuleResult:
    import shlex

    from bridge.host.process import CommandError, output_of

    limit = EXEC_TIMEOUT if patience is None else min(EXEC_TIMEOUT, patience.limit(vassal.config.owner.uid))
    if not limit:
        return _reject(
            vassal,
            "the on-demand command took too long for vassals of this owner, so it is not run for this one now",
            "see why it waits; it is run again some minutes later",
        )
    began = time.monotonic()
    try:
        raw = output_of((*command, vassal.config.path), timeout=limit, max_bytes=EXEC_OUTPUT_MAX, cwd=vassal.directory)
    except CommandError as error:
        return _reject(
            vassal,
            f"the on-demand command {shlex.join(command)} {error}",
            hint or "run it by hand with the config as its argument",
        )
    finally:
        if patience is not None:
            patience.charge(vassal.config.owner.uid, time.monotonic() - began)
    result = _result(raw, vassal, vassal.config.path)
    if hint and result.is_invalid:
        return replace(result, diagnostics=tuple(replace(one, hint=hint) for one in result.diagnostics))
    return result


def _result(raw: bytes, vassal: Vassal, source: str) -> RuleResult:
    """Read the address out of what a file or a command holds: its first line.

    The Emperor ends it at the first control character, whatever that is; here only a line's end may end it.
    """
    head, newline, tail = raw.partition(b"\n")
    try:
        text = head.removesuffix(b"\r").decode().strip(" ")
    except UnicodeDecodeError:
        return _reject(
            vassal, "the socket address is not valid UTF-8", "write a plain address on one line", (source, 1)
        )
    if _CONTROL.search(text):
        return _reject(
            vassal,
            f"the socket address has a control character: {text[:40]!r}",
            "write a plain address on one line",
            (source, 1),
        )
    result = _address_of(text, vassal, source, _finder(vassal, source)) if text else RuleResult()
    if newline and tail.strip() and not result.is_invalid:
        more = vassal.problem(
            "rule-more-lines",
            "only the first line is the address; the rest is not used",
            "remove the other lines",
            at=(source, 2),
            severity=Severity.WARNING,
        )
        return RuleResult(address=result.address, diagnostics=(more,))
    return result


def _address_of(text: str, vassal: Vassal, source: str, finder: MistakeFinder | None = None) -> RuleResult:
    line = None if source == vassal.config.path else 1
    if finder and (mistake := finder.find(text)):
        hint = f"write {printable(mistake.meant)}" if mistake.meant else "write the address alone, as in /run/app.sock"
        return _reject(vassal, f"{printable(text[:_SHOWN])!r} {mistake.message}", hint, (source, line))
    try:
        address = parse_address(text, base=vassal.directory)
        value(str(address))
    except AddressError as error:
        return _reject(vassal, str(error), error.hint, (source, line))
    except EscapeError as error:
        return _reject(vassal, f"the socket address cannot be used: {error}", "choose another name", (source, line))
    return RuleResult(address=address)


def _finder(vassal: Vassal, source: str) -> MistakeFinder:
    return MistakeFinder(user_name(vassal.config.owner.uid), _home, is_printed=source == vassal.config.path)


def _home(user: str) -> str | None:
    login = find_login(user)
    return login.home if login else None


def _reject(vassal: Vassal, message: str, hint: str, at: tuple[str | None, int | None] = (None, None)) -> RuleResult:
    return RuleResult(diagnostics=(vassal.problem("rule-invalid", message, hint, at=at),))


def _split(command: str) -> tuple[str, ...]:
    import shlex

    try:
        words = shlex.split(command)
    except ValueError as error:
        words, reason = [], f"cannot be split into words: {error}"
    else:
        reason = "is empty"
    if not words:
        raise BridgeError(
            Diagnostic(
                code="settings",
                message=f"emperor-on-demand-exec {command!r} {reason}",
                hint="write a program and its arguments; no shell is involved",
            )
        )
    return tuple(words)
