"""Warns of databases and brokers: how they are asked, where their secrets are, and what their configs lose or gain."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic, Severity, printable
from bridge.host.files import read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from bridge.model.vassal import Vassal
    from bridge.monitors.base import Monitor
    from bridge.monitors.mirrored import FeederPlan

_OPEN = "zmq-open"
_FOR_OTHERS = stat.S_IRGRP | stat.S_IROTH
_MAGIC = re.compile(r"%(.)", re.DOTALL)
_OF_A_FILE = frozenset("dpnsecoijDPNSECOIJ")
"""Magic variables that describe the file of a config."""
_PEER_FREE = re.compile(r"(^|[\s&?])(host|hostaddr|service|user|password)\s*=|^postgres(ql)?://[^/?]")
"""What a connection has that does not depend on who asks."""


def check_monitors(
    monitors: Collection[Monitor], configuration: Sequence[str], *, user_manager: bool
) -> Iterator[Diagnostic]:
    """Yield the warnings about databases and brokers; ``configuration`` are the files that the specs come from."""
    if not any(monitor.mirror for monitor in monitors):
        return
    from bridge.monitors.mirrored import MirroredMonitor

    for monitor in monitors:
        if isinstance(monitor, MirroredMonitor):
            for problem in find_monitor_problems(monitor.plan, configuration, _mode):
                # A user's own manager runs the process as that user.
                if user_manager and problem.code == "monitor-user":
                    continue
                yield replace(problem, path=monitor.id, severity=Severity.WARNING)


def find_monitor_problems(
    plan: FeederPlan, configuration: Iterable[str], mode: Callable[[str], int]
) -> Iterator[Diagnostic]:
    """Yield what is worth a warning about one monitor; ``mode`` returns that of a file, 0 if there is none."""
    table = plan.table
    has_key = bool(table.password_file or table.credential)
    for warning in plan.spec.warnings:
        if not (has_key and warning.code == _OPEN):
            yield Diagnostic(code=warning.code, message=warning.message, hint=warning.hint)
        elif not table.curve_client_keys:
            yield Diagnostic(
                code=_OPEN,
                message="whoever knows its public key can run programs here",
                hint="write the public keys of its clients into a file, and name that as curve-client-keys",
            )
    open_files = [path for path in configuration if mode(path) & _FOR_OTHERS]
    if plan.spec.has_password and open_files:
        yield Diagnostic(
            code="password-open",
            message=f"its password may stand in {printable(open_files[0])}, which other users can read",
            hint="write it into a file of root's with mode 0600, and name that as password-file of a [[monitor]]",
        )
    if table.password_file and mode(table.password_file) & _FOR_OTHERS:
        yield Diagnostic(
            code="password-open",
            message=f"other users can read its {printable(table.password_file)}",
            hint=f"chmod 600 {printable(table.password_file)}",
        )
    if plan.spec.scheme == "pg" and not (has_key or plan.user or _PEER_FREE.search(plan.spec.options["conninfo"])):
        yield Diagnostic(
            code="monitor-user",
            message="it is asked as a user that systemd makes up, and the server's peer authentication knows no such",
            hint="set user = of a [[monitor]] to the system's user that has the role",
        )


def find_magic(vassal: Vassal) -> Iterator[Diagnostic]:
    """Yield a warning if the text of a row has a magic variable that describes the file of a config."""
    if vassal.row is None or vassal.row.is_path:
        return
    text = read_text(vassal.config.path)
    for found in _MAGIC.finditer(text):
        if found[1] in _OF_A_FILE:
            yield vassal.problem(
                "row-magic",
                f"%{found[1]} describes the config's file: an Emperor has none, and here it is one of the mirror",
                "write what it is to be",
                at=(vassal.config.path, text.count("\n", 0, found.start()) + 1),
                severity=Severity.WARNING,
            )
            return


def _mode(path: str) -> int:
    with suppress(OSError):
        return os.stat(path).st_mode
    return 0
