"""The settings: one table, by uWSGI's names, for the command line, bridge.toml and emperor.ini."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from bridge.config.monitor_tables import TABLE, MonitorTable, read_tables
from bridge.diagnostics import BridgeError, Diagnostic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One setting, under uWSGI's name."""

    name: str
    help: str
    metavar: str = ""
    aliases: tuple[str, ...] = ()
    multiple: bool = False
    number: bool = False
    flag: bool = False
    choices: tuple[str, ...] = ()
    """All values that it may have; empty: any."""

    @property
    def field(self) -> str:
        """The attribute of :class:`Settings` that has its value."""
        return self.name.replace("-", "_")


SETTINGS = (
    Setting(name="emperor", metavar="SPEC", multiple=True,
            help="The source of vassals: a directory, a pattern, dir://…, glob://…, pg://…, mongodb://…, zmq://… or "
                 "amqp://…; may be given several times."),
    Setting(name="emperor-freq", metavar="SECONDS", number=True,
            help="Seconds between two questions to a database that does not tell of changes.  [default: 3]"),
    Setting(name="emperor-on-demand-extension", aliases=("emperor-on-demand-ext",), metavar="EXT",
            help="A vassal is on demand if a file named as its config plus EXT exists; it has the socket's address."),
    Setting(name="emperor-on-demand-directory", aliases=("emperor-on-demand-dir",), metavar="DIR",
            help="Every vassal is on demand, on the unix socket DIR/NAME.socket."),
    Setting(name="emperor-on-demand-exec", metavar="CMD",
            help="CMD gets the path of the vassal's config as its last argument and prints the socket's address."),
    Setting(name="emperor-throttle", metavar="MS", number=True,
            help="Milliseconds by which the pause grows after each failed start.  [default: 1000]"),
    Setting(name="emperor-max-throttle", metavar="MS", number=True,
            help="Milliseconds of the longest pause.  [default: 180000]"),
    Setting(name="max-starting", metavar="N", number=True,
            help="How many vassals may be starting at a time; others wait.  [default: any number]"),
    Setting(name="max-running", metavar="N", number=True,
            help="How many vassals may run at a time; others wait.  [default: any number]"),
    Setting(name="emperor-extra-extension", aliases=("emperor-extra-ext",), metavar="EXT", multiple=True,
            help="Files that end in EXT are vassals too; uWSGI gets them by --config."),
    Setting(name="emperor-nofollow", flag=True,
            help="Reload a symlinked vassal when the symlink changes, not when its target does."),
    Setting(name="emperor-tyrant", flag=True, help="Run each vassal as the owner of its config."),
    Setting(name="emperor-tyrant-nofollow", flag=True, help="Take the owner of the symlink, not of its target."),
    Setting(name="emperor-tyrant-initgroups", flag=True, help="Give a vassal the supplementary groups of its owner."),
    Setting(name="uid", metavar="USER", help="Run all vassals as USER, as an Emperor with this uid does."),
    Setting(name="gid", metavar="GROUP", help="Run all vassals in GROUP."),
    Setting(name="emperor-cap", aliases=("vassals-cap", "vassal-cap"), metavar="CAPS",
            help="The capabilities that vassals keep, as in setuid,setgid."),
    Setting(name="vassals-inherit-before", metavar="FILE", multiple=True,
            help="A template that is read before the vassal's config."),
    Setting(name="vassals-include-before", metavar="FILE", multiple=True,
            help="A config that is read before the vassal's."),
    Setting(name="vassals-set", aliases=("vassal-set",), metavar="KEY=VALUE", multiple=True,
            help="An option of all vassals."),
    Setting(name="vassals-inherit", metavar="FILE", multiple=True,
            help="A template that is read after the vassal's config."),
    Setting(name="vassals-include", metavar="FILE", multiple=True,
            help="A config that is read after the vassal's."),
    Setting(name="emperor-wrapper", metavar="PROGRAM",
            help="A program that is started instead of uWSGI, with its arguments."),
    Setting(name="vassals-start-hook", metavar="PROGRAM",
            help="A program that is run as the vassal's user before it starts, with its name."),
    Setting(name="vassals-stop-hook", metavar="PROGRAM",
            help="A program that is run as root after a vassal has ended, with its name."),
    Setting(name="env", metavar="NAME=VALUE", multiple=True,
            help="A variable in the environment of all vassals; UWSGI_VASSAL_X becomes UWSGI_X."),
    Setting(name="chdir", metavar="DIR", help="The directory of relative paths, and of the vassals of a pattern."),
    Setting(name="tenant-socket-directory", metavar="DIR", multiple=True,
            help="In tyrant mode, tenants may listen on unix sockets below DIR too.  [default: /run/vassals/UID]"),
    Setting(name="tenant-socket-groups", aliases=("tenant-socket-group",), metavar="GROUP", multiple=True,
            help="In tyrant mode, tenants may give their sockets to GROUP too, such as a web server's."),
    Setting(name="tenant-first-port", metavar="PORT", number=True,
            help="In tyrant mode, the lowest port of a tenant.  [default: net.ipv4.ip_unprivileged_port_start]"),
    Setting(name="on-demand-own-sockets", metavar="idle|all", choices=("idle", "all"),
            help="Have vassals without a rule wait on the sockets of their configs: those with die-on-idle, or all."),
    Setting(name="binary-path", metavar="FILE", help="The uWSGI that runs the vassals."),
)  # fmt: skip

