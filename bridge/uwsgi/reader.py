"""Reads a vassal's config file and the files it includes, as root, without trusting their owners."""

from __future__ import annotations

import functools
import os
import re
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bridge.uwsgi import magic_variables, parse_ini, parse_json, parse_xml, parse_yaml
from bridge.uwsgi.conditions import Surroundings
from bridge.uwsgi.interpreter import Process
from bridge.uwsgi.options import COMMAND_LINE, Config, ConfigError, Option

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MAX_BYTES = 1024 * 1024
_MAX_FILES = 100
"""Files that one config may include in all; a loop can name many."""

Parser: TypeAlias = "Callable[..., list[Option]]"
_PARSERS: dict[str, Parser] = {
    "ini": parse_ini.parse,
    "xml": parse_xml.parse,
    "yaml": parse_yaml.parse,
    "json": parse_json.parse,
}
_SUFFIXES = {"ini": "ini", "xml": "xml", "yaml": "yaml", "yml": "yaml", "js": "json", "json": "json"}
_OPTIONS = _SUFFIXES | {"xmlconfig": "xml"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessView:
    """What the uWSGI process that reads a config was started with."""

    environ: Mapping[str, str]
    login: Callable[[], Mapping[str, str]] = dict
    """See :attr:`Surroundings.login`."""
    cwd: str | None = None
    """Its directory; None: the config's own."""
    before: Sequence[tuple[str, str]] = ()
    """Options with their values in front of the config on its command line.

    What they include is the admin's: the bridge reads it whoever owns it.
    """
    after: Sequence[tuple[str, str]] = ()
    """Options with their values behind the config."""
    program: str = ""
    """The path of the uWSGI program; builds differ, and without it the oldest is assumed."""


def read(path: str, view: ProcessView, *, max_bytes: int = MAX_BYTES) -> Config:
    """Read a config as that uWSGI process would, and return its options.

    The extension of each file decides its format; without a known one it is ini. Conditions on files are evaluated as
    root.

    Raises:
        ConfigError: uWSGI would not start with it, or it exceeds a bound of the bridge.
    """
    return _Reading(path, view, max_bytes).config()


def _parse(data: bytes, parser: Parser, path: str, values: Mapping[str, str]) -> list[Option]:
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise ConfigError("it has a NUL byte", path, line, "a config is plain text")
    if any("\0" in value for value in values.values()):
        raise ConfigError("its magic variables have a NUL byte", path)
    text = magic_variables.substitute(data, values, path=path)
    try:
        options = parser(text.data.decode("utf-8", "surrogateescape"), path=path)
    except ConfigError as error:
        line_written = text.line(error.line) if error.line is not None else None
        raise ConfigError(error.message, path, line_written, error.hint) from None
    if not text.moved:
        return options
    return [Option(o.key, o.value, path, text.line(o.line)) for o in options]


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes
    status: os.stat_result
    real: str
    """Its path without symlinks."""

    @property
    def owner(self) -> int:
        """The uid of its owner."""
        return self.status.st_uid


class _Reading:
    """Reads one vassal's config and its includes, which have ``max_bytes`` together."""

    def __init__(self, path: str, view: ProcessView, max_bytes: int) -> None:
        self._path = path
        self._view = view
        self._cwd = view.cwd if view.cwd is not None else os.path.dirname(os.path.abspath(path))
        self._left = max_bytes
        self._files = 0
        self._host = os.uname().nodename
        here = {"v": view.cwd} if view.cwd is not None else {}
        self._known = {"h": self._host, "k": _processors(), **here}
        self._first: dict[str, str] | None = None
        self._owner = -1
        self._asked: dict[str, None] = {}
        self._last_ini = path

    def config(self) -> Config:
        """Read the config with the options around it, and interpret them."""
        file = self._open(self._path, self._path, None)
        self._owner = file.owner
        kind = _SUFFIXES.get(self._path.rpartition(".")[2].lower(), "ini")
        around = Surroundings(
            environ=self._view.environ,
            login=self._view.login,
            exists=lambda name: self._at(name) is not None,
            is_file=lambda name: stat.S_ISREG(self._at(name) or 0),
            is_dir=lambda name: stat.S_ISDIR(self._at(name) or 0),
            hostname=self._host,
            load=self._load,
            text=self._text,
        )
        process = Process(around)
        process.environment()
        # Files included in front of the config have no first config yet.
        self._first = dict.fromkeys(magic_variables.UPPER, "")
        process.add(Option(key, value, COMMAND_LINE, 1, trusted=True) for key, value in self._view.before)
        self._first = None
        process.config(kind, self._path)
        process.add(self._parsed(file, kind, self._path, "uwsgi"))
        process.add(Option(key, value, COMMAND_LINE, 1, trusted=True) for key, value in self._view.after)
        return Config(self._path, tuple(process.finish()), tuple(process.unread), tuple(self._asked))

    def _parsed(self, file: _File, kind: str, path: str, section: str) -> list[Option]:
        absolute = os.path.join(self._cwd, path)
        try:
            status = os.lstat(absolute)
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", path) from None
        source = magic_variables.Source(
            filename=path,
            real=absolute if stat.S_ISLNK(status.st_mode) else file.real,
            section="" if section == "uwsgi" else section,
            inode=status.st_ino,
        )
        values = magic_variables.table(source, known=self._known, first=self._first)
        self._first = self._first or values
        builds = {"program": self._view.program} if kind == "xml" else {}
        return _parse(file.data, functools.partial(_PARSERS[kind], section=section, **builds), path, values)

    def _load(self, option: Option) -> list[Option] | None:
        """Read what an option includes, or return None if it is no file that the vassal's owner could read.

        core/uwsgi.c, ``uwsgi_opt_load``: ``include`` and ``inherit`` find the format from the end of the whole value,
        so they take no ``:section``. The other options do; ``ini = :name`` is a section of the ini file read last.
        """
        suffix = option.value.rpartition(".")[2]
        kind = _OPTIONS.get(option.key) or _SUFFIXES.get(suffix)
        name, colon, section = option.value.rpartition(":") if ":" in option.value else (option.value, "", "")
        if kind is None or "://" in option.value or (colon and not section) or name == "-":
            return None
        if not name and kind == "ini":
            name = self._last_ini
        if not name:
            return None
        self._count(option)
        file = self._open(os.path.join(self._cwd, name), option.path, option.line)
        if not self._may_read(option, file):
            return None
        if kind == "ini":
            self._last_ini = name
        return self._parsed(file, kind, name, section or "uwsgi")

    def _text(self, option: Option, name: str) -> str | None:
        """Read the file of an ``@(name)``, or return None as :meth:`_load` does (``uwsgi_at_file_read``)."""
        if not name or name == "-" or "://" in name:
            return None
        self._count(option)
        file = self._open(os.path.join(self._cwd, name), option.path, option.line)
        # Even in an option of the admin's, an earlier ``@(file)`` may have brought a tenant's text.
        if not self._may_read(replace(option, trusted=False), file):
            return None
        self._asked[os.path.join(self._cwd, name)] = None
        text = file.data.partition(b"\0")[0] if b"\0" in file.data else re.sub(rb"[\r\n]\Z", b"", file.data)
        return text.decode("utf-8", "surrogateescape")

    def _may_read(self, option: Option, file: _File) -> bool:
        # The owner of the vassal's config counts, not that of an included file in between.
        own = file.owner == self._owner or option.trusted
        return own or (file.owner == 0 and _public(file.status, file.real))

    def _count(self, option: Option) -> None:
        self._files += 1
        if self._files > _MAX_FILES:
            raise ConfigError("the config includes too many files", option.path, option.line, "include fewer")

    def _at(self, name: str) -> int | None:
        if not name:
            return None
        path = os.path.join(self._cwd, name)
        self._asked[path] = None
        try:
            return os.stat(path).st_mode
        except (OSError, ValueError):
            return None

    def _open(self, name: str, path: str, line: int | None) -> _File:
        what = "cannot be read" if line is None else "the file it includes cannot be read"
        try:
            file = self._read(name)
        except OSError as error:
            hint = "uWSGI would not start either"
            raise ConfigError(f"{what}: {error.strerror}", path, line, hint) from None
        except ValueError as error:
            raise ConfigError(f"{what}: {error}", path, line, "a config is a short plain file") from None
        self._left -= len(file.data)
        return file

    def _read(self, name: str) -> _File:
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("not a regular file")
            data = stream.read(self._left + 1)
            if len(data) > self._left:
                raise ValueError("too long")
            # The kernel's path of the opened file: nobody can replace a symlink between the check and the use.
            real = os.readlink(f"/proc/self/fd/{descriptor}")
        return _File(data, status, real)


@functools.cache
def _processors() -> str:
    """Return the number of processors; cached, because finding it reads a file."""
    return str(os.cpu_count() or 1)


def _public(status: os.stat_result, real: str) -> bool:
    """Return whether everybody can read a file, by its mode and by the modes of its folders."""
    if not status.st_mode & stat.S_IROTH:
        return False
    try:
        return all(parent.stat().st_mode & stat.S_IXOTH for parent in Path(real).parents)
    except OSError:
        return False
