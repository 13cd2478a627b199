"""The files and folders that a config needs, by its options, and where uWSGI looks for them. Pure.

uWSGI reads some options while it parses them, in the folder where it starts and as the user who starts it. The others
it reads after it has changed its user and its folder (core/uwsgi.c, ``uwsgi_start``).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.host.as_user import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bridge.model.vassal import ResolvedVassal
    from bridge.uwsgi.options import Config, Option

NEEDS_MAX = 200
"""Options of one config that are looked at."""
_FILES = frozenset({"wsgi-file", "file", "python-raw", "psgi", "rack", "lua", "lua-load", "php-ini", "mimefile"})
_FOLDERS = frozenset({"spooler", "spooler-external", "php-docroot", "rails"})
_EITHER = frozenset({"check-static", "static-safe"})
_MAPS = frozenset({"static-map", "static-map2"})
_HOMES = frozenset({"home", "virtualenv", "venv", "pyhome"})
_PYTHON_PATHS = frozenset({"pythonpath", "python-path", "pp"})
_MODULES = frozenset({"module", "wsgi"})
_PLUGINS = frozenset({"plugin", "plugins", "need-plugin", "need-plugins"})
_PLUGIN_DIRS = frozenset({"plugins-dir", "plugin-dir"})
_CERTIFICATES = frozenset({"https", "https-socket", "ssl-socket", "suwsgi-socket", "sni"})
_LOGS = frozenset(
    {"logto", "logto2", "daemonize", "daemonize2", "pidfile", "pidfile2", "safe-pidfile", "safe-pidfile2"}
)
_LATE_LOGS = frozenset({"logto2", "pidfile2", "safe-pidfile2"})
_NAMED = (
    frozenset({"chdir", "chdir2", "chroot", "https2"})
    | (_FILES | _FOLDERS | _EITHER | _MAPS | _HOMES | _PYTHON_PATHS | _MODULES)
    | (_PLUGINS | _PLUGIN_DIRS | _CERTIFICATES | _LOGS)
)
"""All options that name a file or a folder; most do not."""
_UNRESOLVED = re.compile(r"\$\(|%\(|@\(|://")
"""What only uWSGI can resolve, or no file at all."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLUGIN = re.compile(r"[A-Za-z0-9_./-]+")
_PYTHON = ("/usr/lib/python3*", "/usr/lib64/python3*", "/usr/local/lib/python3*")
_PATH_FILES = ("__editable__*", "*.egg-link", "easy-install.pth", "*nspkg.pth", "[!a_d]*.pth")
"""Files in a folder of packages by which packages may be anywhere."""


@dataclass(frozen=True, slots=True)
class Need:
    """Something that must be there for an option."""

    option: Option
    places: tuple[Place, ...]
    """Where it may be; the first is the one that is named if it is not there."""
    is_early: bool = False
    """Whether uWSGI looks for it before it changes its user."""
    name: str = ""
    """What it is called if it is not just a path."""


