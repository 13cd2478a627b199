"""Warnings on options that uWSGI accepts but that do not what the admin wants. Pure.

Each warning says what happens and what to write instead; a correct config gets none.
"""

from __future__ import annotations

import functools
import os
import re
from dataclasses import replace
from difflib import get_close_matches
from itertools import product
from typing import TYPE_CHECKING, TypeAlias

from bridge.diagnostics import Diagnostic, Severity, printable
from bridge.model.address import UnixAddress, collision_key, listed, overlaps, parse_uwsgi_socket
from bridge.uwsgi.jobs import JOBS
from bridge.uwsgi.options import written
from bridge.uwsgi.socket_options import ALL, REQUESTS, ROUTERS, SSL, protocol_of, sockets
from bridge.vassals.reloaded import find_daemonize

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from bridge.check.nginx import ProxyPass
    from bridge.model.address import Address
    from bridge.model.vassal import ResolvedVassal, Vassal
    from bridge.uwsgi.options import Config, Option

Spellings: TypeAlias = "Callable[[str, str], Collection[str]]"
"""Returns the name and the number of a user (``uid``) or group (``gid``) that is given by either."""
_PIDFILES = ("pidfile", "pidfile2", "safe-pidfile", "safe-pidfile2")
_UNKNOWN_MAX = 100
"""Unknown options of one config that are compared with all known ones."""
_NUMBER = re.compile(r"[0-9]{1,6}")


def lint(resolved: ResolvedVassal, config: Config, spellings: Spellings) -> Iterator[Diagnostic]:
    """Yield the warnings on one vassal's config that need no other file."""
    yield from _idle(resolved.vassal, config)
    if resolved.addresses:
        yield from _other_sockets(resolved, config)
    yield from _user(resolved, config, spellings)
    yield from _daemonize(resolved, config)
    if config.flag("lazy") and (lazy := config.last("lazy")):
        # core/master_utils.c, ``grace_them_all``; under an Emperor, the first reload ends this mode.
        yield _warn(
            resolved.vassal,
            lazy,
            "lazy-reload",
            "with lazy, a reload starts only new workers: a changed config takes effect at the next start",
            "write lazy-apps = true: it also loads apps in the workers, and a reload reads the config",
        )


def find_misspelt(
    vassal: Vassal, config: Config, known: frozenset[str], text: Callable[[], str]
) -> Iterator[Diagnostic]:
    """Yield a warning for each option that uWSGI does not know and that resembles a known one.

    ``text`` returns the config's text: a name that it uses as a placeholder is no misspelt option.
    """
    unknown = [option for option in config.options if option.key not in known]
    if not unknown:
        return
    declared = {option.value.partition("=")[0] for option in config.all("declare-option", "declare-option2")}
    written = text()
    for option in unknown[:_UNKNOWN_MAX]:
        if option.key in declared or f"%({option.key}" in written:
            continue
        if close := _closest(option.key, known):
            yield _warn(
                vassal,
                option,
                "unknown-option",
                f"uWSGI has no option {printable(option.key)} and ignores it",
                f"did you mean {close}?",
            )


@functools.lru_cache(maxsize=4096)
def _closest(name: str, known: frozenset[str]) -> str:
    """Return the known name most similar to this one; slow, so cached for vassals that share a template."""
    longest = max(map(len, known), default=0) + 2
    return next(iter(get_close_matches(name, known, n=1, cutoff=0.85)), "") if len(name) <= longest else ""


def by_collision(
    passes: Iterable[ProxyPass], canonical_address: Callable[[Address], Address]
) -> dict[str, list[ProxyPass]]:
    """Group nginx's lines by the collision key of their addresses."""
    found: dict[str, list[ProxyPass]] = {}
    for one in passes:
        known = replace(one, address=canonical_address(one.address))
        found.setdefault(collision_key(known.address), []).append(known)
    return found


