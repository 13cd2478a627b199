"""Vassals as data: what a monitor reports, and what the on-demand rule and the config add to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic, Severity
from bridge.model.unit_names import UnitNames

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.model.address import Address
    from bridge.model.unit import InstalledVassal

CONFIG_OPTIONS = {
    ".ini": "--ini",
    ".xml": "--xml",
    ".yml": "--yaml",
    ".yaml": "--yaml",
    ".js": "--json",
    ".json": "--json",
}
"""The option by which the Emperor gives uWSGI a config, by its extension (core/emperor.c, ``vassal_new_argv``)."""


def option_for(name: str, extra_extensions: Iterable[str]) -> str | None:
    """Return the option by which uWSGI is given a config of this name. None: the name is not a config's.

    core/emperor.c, ``uwsgi_emperor_is_valid`` and ``uwsgi_emperor_spawn_vassal``.
    """
    for extension in extra_extensions:
        if name.endswith(extension):
            return "--config"
    # Each of them has one dot, at its beginning.
    return CONFIG_OPTIONS.get(name[at:]) if (at := name.rfind(".")) >= 0 else None


def stem_of(path: str) -> str:
    """Return a config's file name up to its last dot."""
    name = path.rpartition("/")[2]
    stem, dot, _ = name.rpartition(".")
    return stem if dot else name


class Mode(StrEnum):
    """How a vassal is run: started by a connection, or running from the start."""

    ON_DEMAND = "on-demand"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a config, by number. In tyrant mode the vassal runs as this user and in this group."""

    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The file that uWSGI reads as a vassal's config."""

    path: str
    """Absolute."""
    owner: Owner = Owner()


@dataclass(frozen=True, slots=True)
class VassalRow:
    """Where a database or a broker has a vassal: the row, and no file beside the config, says what it is."""

    note: str
    """The file that keeps what the row says. When it changes, the vassal may have changed."""
    address: str | None = None
    """The text of the address that it waits on; empty if it runs always. None: the on-demand rule in force decides."""
    is_path: bool = False
    """Whether the row names a config that is a file of the admin's, and not of the mirror's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vassal(UnitNames):
    """One vassal as a monitor reports it."""

    name: str
    """What the Emperor calls it: the file's name for dir, its whole path for glob, the name in a row."""
    config: ConfigFile
    monitor: str
    """The id of the monitor that reports it. It holds no secret."""
    directory: str
    """The folder in which uWSGI is started, and where the vassal's relative paths begin."""
    label: str
    """The systemd-escaped LABEL in ``vassal-LABEL.service``."""
    origin: str = ""
    """Where people find the vassal. Empty: at its config's path."""
    row: VassalRow | None = None
    """The row that it comes from. None: it comes from a file."""

    @property
    def argument(self) -> str:
        """What uWSGI is given as its config: the name, which is a path from :attr:`directory`, or an absolute path."""
        return self.name if self.row is None else self.config.path

    @property
    def key(self) -> str:
        """What tells this vassal from all others."""
        return f"{self.monitor}:{self.name}"

    @property
    def stem(self) -> str:
        """The config's file name up to its last dot."""
        return stem_of(self.name)

    def problem(
        self,
        code: str,
        message: str,
        hint: str,
        *,
        at: tuple[str | None, int | None] = (None, None),
        severity: Severity = Severity.ERROR,
    ) -> Diagnostic:
        """Return a diagnostic about this vassal. ``at`` is the file and line, if that is not the config itself."""
        path, line = at
        if path == self.config.path and self.origin:
            # An admin finds a row by its database; its config here is only a copy.
            path = None
        return Diagnostic(
            code=code,
            vassal=self.name,
            key=self.key,
            config=self.config.path,
            owner=self.config.owner.uid,
            path=path or self.origin or self.config.path,
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


class Way(StrEnum):
    """How a vassal gets its sockets."""

    ALWAYS = "always"
    """It runs always, and binds what it has itself."""
    FD_0 = "fd 0"
    """systemd gives it the socket of its rule."""
    OWN = "own"
    """systemd holds the sockets that its config names, and hands them over."""
    BOTH = "both"
    """systemd gives it the socket of its rule. While it runs, it binds those of its config too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SocketOptions:
    """What uWSGI sets on the sockets that it binds, and systemd instead of it (systemd.socket(5))."""

    keep_alive: bool = False
    reuse_port: bool = False
    send_buffer: int = 0
    """In bytes; 0: the kernel's default."""
    receive_buffer: int = 0
    defer_accept: int = 0
    """Seconds for which the kernel keeps a connection without data to itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpawnSpec:
    """How a vassal's process is started (systemd.exec(5))."""

    argv: tuple[str, ...]
    """The command; the first word is an absolute path."""
    environment: tuple[str, ...] = ()
    """``NAME=VALUE``, beside what systemd sets."""
    user: str = ""
    """A name or a number. Empty: root."""
    group: str = ""
    drops_groups: bool = False
    """Whether the vassal runs without the user's supplementary groups."""
    capabilities: tuple[str, ...] = ()
    """Its capability bounding set, if any capability is named."""
    start_hook: tuple[str, ...] = ()
    stop_hook: tuple[str, ...] = ()
    tenant: int | None = None
    """In tyrant mode the uid of the owner, whose slice it runs in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolvedVassal:
    """A vassal with everything decided that its units are rendered from."""

    vassal: Vassal
    addresses: tuple[Address, ...]
    """Where it waits for its first connection. Empty: it runs always."""
    canonical_addresses: tuple[Address, ...]
    """The same with symlinked folders resolved: two vassals collide in one of these."""
    access: SocketAccess
    spawn: SpawnSpec
    way: Way = Way.FD_0
    """How it gets its sockets, if it waits."""
    why_always: str = ""
    """Why it runs always, where the settings have vassals wait on their own sockets."""
    options: SocketOptions = SocketOptions()
    backlog: int | None = None
    """How many connections may wait for it, if its config says so (``listen``)."""
    sources: tuple[str, ...] = ()
    """The files its options and its address came from, and those that its config asks about."""

    @property
    def is_handed_over(self) -> bool:
        """Whether its sockets are those of its config, which uWSGI finds among its descriptors."""
        return self.way is Way.OWN

    @property
    def mode(self) -> Mode:
        """How the vassal is run."""
        return Mode.ON_DEMAND if self.addresses else Mode.ALWAYS

    @property
    def primary_unit(self) -> str:
        """The unit that is up for as long as the vassal is served."""
        return self.vassal.socket if self.addresses else self.vassal.service


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectedVassal:
    """A vassal that a monitor reports but that cannot be served as it is now."""

    vassal: Vassal
    mode: Mode | None
    """None: the rule does not say."""
    addresses: tuple[Address, ...] = ()
    """The addresses that it is to wait on, if that much is known."""
    sources: tuple[str, ...] = ()
    """The files known to be read for it or to be at fault: a change of one may mend it."""

    @classmethod
    def of(cls, resolved: ResolvedVassal) -> RejectedVassal:
        """Return the rejection of a vassal whose config can be served, but not beside others."""
        return cls(vassal=resolved.vassal, mode=resolved.mode, addresses=resolved.addresses, sources=resolved.sources)


def names_of(vassal: Vassal | InstalledVassal) -> set[str]:
    """Return the names a vassal answers to on the command line: its name, key, config, stem and units."""
    config = vassal.config if isinstance(vassal.config, str) else vassal.config.path
    return {vassal.name, vassal.key, config, stem_of(vassal.name), vassal.service, vassal.socket}
