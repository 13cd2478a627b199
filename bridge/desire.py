"""What the vassals, the rules and the configs ask for: the first half of the road, which only reads."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.address import InetAddress, overlaps, parse_uwsgi_socket
from bridge.admission import Desired
from bridge.diagnostics import BridgeError, Diagnostic, printable
from bridge.files import signature
from bridge.monitors import monitor_for
from bridge.rules import apply_rule
from bridge.uwsgi.options import ConfigError
from bridge.uwsgi.reading import read
from bridge.uwsgi.sockets import DATAGRAM, sockets
from bridge.vassal import CONFIG_OPTIONS, Mode, Refusal, Settled, SocketAccess

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from bridge.address import Address
    from bridge.monitors.base import Report
    from bridge.settings import Settings
    from bridge.uwsgi.options import Config, Option
    from bridge.vassal import Vassal

_BINARY = re.compile(r"/[A-Za-z0-9_/.,:=@+-]+")
_MODE = re.compile(r"[0-7]{3}")
_OWNER = re.compile(r"[A-Za-z0-9_.-]*(:[A-Za-z0-9_.-]+)?")


def desire(
    settings: Settings,
    *,
    settle: Callable[[Vassal, Address | None], Settled | Diagnostic],
    progress: Callable[[str, int, int], None],
    unfinished: Collection[str] = (),
) -> Desired:
    """Ask all monitors, apply the rule, and have every config read and settled.

    A vassal of which a file is ``unfinished``, because somebody is just writing it, stays as it is.

    Raises:
        BridgeError: the settings themselves cannot be used: an unknown monitor, a command that is none.
    """
    reports = [monitor_for(spec).report() for spec in settings.emperor]
    vassals = _distinct(reports)
    refusals: list[Refusal] = []
    diagnostics = [d for report in reports for d in report.diagnostics]
    settled: list[Settled] = []
    for number, (vassal, ruling) in enumerate(zip(vassals, apply_rule(settings, vassals), strict=True)):
        if number % 64 == 0:
            progress("reading vassals", number, len(vassals))
        if vassal.config in unfinished or vassal.config + settings.emperor_on_demand_extension in unfinished:
            refusals.append(Refusal(vassal=vassal, mode=Mode.ALWAYS))
            continue
        diagnostics += ruling.diagnostics
        if ruling.refused:
            refusals.append(Refusal(vassal=vassal, mode=Mode.ON_DEMAND))
            continue
        decided = settle(vassal, ruling.address)
        if isinstance(decided, Diagnostic):
            diagnostics.append(decided)
            mode = Mode.ON_DEMAND if ruling.address else Mode.ALWAYS
            refusals.append(Refusal(vassal=vassal, mode=mode, address=ruling.address))
        else:
            settled.append(decided)
    return Desired(
        settled=tuple(settled),
        refusals=tuple(refusals),
        unusable=frozenset(config for report in reports for config in report.refused),
        unreachable=frozenset(report.monitor for report in reports if not report.complete),
        diagnostics=tuple(diagnostics),
    )


def settle(
    vassal: Vassal, address: Address | None, *, binary: str, identity: Callable[[Address], Address]
) -> Settled | Diagnostic:
    """Read a vassal's config and decide what its units are made from, or say why there can be none."""
    try:
        # uWSGI will be started by systemd: without the Emperor's variables, with next to no environment.
        config = read(vassal.config, environ={}, cwd=vassal.directory)
    except ConfigError as error:
        return vassal.problem("config-unreadable", error.message, error.hint, path=error.path, line=error.line)
    if address and (conflict := find_own_socket(config, vassal, address, identity)):
        return conflict
    access = _access(config, vassal)
    if isinstance(access, Diagnostic):
        return access
    return Settled(
        vassal=vassal,
        address=address,
        identity=identity(address) if address else None,
        access=access,
        argv=(binary, CONFIG_OPTIONS[vassal.extension], vassal.name),
        sources=tuple({vassal.config: None} | {option.path: None for option in config.options}),
    )


