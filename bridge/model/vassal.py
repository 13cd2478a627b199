"""The vassals as data: what a monitor reports, and what rules and configs make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.diagnostics import Diagnostic
    from bridge.model.unit import InstalledVassal


from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.model.address import Address

CONFIG_OPTIONS = {
    ".ini": "--ini",
    ".xml": "--xml",
    ".yml": "--yaml",
    ".yaml": "--yaml",
    ".js": "--json",
    ".json": "--json",
}
"""How the Emperor hands a config to uWSGI, by the file's extension (core/emperor.c, ``vassal_new_argv``)."""


def option_for(name: str, extra_extensions: Iterable[str]) -> str | None:
    """Return the option by which uWSGI is given a config of this name; None: it is none.

    core/emperor.c, ``uwsgi_emperor_is_valid`` and ``uwsgi_emperor_spawn_vassal``.
    """
    if any(name.endswith(extension) for extension in extra_extensions):
        return "--config"
    return next((option for extension, option in CONFIG_OPTIONS.items() if name.endswith(extension)), None)


def stem_of(path: str) -> str:
    """Return a config's file name up to its last dot."""
    name = path.rpartition("/")[2]
    stem, dot, _ = name.rpartition(".")
    return stem if dot else name


class Mode(StrEnum):
    """How a vassal lives: waiting for a connection, or running from the start."""

    ON_DEMAND = "on-demand"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a config is, by number; in tyrant mode the vassal runs as that user and in that group."""

    uid: int = 0
    gid: int = 0


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
    owner: Owner = Owner()

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
        return stem_of(self.config)

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
class SpawnSpec:
    """How a vassal's process is started (systemd.exec(5))."""

    argv: tuple[str, ...]
    """The command; the first word is an absolute path."""
    environment: tuple[str, ...] = ()
    """``NAME=VALUE``, beside what systemd sets."""
    user: str = ""
    """A name or a number; empty: root."""
    group: str = ""
    drops_groups: bool = False
    """Whether the user's supplementary groups are not for the vassal."""
    capabilities: tuple[str, ...] = ()
    """Those it may have at most, if any are named."""
    start_hook: tuple[str, ...] = ()
    stop_hook: tuple[str, ...] = ()
    tenant: int | None = None
    """In tyrant mode the uid of the owner, in whose slice it runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolvedVassal:
    """A vassal with everything decided that its units are rendered from."""

    vassal: Vassal
    address: Address | None
    """Where it waits for its first connection; None: it runs always."""
    canonical_address: Address | None
    """The address with symlinked folders resolved: what collides with it."""
    access: SocketAccess
    spawn: SpawnSpec
    backlog: int | None = None
    """How many connections may wait for it, if its config says (``listen``)."""
    sources: tuple[str, ...] = ()
    """The files its options came from, and those its conditions asked about."""

    @property
    def mode(self) -> Mode:
        """How the vassal lives."""
        return Mode.ALWAYS if self.address is None else Mode.ON_DEMAND


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectedVassal:
    """A vassal that is there but cannot be served as it is now."""

    vassal: Vassal
    mode: Mode
    address: Address | None = None
    """The address its rule gives, if that much is known."""


def names_of(vassal: Vassal | InstalledVassal) -> set[str]:
    """Return the names a vassal answers to on the command line: its name, config, stem and units."""
    stem = vassal.config.rpartition("/")[2].rpartition(".")[0]
    return {vassal.name, vassal.config, stem, vassal.service, vassal.socket}