class _Finder:
    """Finds what one config needs."""

    def __init__(self, resolved: ResolvedVassal, config: Config, plugin_folder: str) -> None:
        self._config = config
        self._start = resolved.vassal.directory
        self._plugin_folder = plugin_folder
        self._program = next((word for word in resolved.spawn.argv if word.endswith("uwsgi")), "")
        self._environment = resolved.spawn.environment
        self._folders = self._working_folders()

    def _working_folders(self) -> tuple[str, ...]:
        """Return the folders in which uWSGI looks after it has changed its folder; none if that is unknown."""
        if any(option.key in {"chdir", "chdir2"} for option in self._config.unread):
            return ()
        found = [self._start]
        for key in ("chdir", "chdir2"):
            if option := self._config.last(key):
                if _UNRESOLVED.search(option.value):
                    return ()
                found.append(os.path.join(found[-1], option.value))
        return tuple(dict.fromkeys(reversed(found if len(found) == 1 else found[1:])))

    def find(self) -> Iterator[Need]:
        """Yield what the config needs."""
        chroot = self._config.last("chroot")
        for option in self._config.options:
            if option.key not in _NAMED or not option.value:
                continue
            if _UNRESOLVED.search(option.value) or "\0" in option.value:
                continue
            if chroot is not None and option.key not in _CERTIFICATES | _PLUGINS | _PLUGIN_DIRS | {"chroot"}:
                # The other files are below that folder.
                continue
            yield from self._of(option)

    def _of(self, option: Option) -> Iterator[Need]:
        key, value = option.key, option.value
        if key in {"chdir", "chroot"}:
            yield Need(option, (Place(os.path.join(self._start, value), is_folder=True),), is_early=key == "chroot")
        elif key == "chdir2" or key in _FOLDERS | _HOMES:
            yield from self._late(option, value, is_folder=True)
        elif key in _FILES:
            yield from self._late(option, value, is_folder=False)
        elif key in _EITHER or key in _MAPS:
            path = value.partition("=")[2] if key in _MAPS else value
            yield from self._late(option, path, is_folder=None)
        elif key in _PYTHON_PATHS:
            bases = (*self._folders, self._start)
            places = [Place(os.path.join(base, value), is_pattern=True) for base in bases]
            yield from [Need(option, tuple(places))] if self._folders or value.startswith("/") else []
        elif key in _CERTIFICATES or key == "https2":
            for path in _certificates(key, value):
                yield Need(option, (Place(os.path.join(self._start, path)),), is_early=True)
        elif key in _PLUGIN_DIRS:
            yield Need(option, (Place(os.path.join(self._start, value), is_folder=True),), is_early=True)
        elif key in _PLUGINS:
            yield from self._plugins(option)
        elif key in _LOGS and value.startswith("/"):
            yield Need(option, (Place(value, is_folder=None, is_written=True),), is_early=key not in _LATE_LOGS)
        elif key in _MODULES:
            yield from self._module(option)

    def _late(self, option: Option, path: str, *, is_folder: bool | None) -> Iterator[Need]:
        if path and (self._folders or path.startswith("/")):
            bases = self._folders or ("/",)
            yield Need(option, tuple(Place(os.path.join(base, path), is_folder) for base in bases))

    def _plugins(self, option: Option) -> Iterator[Need]:
        folders = [o.value for o in self._config.of(_PLUGIN_DIRS)]
        folders += [self._plugin_folder] if self._plugin_folder else []
        for given in option.value.split(","):
            name = given.strip().rpartition(":")[2].partition("|")[0]
            file = name if name.endswith("_plugin.so") else f"{name}_plugin.so"
            if not _PLUGIN.fullmatch(name) or not ("/" in name or self._plugin_folder):
                continue
            bases = [""] if "/" in name else folders
            places = tuple(Place(os.path.join(self._start, base, file)) for base in bases)
            yield Need(option, places, is_early=True, name=f"plugin {name}")

    def _module(self, option: Option) -> Iterator[Need]:
        name = option.value.partition(":")[0].partition(".")[0]
        is_elsewhere = any(one.startswith("PYTHONPATH=") for one in self._environment) or any(
            one.value.startswith("PYTHONPATH=") for one in self._config.all("env")
        )
        if not self._folders or is_elsewhere or not _NAME.fullmatch(name):
            return
        paths = [one.value for one in self._config.of(_PYTHON_PATHS)]
        if any(map(_UNRESOLVED.search, paths)):
            return
        own = [*self._folders, *(os.path.join(base, path) for path in paths for base in (self._start, *self._folders))]
        sites = self._sites()
        if sites is None:
            return
        places = [Place(f"{folder}/{end}", is_pattern=True) for folder in (*own, *sites) for end in _module_files(name)]
        places += [Place(f"{site}/{file}", is_pattern=True) for site in sites for file in _PATH_FILES]
        yield Need(option, tuple(places), name=f"module {name}")

    def _sites(self) -> list[str] | None:
        """Return patterns of the folders of Python's own modules and packages; None if they are unknown."""
        bases = list(_PYTHON)
        if (home := next((o for o in reversed(self._config.options) if o.key in _HOMES), None)) is not None:
            if _UNRESOLVED.search(home.value):
                return None
            bases += [os.path.join(folder, home.value, "lib*/python3*") for folder in self._folders]
        if self._program and not self._program.startswith("/usr/"):
            bases.append(f"{os.path.dirname(os.path.dirname(self._program))}/lib*/python3*")
        return [f"{base}{end}" for base in bases for end in ("", "/site-packages", "/dist-packages", "/lib-dynload")]


def find_needs(resolved: ResolvedVassal, config: Config, plugin_folder: str) -> list[Need]:
    """Return what a config needs. ``plugin_folder`` is that of uWSGI's own plugins, if it is known."""
    found: list[Need] = []
    for need in _Finder(resolved, config, plugin_folder).find():
        found.append(need)
        if len(found) == NEEDS_MAX:
            break
    return found


def _module_files(name: str) -> Iterable[str]:
    return (f"{name}.py", name, f"{name}.so", f"{name}.*.so", f"{name}.pyc")


def _certificates(key: str, value: str) -> list[str]:
    """Return the certificate and the key of ``ADDRESS,CERT,KEY``, ``NAME CERT,KEY`` or ``addr=…,cert=…,key=…``."""
    if key == "https2":
        pairs = dict(part.partition("=")[::2] for part in value.split(","))
        return [path for name in ("cert", "crt", "key") if (path := pairs.get(name, "").strip())]
    parts = value.partition(" ")[2].split(",") if key == "sni" else value.split(",")[1:]
    return [path.strip() for path in parts[:2] if path.strip()]
