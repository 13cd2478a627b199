"""What all monitors have in common: the question they answer and the form of the answer."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bridge.diagnostics import Diagnostic
from bridge.model.unit_names import UNIT_NAME_MAX, EscapeError
from bridge.model.vassal import CONFIG_OPTIONS, Owner, option_for

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from bridge.config.settings import Settings
    from bridge.host.path_watch import WatchList
    from bridge.model.vassal import Vassal


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The vassals a monitor knows now, and those it had to turn away."""

    monitor: str
    """The monitor's spec with its scheme; the mark of the units made for it."""
    vassals: tuple[Vassal, ...] = ()
    refused: tuple[str, ...] = ()
    """Config paths that are there but cannot be a vassal now: what ran for them goes on."""
    diagnostics: tuple[Diagnostic, ...] = ()
    complete: bool = True
    """False: the monitor could not be asked, so a vassal missing here is not a vassal gone."""


class Monitor(Protocol):
    """A source of vassals."""

    @property
    def spec(self) -> str:
        """The monitor's spec, always with its scheme."""

    def report(self, only: Collection[str] | None = None) -> Report:
        """Ask once, about all vassals or ``only`` these configs; what goes wrong is in the report."""

    def covers(self, config: str) -> bool:
        """Tell whether the path, were a config there, would be a vassal of this monitor."""

    def holds(self, path: str) -> bool:
        """Tell whether the path is in a folder in which this monitor looks for configs."""

    def configs(self) -> list[str] | None:
        """Return the paths of what may be its vassals, by their names alone; None if it cannot be asked."""

    def watch_list(self, watch_list: WatchList) -> None:
        """Name the places where a change can make the next report another one."""


def collect(
    monitor: str, configs: Iterable[str], vassal_of: Callable[[str, Owner], Vassal], settings: Settings
) -> Report:
    """Build the report of a file-based monitor from the paths it found.

    A path is taken as the Emperor takes it (``uwsgi_emperor_is_valid``): by its extension, and if it is a regular file
    once symlinks are followed. Where the Emperor passes over what is not, in silence, here it is said.
    """
    found = {config: examine(config, vassal_of, settings) for config in configs}
    problems = [one for one in found.values() if isinstance(one, Diagnostic)]
    return Report(
        monitor=monitor,
        vassals=tuple(one for one in found.values() if one is not None and not isinstance(one, Diagnostic)),
        refused=tuple(problem.path for problem in problems if problem.path),
        diagnostics=tuple(problems),
    )


def examine(config: str, vassal_of: Callable[[str, Owner], Vassal], settings: Settings) -> Vassal | Diagnostic | None:
    """Decide what one path is: a vassal, something to complain about, or none of our business."""
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
        vassal = vassal_of(config, Owner(entry.st_uid, entry.st_gid))
        if ":" in vassal.name:
            raise EscapeError("it has a ':', and uWSGI reads what follows that as the name of a section")
        if (size := len(vassal.service)) > UNIT_NAME_MAX:
            raise EscapeError(f"the name of its unit would have {size} bytes, systemd allows {UNIT_NAME_MAX}")
    except EscapeError as error:
        return _problem("vassal-name", config, f"the file's name cannot be used: {error}", "rename it")
    return vassal


def _check_path(config: str) -> None:
    folder, _, name = config.rpartition("/")
    try:
        config.encode()
    except UnicodeEncodeError:
        raise EscapeError("it is not valid UTF-8, and systemd accepts nothing else") from None
    if name in CONFIG_OPTIONS:
        raise EscapeError("it has no name before its extension, and a unit needs one")
    if any(ord(c) < ord(" ") or c == "\x7f" for c in folder):
        raise EscapeError("its folder has a control character, which a unit file cannot hold")


def _vanished(config: str, error: OSError) -> Diagnostic:
    return _problem(
        "config-vanished",
        config,
        f"the config cannot be looked at: {error.strerror}",
        "mend or remove it; what it ran before goes on",
    )


def _problem(code: str, path: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic(code=code, path=path, config=path, message=message, hint=hint)
