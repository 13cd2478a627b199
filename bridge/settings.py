"""What an admin can set: one table of uWSGI's own names drives the command line, bridge.toml and emperor.ini alike."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from bridge.diagnostics import BridgeError, Diagnostic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One thing to set, under uWSGI's name."""

    name: str
    help: str
    metavar: str
    aliases: tuple[str, ...] = ()
    multiple: bool = False
    number: bool = False

    @property
    def field(self) -> str:
        """The attribute of :class:`Settings` it fills."""
        return self.name.replace("-", "_")


SETTINGS = (
    Setting(name="emperor", metavar="SPEC", multiple=True,
            help="Where the vassals are: a directory, a pattern, dir://… or glob://…; may be given several times."),
    Setting(name="emperor-on-demand-extension", aliases=("emperor-on-demand-ext",), metavar="EXT",
            help="A vassal is on demand if a file of its name with EXT added is there; it holds the socket's address."),
    Setting(name="emperor-on-demand-directory", aliases=("emperor-on-demand-dir",), metavar="DIR",
            help="Every vassal is on demand, on the unix socket DIR/NAME.socket."),
    Setting(name="emperor-on-demand-exec", metavar="CMD",
            help="CMD is run with the vassal's config as its last argument and prints the socket's address."),
    Setting(name="emperor-throttle", metavar="MS", number=True,
            help="Milliseconds by which the pause after a failed start grows each time.  [default: 1000]"),
    Setting(name="emperor-max-throttle", metavar="MS", number=True,
            help="Milliseconds of the longest pause.  [default: 180000]"),
    Setting(name="binary-path", metavar="FILE", help="The uWSGI binary that runs the vassals."),
)  # fmt: skip

_NAMES = {name: setting for setting in SETTINGS for name in (setting.name, *setting.aliases)}
_INI_FILE = "emperor-ini"
_DIGITS = 9


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The values in force, from the flags, bridge.toml and emperor.ini together."""

    emperor: tuple[str, ...] = ()
    emperor_on_demand_extension: str = ""
    emperor_on_demand_directory: str = ""
    emperor_on_demand_exec: str = ""
    emperor_throttle: int = 1000
    emperor_max_throttle: int = 180_000
    binary_path: str = ""
    """The uWSGI binary; empty: the one in PATH."""


def merge(layers: Sequence[Mapping[str, Any]]) -> Settings:
    """Put layers of named values together; a name set in an earlier layer hides the same name in later ones."""
    known = {field.name for field in fields(Settings)}
    merged: dict[str, Any] = {}
    for layer in layers:
        for name, given in layer.items():
            if given and name in known:
                merged.setdefault(name, given)
    return Settings(**merged)


def read_toml(path: Path) -> tuple[dict[str, Any], str | None]:
    """Read a bridge.toml; return its values and the emperor.ini it names, if any.

    Raises:
        BridgeError: it cannot be read, is not TOML, or holds a name or a type the bridge does not know.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise _bad(path, f"the configuration cannot be read: {error.strerror}", "mend --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _bad(path, f"this is not TOML: {error}", "see https://toml.io") from error
    values: dict[str, Any] = {}
    ini: str | None = None
    for name, given in table.items():
        if name == _INI_FILE:
            if not isinstance(given, str):
                raise _bad(path, f"{name} must be text", f'write {name} = "…"')
            ini = given
            continue
        setting = _NAMES.get(name)
        if setting is None:
            close = get_close_matches(name, [*_NAMES, _INI_FILE], n=1)
            raise _bad(
                path,
                f"there is no setting {name!r}",
                f"did you mean {close[0]!r}?" if close else "emperor-bridge sync --help lists them all",
            )
        texts = given if setting.multiple and isinstance(given, list) else [given]
        if not all(_fits(setting, text) for text in texts):
            kind = "a whole number from 1" if setting.number else "text"
            raise _bad(
                path,
                f"{name} must be {kind}{' or a list of texts' if setting.multiple else ''}",
                f"write {name} = " + ("1000" if setting.number else '"…"'),
            )
        values[setting.field] = tuple(texts) if setting.multiple else texts[0]
    return values, ini


def read_emperor_ini(path: str) -> dict[str, Any]:
    """Read the settings known here from an Emperor's own config.

    Raises:
        BridgeError: the file cannot be read as a uWSGI config.
    """
    from bridge.uwsgi.options import ConfigError
    from bridge.uwsgi.reading import read

    try:
        config = read(path, environ=os.environ)
    except ConfigError as error:
        raise BridgeError(
            Diagnostic(code="emperor-ini", path=error.path, line=error.line, message=error.message, hint=error.hint)
        ) from error
    values: dict[str, Any] = {}
    for option in config.options:
        if setting := _NAMES.get(option.key):
            value = _number(option.value, option.path, option.line, setting) if setting.number else option.value
            values[setting.field] = (*values.get(setting.field, ()), value) if setting.multiple else value
    return values


def _fits(setting: Setting, given: object) -> bool:
    if setting.number:
        return isinstance(given, int) and not isinstance(given, bool) and given >= 1
    return isinstance(given, str)


def _number(text: str, path: str, line: int, setting: Setting) -> int:
    if not (text.isascii() and text.isdecimal()) or not 1 <= len(text) <= _DIGITS or int(text) < 1:
        raise BridgeError(
            Diagnostic(
                code="emperor-ini",
                path=path,
                line=line,
                message=f"{setting.name} must be a whole number from 1, not {text[:40]!r}",
                hint=f"write {setting.name} = 1000",
            )
        )
    return int(text)


def _bad(path: Path, message: str, hint: str) -> BridgeError:
    return BridgeError(Diagnostic(code="settings", path=str(path), message=message, hint=hint))
