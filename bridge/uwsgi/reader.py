"""Reads a vassal's config file and the files it includes, as root, without trusting their owners."""

from __future__ import annotations

import errno
import functools
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

from bridge.host.found_file import FoundFile, NotAFileError
from bridge.host.links import make_real_path
from bridge.uwsgi import magic_variables
from bridge.uwsgi.budget import LOOKUP, Budget
from bridge.uwsgi.conditions import Surroundings
from bridge.uwsgi.ignored import explain
from bridge.uwsgi.interpreter import Process
from bridge.uwsgi.options import COMMAND_LINE, Config, ConfigError, Option, Remark

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_BYTES = 1024 * 1024
_MAX_FILES = 100
"""Files that one config may include in all; a loop can name many."""
_MAX_TESTED = 1000
"""Files that its conditions may ask about."""

_INCLUDED = "the file it includes cannot be read"

Parser: TypeAlias = Callable[..., list[Option]]
_PARSERS = {"ini": "parse_ini", "xml": "parse_xml", "yaml": "parse_yaml", "json": "parse_json"}
"""Modules with a function ``parse``, imported when a config is of their kind."""
_SUFFIXES = {"ini": "ini", "xml": "xml", "yaml": "yaml", "yml": "yaml", "js": "json", "json": "json"}
_OPTIONS = _SUFFIXES | {"xmlconfig": "xml"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
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
    tenant: int | None = None
    """In tyrant mode, the user as whom it runs: what that user may not read is not read."""
    program: str = ""
    """The path of the uWSGI program; builds differ, and without it the oldest is assumed."""


def read(path: str, view: ProcessView, *, section: str = "uwsgi", max_bytes: int = MAX_BYTES) -> Config:
    """Read a section of a config as that uWSGI process would, and return its options.

    The extension of each file decides its format; without a known one it is ini.

    Raises:
        ConfigError: uWSGI would not start with it, or it exceeds a bound of the bridge.
    """
    return _Reading(_Section(path, section), view, max_bytes).config()


def _parse(
    data: bytes, parser: Parser, path: str, values: Callable[[], Mapping[str, str]], budget: Budget
) -> list[Option]:
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise ConfigError("it has a NUL byte", path, line, "a config is plain text")
    text = magic_variables.substitute(data, values() if b"%" in data else {}, path=path, budget=budget)
    decoded = text.data.decode("utf-8", "surrogateescape")
    try:
        options = parser(decoded, path=path, budget=budget)
    except ConfigError as error:
        line_written = text.line(error.line) if error.line is not None else None
        raise ConfigError(error.message, path, line_written, error.hint) from None
    if not text.moved:
        return options
    return [Option(o.key, o.value, path, text.line(o.line)) for o in options]


@functools.cache
def _parser(kind: str) -> Parser:
    return cast("Parser", import_module(f"bridge.uwsgi.{_PARSERS[kind]}").parse)


class _File(NamedTuple):
    data: bytes
    real: str | None
    """Its path without symlinks, if the file itself has a magic variable."""


class _Section(NamedTuple):
    """A section of a file, as uWSGI is given it by ``PATH:SECTION``."""

    path: str
    section: str = "uwsgi"


class _Reading:
    """Reads one vassal's config and its includes, which have ``max_bytes`` together."""

    def __init__(self, config: _Section, view: ProcessView, max_bytes: int) -> None:
        self._config = config
        self._view = view
        self._cwd = view.cwd if view.cwd is not None else os.path.dirname(os.path.abspath(config.path))
        self._left = max_bytes
        self._files = 0
        self._budget = Budget()
        self._host = os.uname().nodename
        here = {"v": view.cwd} if view.cwd is not None else {}
        self._known = {"h": self._host, "k": _processors(), **here}
        self._first: Callable[[], Mapping[str, str]] | None = None
        self._owner = -1
        self._asked: dict[str, None] = {}
        self._tested: dict[str, int | None] = {}
        self._remarks: dict[Remark, None] = {}
        self._last_ini = config.path

    def config(self) -> Config:
        """Read the config with the options around it, and interpret them."""
        path = self._config.path
        file = self._open_config()
        kind = _SUFFIXES.get(path.rpartition(".")[2].lower(), "ini")
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
        process = Process(around, self._budget)
        process.environment()
        # Files included in front of the config have no first config yet.
        self._first = lambda: dict.fromkeys(magic_variables.UPPER, "")
        process.add(Option(key, value, COMMAND_LINE, 1, trusted=True) for key, value in self._view.before)
        self._first = None
        process.config(kind, path if self._config.section == "uwsgi" else ":".join(self._config))
        process.add(self._parsed(file, kind, self._config))
        process.add(Option(key, value, COMMAND_LINE, 1, trusted=True) for key, value in self._view.after)
        options = tuple(process.finish())
        # It keeps this reader alive.
        self._first = None
        return Config(path, options, tuple(process.unread), tuple(self._asked), tuple(self._remarks))

    def _parsed(self, file: _File, kind: str, source: _Section) -> list[Option]:
        absolute = os.path.join(self._cwd, source.path)
        if "\0" in source.section:
            raise ConfigError("its magic variables have a NUL byte", source.path)
        first = self._first

        def values() -> Mapping[str, str]:
            try:
                status = os.lstat(absolute)
            except OSError as error:
                raise ConfigError(f"cannot be read: {error.strerror}", source.path) from None
            described = magic_variables.Source(
                filename=source.path,
                real=absolute if stat.S_ISLNK(status.st_mode) else file.real or make_real_path()(absolute),
                section="" if source.section == "uwsgi" else source.section,
                inode=status.st_ino,
            )
            return magic_variables.table(described, known=self._known, first=first() if first else None)

        self._first = first or values
        builds = {"program": self._view.program} if kind == "xml" else {}
        parser = functools.partial(_parser(kind), section=source.section, **builds)
        options = _parse(file.data, parser, source.path, values, self._budget)
        if not options:
            text = file.data.decode("utf-8", "surrogateescape")
            if remark := explain(text, kind, path=source.path, section=source.section):
                self._remarks[remark] = None
        return options

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
        if (file := self._open_included(name, option)) is None:
            return None
        if kind == "ini":
            self._last_ini = name
        return self._parsed(file, kind, _Section(name, section or "uwsgi"))

    def _text(self, option: Option, name: str) -> str | None:
        """Read the file of an ``@(name)``, or return None as :meth:`_load` does (``uwsgi_at_file_read``)."""
        if not name or name == "-" or "://" in name:
            return None
        # Even in an option of the admin's, an earlier ``@(file)`` may have brought a tenant's text.
        if (file := self._open_included(name, replace(option, trusted=False))) is None:
            return None
        self._asked[os.path.join(self._cwd, name)] = None
        text = file.data.partition(b"\0")[0] if b"\0" in file.data else re.sub(rb"[\r\n]\Z", b"", file.data)
        return text.decode("utf-8", "surrogateescape")

    def _at(self, name: str) -> int | None:
        if not name:
            return None
        path = os.path.join(self._cwd, name)
        if path not in self._tested:
            if len(self._tested) == _MAX_TESTED:
                raise ConfigError("its conditions ask about too many files", self._config.path, None, "ask about fewer")
            self._asked[path] = None
            try:
                with FoundFile(path, user=_other(self._view.tenant)) as found:
                    self._tested[path] = found.status.st_mode
            except (OSError, ValueError):
                self._tested[path] = None
        return self._tested[path]

    def _open_config(self) -> _File:
        path = self._config.path
        try:
            with FoundFile(path) as found:
                tenant = self._view.tenant
                self._owner = found.status.st_uid if tenant is None else tenant
                if tenant is not None and not found.may_be_read_by(tenant):
                    raise PermissionError(errno.EACCES, f"uid {tenant}, as whom it would run, may not read it")
                return self._read(found)
        except (OSError, ValueError) as error:
            raise _unreadable("cannot be read", error, path, None) from None

    def _open_included(self, name: str, option: Option) -> _File | None:
        """Read a file that an option names. None: the owner of the vassal's config could not, or may not, read it.

        The owner of the vassal's config counts, not that of an included file in between.
        """
        self._files += 1
        self._budget.charge(LOOKUP, option.path, option.line)
        if self._files > _MAX_FILES:
            raise ConfigError("the config includes too many files", option.path, option.line, "include fewer")
        user = None if option.trusted else _other(self._owner)
        try:
            with FoundFile(os.path.join(self._cwd, name), user=user) as found:
                if not option.trusted and not _is_for(self._owner, found):
                    return None
                return self._read(found)
        except PermissionError as error:
            if user is not None:
                return None
            raise _unreadable(_INCLUDED, error, option.path, option.line) from None
        except (OSError, ValueError) as error:
            raise _unreadable(_INCLUDED, error, option.path, option.line) from None

    def _read(self, found: FoundFile) -> _File:
        data = found.read(self._left)
        if len(data) > self._left:
            raise NotAFileError(errno.EFBIG, "it is too long")
        self._left -= len(data)
        return _File(data, found.real if b"%" in data else None)


def _unreadable(what: str, error: OSError | ValueError, path: str, line: int | None) -> ConfigError:
    if isinstance(error, NotAFileError):
        return ConfigError(f"{what}: {error.strerror}", path, line, "a config is a short plain file")
    why = error.strerror if isinstance(error, OSError) else str(error)
    return ConfigError(f"{what}: {why}", path, line, "uWSGI would not start either")


@functools.cache
def _processors() -> str:
    """Return the number of processors; cached, because finding it reads a file."""
    return str(os.cpu_count() or 1)


def _is_for(owner: int, found: FoundFile) -> bool:
    """Tell whether a file is the owner's, or root's for everybody."""
    status = found.status
    return status.st_uid == owner or (status.st_uid == 0 and bool(status.st_mode & stat.S_IROTH))


def _other(user: int | None) -> int | None:
    """Return a user whose rights are less than this process's. None: they are not."""
    return None if user in {0, os.geteuid()} else user