def find_other_protocol(
    resolved: ResolvedVassal, config: Config, passes: Mapping[str, list[ProxyPass]]
) -> Iterator[Diagnostic]:
    """Yield a warning for each line by which nginx speaks another protocol to the address than the app."""
    for address, canonical in zip(resolved.addresses, resolved.canonical_addresses, strict=True):
        rivals = [one for one in passes.get(collision_key(canonical), ()) if overlaps(one.address, canonical)]
        said, speaks = _spoken(resolved, config, address) if rivals else (None, "")
        for one in rivals:
            if one.protocol != speaks:
                yield resolved.vassal.problem(
                    "protocol-mismatch",
                    f"{printable(one.path)}:{one.line} speaks {one.protocol} to {address}, and the app {speaks}",
                    f"write protocol = {one.protocol}, or correct that line of nginx",
                    at=(said.path, said.line) if said else (None, None),
                    severity=Severity.WARNING,
                )


def _spoken(resolved: ResolvedVassal, config: Config, address: Address) -> tuple[Option | None, str]:
    """Return the option that says which protocol an app speaks at an address, and that protocol."""
    if resolved.is_handed_over:
        for option in sockets(config):
            if option.key in REQUESTS | SSL and parse_uwsgi_socket(option.value, base="/") == address:
                return option, protocol_of(option, config)
    default = config.last("protocol", "socket-protocol")
    return default, default.value if default else "uwsgi"


def find_pidfiles(configs: Iterable[tuple[ResolvedVassal, Config]]) -> dict[str, list[tuple[Vassal, Option]]]:
    """Return by pidfile the vassals that write it, and the options that say so."""
    writers: dict[str, list[tuple[Vassal, Option]]] = {}
    for resolved, config in configs:
        for option in () if resolved.is_handed_over else config.all(*_PIDFILES):
            # uWSGI changes its directory before it writes pidfile2 and safe-pidfile2 (core/uwsgi.c, ``uwsgi_start``).
            folder = config.last("chdir") if option.key.endswith("2") else None
            base = os.path.join(resolved.vassal.directory, folder.value if folder else "")
            path = os.path.normpath(os.path.join(base, option.value))
            writers.setdefault(path, []).append((resolved.vassal, option))
    return writers


def find_pidfile_clashes(writers: Mapping[str, Sequence[tuple[Vassal, Option]]]) -> Iterator[Diagnostic]:
    """Yield a warning for each vassal that writes the same pidfile as another."""
    for path, found in writers.items():
        names = sorted({vassal.name for vassal, _ in found})
        for vassal, option in found if len(names) > 1 else ():
            other = next(name for name in names if name != vassal.name)
            yield _warn(
                vassal,
                option,
                "pidfile-clash",
                f"{option.key} {printable(path)} is also written by vassal {printable(other)}",
                "remove it: systemctl show -P MainPID prints the process",
            )


def find_removed_folders(resolved: ResolvedVassal, runtime_directories: Mapping[str, str]) -> Iterator[Diagnostic]:
    """Yield a warning if the socket is in a folder that systemd removes with another unit.

    ``runtime_directories`` has by folder the unit whose ``RuntimeDirectory=`` creates it (systemd.exec(5)).
    """
    paths = [address.path for address in resolved.addresses if isinstance(address, UnixAddress)]
    for path, (folder, unit) in product(paths, runtime_directories.items()):
        if path.startswith(f"{folder}/"):
            yield resolved.vassal.problem(
                "runtime-directory",
                f"its socket {path} is in {folder}, which systemd removes when {unit} stops",
                f"use another folder, or set RuntimeDirectoryPreserve=yes in a drop-in of {unit}",
                severity=Severity.WARNING,
            )


def find_open_config(vassal: Vassal, modes: Mapping[str, int]) -> Iterator[Diagnostic]:
    """Yield a warning if other users than the tenant can change its config; ``modes`` has its file and its folder."""
    for path, mode in modes.items():
        if mode & 0o022 and not mode & 0o1000:
            yield vassal.problem(
                "writable-by-others",
                f"other users than its owner can write to {printable(path)}, and so run programs as the tenant",
                f"chmod go-w {printable(path)}",
                severity=Severity.WARNING,
            )


