"""The paths the bridge uses: unit directories, state files, configuration and templates."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.model.digest import blake2b

RUN_NOTE_PREFIX = "run-"
"""What the names of the run notes begin with that belong to other configurations than the usual one."""

_SYSTEM_UNIT_PATH = (
    "/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient",
    "/run/systemd/generator.early", "/etc/systemd/system", "/etc/systemd/system.attached", "/run/systemd/system",
    "/run/systemd/system.attached", "/run/systemd/generator", "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/generator.late",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Paths:
    """The paths of one run of the bridge."""

    user_manager: bool
    unit_directory: str
    """Where the bridge's units are written."""
    unit_path: tuple[str, ...]
    """All directories the manager loads units from (systemd.unit(5), "UNIT FILE LOAD PATH")."""
    runtime_units: str
    """Where units live that need not outlast a reboot, such as the targets that start many units as one job."""
    lock: str
    """The file that every run locks while it changes anything."""
    run_note: str
    """What an interrupted run was about to do, and when the last run began."""
    last_run: str
    """What one run leaves for the next."""
    cache: str
    """The cache of what the last run found of each vassal."""
    compiled: str
    """The compiled templates."""
    config: str
    """The usual bridge.toml."""
    pauses: str
    """The folder in which services note how long they pause, or that they want no other start."""
    mirrors: str
    """The folder of what databases and brokers said last, which outlasts a reboot."""
    take_over: str
    """What a take-over from an Emperor has begun or done; it outlasts a reboot."""
    templates: tuple[str, ...]
    """Folders of templates. The first that has a file wins."""
    configuration: str = ""
    """The bridge.toml in force. Empty: the usual one. Each owns only the units that it made."""

    def for_configuration(self, path: str) -> Paths:
        """Return the paths of a run under another bridge.toml than the usual one, one that links to it, or none.

        Both work on the same units under the same lock, and each has state files of its own.
        """
        path = os.path.abspath(path)
        if path in {self.config, os.devnull} or os.path.realpath(path) == os.path.realpath(self.config):
            return self
        digest = blake2b(path.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
        return replace(
            self,
            run_note=f"{os.path.dirname(self.lock)}/{RUN_NOTE_PREFIX}{digest}",
            last_run=f"{self.last_run}-{digest}",
            cache=f"{self.cache}-{digest}",
            mirrors=f"{self.mirrors}-{digest}",
            take_over=f"{self.take_over}-{digest}",
            configuration=path,
        )


def make_paths(*, user: bool, runtime: bool) -> Paths:
    """Return the paths for the system's service manager, or for the caller's own.

    Raises:
        BridgeError: ``user`` without a session to work in (``$XDG_RUNTIME_DIR``).
    """
    if user:
        return _user_paths(runtime=runtime)
    own = "/run/systemd/system" if runtime else "/etc/systemd/system"
    return Paths(
        user_manager=False,
        unit_directory=own,
        unit_path=_SYSTEM_UNIT_PATH,
        runtime_units="/run/systemd/system",
        lock="/run/emperor-bridge/lock",
        run_note="/run/emperor-bridge/lock",
        last_run="/run/emperor-bridge/last-run",
        cache="/run/emperor-bridge/roll",
        compiled="/run/emperor-bridge/templates",
        pauses="/run/emperor-bridge/pauses",
        mirrors="/var/lib/emperor-bridge/monitors",
        take_over="/var/lib/emperor-bridge/take-over",
        config="/etc/emperor-bridge/bridge.toml",
        templates=("/etc/emperor-bridge/templates", _shipped_templates()),
    )


def _user_paths(*, runtime: bool) -> Paths:
    run = os.environ.get("XDG_RUNTIME_DIR")
    if not run:
        raise BridgeError(
            Diagnostic(
                code="no-user-manager",
                message="--user needs a login session of yours: XDG_RUNTIME_DIR is not set",
                hint="log in, or let root run: loginctl enable-linger USER",
            )
        )
    config_home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    data_home = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    state_home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    persistent, volatile = f"{config_home}/systemd/user", f"{run}/systemd/user"
    return Paths(
        user_manager=True,
        unit_directory=volatile if runtime else persistent,
        unit_path=(
            f"{config_home}/systemd/user.control", f"{run}/systemd/user.control", f"{run}/systemd/transient",
            f"{run}/systemd/generator.early", persistent, "/etc/systemd/user", volatile, "/run/systemd/user",
            f"{run}/systemd/generator", f"{data_home}/systemd/user", "/usr/local/lib/systemd/user",
            "/usr/lib/systemd/user", f"{run}/systemd/generator.late",
        ),
        runtime_units=volatile,
        lock=f"{run}/emperor-bridge/lock",
        run_note=f"{run}/emperor-bridge/lock",
        last_run=f"{run}/emperor-bridge/last-run",
        cache=f"{run}/emperor-bridge/roll",
        compiled=f"{run}/emperor-bridge/templates",
        pauses=f"{run}/emperor-bridge/pauses",
        mirrors=f"{state_home}/emperor-bridge/monitors",
        take_over=f"{state_home}/emperor-bridge/take-over",
        config=f"{config_home}/emperor-bridge/bridge.toml",
        templates=(f"{config_home}/emperor-bridge/templates", _shipped_templates()),
    )  # fmt: skip


def _shipped_templates() -> str:
    """Return the folder of the bridge's own templates: in the package, or beside it in a checkout."""
    package = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    inside = f"{package}/templates"
    return inside if os.path.isdir(inside) else f"{os.path.dirname(package)}/templates"