NAMES = {name: setting for setting in SETTINGS for name in (setting.name, *setting.aliases)}
"""All settings, by names and aliases."""
_INI_FILE = "emperor-ini"
_SOURCES = frozenset({"emperor", "monitor"})
"""The fields of :class:`Settings` that say where vassals are."""
_KINDS = {
    (True, False): ("true or false", "true"),
    (False, True): ("a whole number from 1", "1000"),
    (False, False): ("text", '"…"'),
}


class OwnSocketsMode(Enum):
    """Which vassals without a rule wait on the sockets of their configs (``on-demand-own-sockets``)."""

    NONE = ""
    IDLE = "idle"
    ALL = "all"


class RuleKind(Enum):
    """The on-demand rules of an Emperor, by what gives a vassal's address."""

    NONE = "none"
    EXTENSION = "extension"
    DIRECTORY = "directory"
    EXEC = "exec"


@dataclass(frozen=True, slots=True)
class OnDemandRule:
    """The one on-demand rule in force; ``value`` is its extension, its directory or its command."""

    kind: RuleKind
    value: str = ""

    @property
    def extension(self) -> str:
        """What the name of a rule file has after its config's. Empty: the rule in force has no files."""
        return self.value if self.kind is RuleKind.EXTENSION else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The values in force, merged from the command line, bridge.toml and emperor.ini."""

    emperor: tuple[str, ...] = ()
    monitor: tuple[MonitorTable, ...] = ()
    emperor_freq: int = 3
    emperor_on_demand_extension: str = ""
    emperor_on_demand_directory: str = ""
    emperor_on_demand_exec: str = ""
    emperor_throttle: int = 1000
    emperor_max_throttle: int = 180_000
    max_starting: int = 0
    max_running: int = 0
    emperor_extra_extension: tuple[str, ...] = ()
    emperor_nofollow: bool = False
    emperor_tyrant: bool = False
    emperor_tyrant_nofollow: bool = False
    emperor_tyrant_initgroups: bool = False
    uid: str = ""
    gid: str = ""
    emperor_cap: str = ""
    vassals_inherit_before: tuple[str, ...] = ()
    vassals_include_before: tuple[str, ...] = ()
    vassals_set: tuple[str, ...] = ()
    vassals_inherit: tuple[str, ...] = ()
    vassals_include: tuple[str, ...] = ()
    emperor_wrapper: str = ""
    vassals_start_hook: str = ""
    vassals_stop_hook: str = ""
    env: tuple[str, ...] = ()
    chdir: str = ""
    tenant_socket_directory: tuple[str, ...] = ()
    tenant_socket_groups: tuple[str, ...] = ()
    tenant_first_port: int = 0
    """0: the first port that needs no privilege."""
    on_demand_own_sockets: str = ""
    binary_path: str = ""
    """Empty: the uWSGI in PATH."""

    @property
    def on_demand_rule(self) -> OnDemandRule:
        """The rule in force: the extension, else the directory, else the command.

        core/emperor.c, ``emperor_check_on_demand_socket``: the Emperor does not try the next one, even if the first
        gives a vassal no address.
        """
        for kind, value in (
            (RuleKind.EXTENSION, self.emperor_on_demand_extension),
            (RuleKind.DIRECTORY, self.emperor_on_demand_directory),
            (RuleKind.EXEC, self.emperor_on_demand_exec),
        ):
            if value:
                return OnDemandRule(kind, value)
        return OnDemandRule(RuleKind.NONE)


def merge(layers: Sequence[Mapping[str, Any]]) -> Settings:
    """Merge layers of values by name; an earlier layer overrides later ones."""
    known = tuple(one.name for one in fields(Settings))
    merged: dict[str, Any] = {}
    for layer in layers:
        # Whoever names sources names all of them: the tables go with the specs beside them.
        is_overridden = bool(merged.keys() & _SOURCES)
        for name, given in layer.items():
            if given and name in known and not (is_overridden and name in _SOURCES):
                merged.setdefault(name, given)
    return Settings(**merged)


def read_toml(path: Path) -> tuple[dict[str, Any], str | None]:
    """Read a bridge.toml; return its values and the path of the emperor.ini that it names, if any.

    Raises:
        BridgeError: it cannot be read, is not TOML, or has unknown names or values of the wrong type.
    """
    import tomllib

    try:
        text = path.read_text("utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        hint = "correct --config"
        raise BridgeError(_bad(path, None, f"the configuration cannot be read: {error.strerror}", hint)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BridgeError(_bad(path, None, f"this is not TOML: {error}", "see https://toml.io")) from error
    ini = table.pop(_INI_FILE, None)
    values: dict[str, Any] = {}
    problems: list[Diagnostic] = []
    if (tables := table.pop(TABLE, None)) is not None:
        values[TABLE], wrong = read_tables(str(path), tables)
        problems += wrong
    if not isinstance(ini, str | None):
        problems.append(_bad(path, _line(text, _INI_FILE), f"{_INI_FILE} must be text", f'write {_INI_FILE} = "…"'))
    for name, given in table.items():
        setting = NAMES.get(name)
        texts = given if setting and setting.multiple and isinstance(given, list) else [given]
        if setting is None or not all(_fits(setting, text) for text in texts):
            problems.append(_bad(path, _line(text, name), *_what_is_wrong(name, setting)))
        else:
            values[setting.field] = tuple(texts) if setting.multiple else texts[0]
    if problems:
        raise BridgeError(*problems)
    _expand(values, str(path))
    return values, ini


def _expand(values: dict[str, Any], path: str) -> None:
    """Replace the magic variables in specs of databases and brokers."""
    from bridge.config.spec_magic import expand

    if specs := values.get("emperor"):
        values["emperor"] = tuple(expand(spec, path) for spec in specs)
    if tables := values.get(TABLE):
        values[TABLE] = tuple(replace(one, spec=expand(one.spec, path)) for one in tables)


def _what_is_wrong(name: str, setting: Setting | None) -> tuple[str, str]:
    """Return what is wrong with a name, or with the value of a setting, and what to write."""
    if setting is None:
        from difflib import get_close_matches

        close = get_close_matches(name, [*NAMES, _INI_FILE], n=1)
        hint = f"did you mean {close[0]!r}?" if close else "emperor-bridge sync --help lists them all"
        return f"there is no setting {name!r}", hint
    kind, example = _KINDS[setting.flag, setting.number]
    if setting.choices:
        kind, example = " or ".join(f'"{one}"' for one in setting.choices), f'"{setting.choices[0]}"'
    several = " or a list of texts" if setting.multiple else ""
    return f"{name} must be {kind}{several}", f"write {name} = {example}"


def _line(text: str, name: str) -> int | None:
    """Return the first line that begins with this name."""
    found = re.search(rf"""^[ \t]*\[*[ \t]*['"]?{re.escape(name)}['"]?[ \t]*[=.\]]""", text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else None


def _fits(setting: Setting, given: object) -> bool:
    if setting.flag:
        return isinstance(given, bool)
    if setting.number:
        return isinstance(given, int) and not isinstance(given, bool) and given >= 1
    return isinstance(given, str) and (not setting.choices or given in setting.choices)


def _bad(path: Path, line: int | None, message: str, hint: str) -> Diagnostic:
    return Diagnostic(code="settings", path=str(path), line=line, message=message, hint=hint)