def _idle(vassal: Vassal, config: Config) -> Iterator[Diagnostic]:
    """Check ``idle`` and ``die-on-idle`` (core/master_checks.c, ``uwsgi_master_check_idle``)."""
    idle = config.last("idle")
    dies = config.last("die-on-idle") if config.flag("die-on-idle") else None
    option = dies or idle
    master = config.last("master", "M")
    if option and master and not master.trusted and not config.flag("master", "M"):
        yield _warn(
            vassal,
            option,
            "idle-no-master",
            f"{option.key} has no effect: line {master.line} of {printable(master.path)} turns the master off",
            "remove that line: the master checks whether the app is idle",
        )
    if dies and not idle:
        yield _warn(
            vassal, dies, "idle-not-set", "die-on-idle has no effect without idle", "write idle = SECONDS as well"
        )
    if not (dies and idle):
        return
    for job in config.all(*JOBS):
        yield _warn(
            vassal,
            job,
            "idle-jobs",
            f"{job.key} stops when the app ends idle (line {dies.line}), until the next connection",
            "remove die-on-idle, or run the job in a unit or vassal of its own",
        )
    threads = config.last("threads")
    if threads and _NUMBER.fullmatch(threads.value) and int(threads.value) > 1:
        yield _warn(
            vassal,
            threads,
            "idle-threads",
            f"with {threads.value} threads, a few requests that arrive while the idle app ends get an empty reply",
            "use processes instead of threads, or remove die-on-idle; under the Emperor it is the same",
        )


def _other_sockets(resolved: ResolvedVassal, config: Config) -> Iterator[Diagnostic]:
    vassal = resolved.vassal
    for option in sockets(config):
        is_held = resolved.is_handed_over and parse_uwsgi_socket(option.value, base="/") in resolved.addresses
        if is_held or option.key not in REQUESTS | ROUTERS | SSL:
            continue
        yield _warn(
            vassal,
            option,
            "socket-extra",
            f"{written(option)} listens only while the app runs, and does not start the app",
            f"have clients connect to {listed(resolved.addresses)}, or give this address a vassal of its own",
        )
    for option in config.unread:
        if option.key in ALL:
            yield _warn(
                vassal,
                option,
                "socket-hidden",
                f"only uWSGI can decide whether {written(option)} is in force; if it binds "
                f"{listed(resolved.addresses)}, connections start the app once and never again",
                "remove its condition, or remove it: uWSGI gets the socket as file descriptor 0",
            )


def _user(resolved: ResolvedVassal, config: Config, spellings: Spellings) -> Iterator[Diagnostic]:
    """Check ``uid`` and ``gid``: only a process of root's can change its user (setuid(2))."""
    spawn = resolved.spawn
    for key, own in (("uid", spawn.user), ("gid", spawn.group)):
        option = config.last(key)
        if option and spawn.user and own and option.value not in spellings(key, own):
            yield _warn(
                resolved.vassal,
                option,
                f"{key}-impossible",
                f"{key} = {printable(option.value)} is impossible: the service runs as {own}",
                f"remove {key}",
            )


def _daemonize(resolved: ResolvedVassal, config: Config) -> Iterator[Diagnostic]:
    vassal, option = resolved.vassal, find_daemonize(config)
    if option is not None:
        written = printable(option.value)
        yield _warn(
            vassal,
            option,
            "daemonize",
            f"{option.key} only makes uWSGI log to {written}, as under an Emperor: uWSGI stays in its service, "
            "and logs its first start as a reload",
            f"write logto = {written}, which does the same, or remove it to log to the journal",
        )
    for pidfile in config.all(*_PIDFILES):
        shown = f"{pidfile.key} {printable(pidfile.value)}"
        if resolved.is_handed_over:
            message = f"uWSGI does not write {shown}: it gets its sockets as after a reload"
            hint = "remove it: systemctl show -P MainPID prints the process"
            yield _warn(vassal, pidfile, "pidfile-unwritten", message, hint)
        elif option is not None:
            message = f"with {option.key}, uWSGI does not write {shown}"
            hint = f"write logto instead of {option.key}; systemctl show -P MainPID prints the process"
            yield _warn(vassal, pidfile, "daemonize", message, hint)


def _warn(vassal: Vassal, option: Option, code: str, message: str, hint: str) -> Diagnostic:
    return vassal.problem(code, message, hint, at=(option.path, option.line), severity=Severity.WARNING)
