"""What all monitors have in common: the question they answer and the form of the answer."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bridge.diagnostics import Diagnostic
from bridge.host.links import link_owners
from bridge.model.unit_names import UNIT_NAME_MAX, EscapeError
from bridge.model.vassal import CONFIG_OPTIONS, Owner, Vassal, option_for
from bridge.vassals.guard import internal_problem, is_unexpected

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from bridge.config.settings import Settings
    from bridge.host.path_watch import WatchList

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class ForeignLinkError(Exception):
    """A symlink of somebody who does not own the config that it leads to. The message is for admins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The vassals a monitor knows now, and the entries that it had to reject."""

    monitor: str
    """The monitor's id."""
    vassals: tuple[Vassal, ...] = ()
    rejected: frozenset[str] = frozenset()
    """Keys of entries that cannot be a vassal as they are now. What ran for them goes on."""
    diagnostics: tuple[Diagnostic, ...] = ()
    complete: bool = True
    """False: the monitor could not be asked, so a vassal missing here is not a vassal gone."""


class Monitor(Protocol):
    """A source of vassals. It is opened once, for a run or for the daemon's life."""

    @property
    def id(self) -> str:
        """What tells the monitor from all others. It stands in unit files and messages, and holds no secret."""

    @property
    def mirror(self) -> str:
        """The folder that is kept for it; empty if there is none."""

    def report(self, only: Collection[str] | None = None) -> Report:
        """Ask once, about all vassals or about those with ``only`` these keys. What goes wrong is in the report."""

    def keys(self) -> list[str] | None:
        """Return the keys of what may be its vassals, by their names alone. None: it cannot be asked."""

    def key_at(self, path: str) -> str | None:
        """Return the key of the vassal whose config is, or would be, the file at ``path``. None: no vassal's."""

    def holds(self, path: str) -> bool:
        """Tell whether the path is in a folder in which this monitor looks for configs."""

    def watch(self, watch_list: WatchList) -> None:
        """Enter the places where a change can alter the next report."""

    def settle(self, has_units: Callable[[str], bool]) -> None:
        """Take note that a run has ended; ``has_units`` tells by key whether a vassal may have units now."""

    def close(self) -> None:
        """Give up what the monitor holds open."""


class FileMonitor:
    """What the monitors of files share: a vassal is a config file, known by its name."""

    mirror = ""

    def __init__(self, monitor_id: str, settings: Settings) -> None:
        self.id = monitor_id
        self._settings = settings

    def settle(self, has_units: Callable[[str], bool]) -> None:
        """Keep nothing for vassals that are gone."""

    def close(self) -> None:
        """Hold nothing open."""

    def keys(self) -> list[str] | None:
        """List the files whose names are a config's."""
        extra = self._settings.emperor_extra_extension
        try:
            return [self._key(path) for path in self._list() if option_for(path, extra)]
        except OSError:
            return None

    def key_at(self, path: str) -> str | None:
        """Return the key of a config at this path, if its name is a config's and the monitor would find it."""
        is_named = option_for(path, self._settings.emperor_extra_extension) is not None
        return self._key(path) if is_named and self._finds(path) else None

    def _key(self, path: str) -> str:
        return f"{self.id}:{self._name(path)}"

    def _name(self, path: str) -> str:
        raise NotImplementedError

    def _list(self) -> list[str]:
        raise NotImplementedError

    def _finds(self, path: str) -> bool:
        raise NotImplementedError

    def _vassal(self, path: str, owner: Owner) -> Vassal:
        raise NotImplementedError

    def _found(self, only: Collection[str] | None) -> list[str]:
        """Return the paths of all configs, or of those with these keys that exist.

        Raises:
            OSError: the folder cannot be read.
        """
        if only is None:
            return self._list()
        prefix = f"{self.id}:"
        paths = (self._path(key.removeprefix(prefix)) for key in only if key.startswith(prefix))
        return sorted(path for path in paths if self._finds(path) and is_there(path))

    def _path(self, name: str) -> str:
        raise NotImplementedError

    def _collect(self, paths: Iterable[str]) -> Report:
        """Build the report from the paths that were found.

        A path is taken as the Emperor takes it (``uwsgi_emperor_is_valid``): by its extension, and if it is a regular
        file once symlinks are followed. Where the Emperor is silent about what is not, a diagnostic says so.
        """
        found = {path: self._examine(path) for path in paths}
        problems = {path: one for path, one in found.items() if isinstance(one, Diagnostic)}
        return Report(
            monitor=self.id,
            vassals=tuple(one for one in found.values() if isinstance(one, Vassal)),
            rejected=frozenset(map(self._key, problems)),
            diagnostics=tuple(self._about(path, problem) for path, problem in problems.items()),
        )

    def _examine(self, path: str) -> Vassal | Diagnostic | None:
        try:
            return examine(path, self._vassal, self._settings)
        except Exception as error:
            if not is_unexpected(error):
                raise
            return internal_problem(error, path)

    def _about(self, path: str, problem: Diagnostic) -> Diagnostic:
        from dataclasses import replace

        return replace(problem, key=self._key(path), vassal=self._name(path), owner=_owner_of(path))