class Settler:
    """Settles vassals, and remembers what it made of a config for as long as its files stay the same."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[object, Settled]] = {}

    def ready(
        self, binary: str, identity: Callable[[Address], Address]
    ) -> Callable[[Vassal, Address | None], Settled | Diagnostic]:
        """Return the function that settles one vassal in one run."""

        def one(vassal: Vassal, address: Address | None) -> Settled | Diagnostic:
            known, settled = self._known.get(vassal.config, (None, None))
            given = (vassal, address, identity(address) if address else None, binary)
            if settled is not None and known == (given, _signatures(settled.sources)):
                return settled
            # Taken before the files are read: a change in between is seen next time.
            before = _signatures(settled.sources if settled else (vassal.config,))
            fresh = settle(vassal, address, binary=binary, identity=identity)
            if isinstance(fresh, Settled) and before == _signatures(fresh.sources):
                self._known[vassal.config] = ((given, before), fresh)
            else:
                self._known.pop(vassal.config, None)
            return fresh

        return one


def _signatures(paths: Iterable[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in paths:
        with suppress(OSError):
            found[path] = signature(os.stat(path))
    return found


def find_own_socket(
    config: Config, vassal: Vassal, address: Address, identity: Callable[[Address], Address]
) -> Diagnostic | None:
    """Find the option, if any, by which the vassal would bind the address it is to be woken by.

    uWSGI would replace the socket that systemd holds: the vassal would be woken once and never again.
    """
    bases = [
        vassal.directory,
        *(os.path.join(vassal.directory, o.value) for o in config.all("chdir", "chdir2")),
    ]
    for option in sockets(config):
        for base in bases:
            own = parse_uwsgi_socket(option.value, base=base)
            if own is None or (option.key in DATAGRAM and isinstance(own, InetAddress)):
                continue
            if overlaps(identity(own), identity(address)):
                return vassal.problem(
                    "socket-is-rules",
                    f"{option.key} = {printable(option.value)} is the address the vassal is to wait on, {address}: "
                    "once it has run it could not be woken again",
                    "remove this line; uWSGI gets the socket as file descriptor 0 "
                    f"(for another protocol set protocol, not {option.key})",
                    path=option.path,
                    line=option.line,
                )
    return None


def find_binary(settings: Settings) -> str:
    """Return the uWSGI that runs the vassals.

    Raises:
        BridgeError: there is none, or its path cannot stand in a unit.
    """
    found = settings.binary_path or shutil.which("uwsgi") or ""
    if not found:
        raise BridgeError(
            Diagnostic(
                code="uwsgi-missing",
                message="uWSGI is not installed: no uwsgi in PATH",
                hint="install it (Debian: uwsgi-core), or set --binary-path",
            )
        )
    path = os.path.abspath(found)
    if not _BINARY.fullmatch(path) or not os.access(path, os.X_OK):
        raise BridgeError(
            Diagnostic(
                code="uwsgi-missing",
                path=path,
                message="this is not a program systemd can start",
                hint="set --binary-path to an executable with a plain path",
            )
        )
    return path


def _distinct(reports: list[Report]) -> list[Vassal]:
    """Return all vassals, one that two monitors report alike only once."""
    return list({(v.label, v.config): v for report in reports for v in report.vassals}.values())


def _access(config: Config, vassal: Vassal) -> SocketAccess | Diagnostic:
    """Read who may connect from ``chmod-socket`` and ``chown-socket`` (core/uwsgi.c)."""
    access = SocketAccess()

    def bad(option: Option, message: str, hint: str) -> Diagnostic:
        return vassal.problem("socket-access", f"{option.key} {message}", hint, path=option.path, line=option.line)

    if chmod := config.last("chmod-socket", "chmod"):
        # The bare option of a command line, an XML or a JSON config is a 1. Anything but three digits, uWSGI exits on.
        mode = "666" if chmod.value == "1" else chmod.value
        if not _MODE.fullmatch(mode):
            return bad(chmod, f"is no file mode: {printable(chmod.value)!r}", "write 660 or 666")
        access = SocketAccess(mode="0" + mode)
    if chown := config.last("chown-socket", "chown"):
        if not chown.value or not _OWNER.fullmatch(chown.value):
            return bad(chown, f"is no owner: {printable(chown.value)!r}", "write USER:GROUP")
        user, _, group = chown.value.partition(":")
        # systemd would find out only once the old socket is gone.
        if missing := _missing_owner(user, group):
            return bad(chown, f"names {missing}, which is not there", "make it, or name another")
        access = SocketAccess(mode=access.mode, user=user, group=group)
    return access


def _missing_owner(user: str, group: str) -> str:
    """Return what this machine does not know: ``user NAME``, ``group NAME``, or nothing. Numbers need no entry."""
    try:
        if user and not user.isdecimal():
            pwd.getpwnam(user)
    except KeyError:
        return f"user {user}"
    try:
        if group and not group.isdecimal():
            grp.getgrnam(group)
    except KeyError:
        return f"group {group}"
    return ""
