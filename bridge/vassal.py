"""The vassals as data: what a monitor reports, and what rules and configs make of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic, Severity

if TYPE_CHECKING:
    from bridge.address import Address

CONFIG_OPTIONS = {
    ".ini": "--ini",
    ".xml": "--xml",
    ".yml": "--yaml",
    ".yaml": "--yaml",
    ".js": "--json",
    ".json": "--json",
}
"""How the Emperor hands a config to uWSGI, by the file's extension (core/emperor.c, ``vassal_new_argv``)."""


class Mode(StrEnum):
    """How a vassal lives: waiting for a connection, or running from the start."""

    ON_DEMAND = "on-demand"
    ALWAYS = "always"


@dataclass(frozen=True, kw_only=True, slots=True)
class Vassal:
    """One app's config as a monitor found it."""

    name: str
    """What the Emperor calls it and uWSGI is told: the file's name for dir, its whole path for glob."""
    config: str
    """The absolute path of the config file."""
    monitor: str
    """The monitor that reports it, with its scheme: ``dir:///etc/uwsgi/vassals``."""
    directory: str
    """Where uWSGI is started, and where relative paths of the vassal begin."""
    label: str
    """The systemd-escaped NAME in ``vassal-NAME.service``."""

    @property
    def service(self) -> str:
        """The name of its service unit."""
        return f"vassal-{self.label}.service"

    @property
    def socket(self) -> str:
        """The name of its socket unit."""
        return f"vassal-{self.label}.socket"

    @property
    def stem(self) -> str:
        """The config's file name up to its last dot."""
        return PurePath(self.config).name.rpartition(".")[0]

    @property
    def extension(self) -> str:
        """The config's extension, with its dot."""
        return "." + self.config.rpartition(".")[2]

    def problem(
        self,
        code: str,
        message: str,
        hint: str,
        *,
        path: str | None = None,
        line: int | None = None,
        severity: Severity = Severity.ERROR,
    ) -> Diagnostic:
        """Return a diagnostic about this vassal; the place is its config unless ``path`` names another file."""
        return Diagnostic(
            code=code,
            vassal=self.name,
            config=self.config,
            path=path or self.config,
            line=line,
            message=message,
            hint=hint,
            severity=severity,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SocketAccess:
    """Who may connect to a unix socket, as ``chmod-socket`` and ``chown-socket`` say."""

    mode: str = "0660"
    user: str = ""
    group: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """A vassal with everything decided that its units are rendered from."""

    vassal: Vassal
    address: Address | None
    """Where it waits for its first connection; None: it runs always."""
    identity: Address | None
    """The address with symlinked folders resolved: what collides with it."""
    access: SocketAccess
    argv: tuple[str, ...]
    """The command that starts it; the first word is an absolute path."""
    sources: tuple[str, ...] = ()
    """The files its options came from."""

    @property
    def mode(self) -> Mode:
        """How the vassal lives."""
        return Mode.ALWAYS if self.address is None else Mode.ON_DEMAND


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A vassal that is there but cannot be served as it is now."""

    vassal: Vassal
    mode: Mode
    address: Address | None = None
    """The address its rule gives, if that much is known."""