def examine(config: str, vassal_of: Callable[[str, Owner], Vassal], settings: Settings) -> Vassal | Diagnostic | None:
    """Decide what one path is: a vassal, a problem, or nothing that concerns the bridge."""
    name = config.rpartition("/")[2]
    if not option_for(name, settings.emperor_extra_extension):
        return None
    try:
        info = os.stat(config)
        entry = os.lstat(config) if settings.emperor_tyrant_nofollow else info
    except OSError as error:
        # Emacs marks a file that is being edited with a dangling symlink of this name.
        return None if name.startswith(".#") else _vanished(config, error)
    if not stat.S_ISREG(info.st_mode):
        return _problem("config-irregular", config, "it is not a regular file, so it is no config", "move it away")
    try:
        _check_path(config)
        if settings.emperor_tyrant and not settings.emperor_tyrant_nofollow:
            _check_links(config, info.st_uid)
        vassal = vassal_of(config, Owner(entry.st_uid, entry.st_gid))
        if ":" in vassal.name:
            raise EscapeError("it has a ':', and uWSGI reads what follows that as the name of a section")
        if (size := len(vassal.service)) > UNIT_NAME_MAX:
            raise EscapeError(f"the name of its unit would have {size} bytes, systemd allows {UNIT_NAME_MAX}")
    except ForeignLinkError as error:
        return _problem("link-owner", config, str(error), "the owner of the config, or root, must make the symlink")
    except EscapeError as error:
        return _problem("vassal-name", config, f"the file's name cannot be used: {error}", "rename it")
    return vassal


def _check_links(config: str, owner: int) -> None:
    """Refuse a neighbour's symlink: in tyrant mode it would run the owner's config at the neighbour's command."""
    if uids := link_owners(config) - {0, owner}:
        raise ForeignLinkError(f"uid {min(uids)} made a symlink that leads to it, and it belongs to uid {owner}")


def _owner_of(path: str) -> int | None:
    try:
        return os.lstat(path).st_uid
    except OSError:
        return None


def is_there(path: str) -> bool:
    """Tell whether a path exists; what cannot be examined, as on a network file system that is down, may exist."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _check_path(config: str) -> None:
    folder, _, name = config.rpartition("/")
    try:
        config.encode()
    except UnicodeEncodeError:
        raise EscapeError("it is not valid UTF-8, and systemd accepts nothing else") from None
    if name in CONFIG_OPTIONS:
        raise EscapeError("it has no name before its extension, and a unit needs one")
    if _CONTROL.search(folder):
        raise EscapeError("its folder has a control character, which a unit file cannot hold")


def _vanished(config: str, error: OSError) -> Diagnostic:
    return _problem(
        "config-vanished",
        config,
        f"the config cannot be read: {error.strerror}",
        "mend or remove it; what it ran before goes on",
    )


def _problem(code: str, path: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic(code=code, path=path, config=path, message=message, hint=hint)
