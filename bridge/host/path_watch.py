"""Which folders to watch, and for which names, to notice every change of given paths.

A path changes if any of its folders is renamed, a symlink in it gets another target, or its file appears. So each
folder is watched for the name of the next step. The module is pure: ``readlink`` is a parameter.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.host.links import EndlessPathError, PathWalk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

EVERYTHING = "*"
"""Instead of a name: all names in a folder."""
FILES = "*/"
"""The same, where no folder that appears matters: nothing in it would be found."""


class WatchList:
    """Collects the names to watch in each folder, by the folder's path without symlinks.

    Of a path that leads through too many links or folders, only the beginning is watched: no file is there, and a
    change of a link on the way is noticed.
    """

    def __init__(self, readlink: Callable[[str], str | None]) -> None:
        """``readlink`` returns a symlink's target, or None for anything else."""
        self.names: dict[str, set[str]] = {}
        self._walk = PathWalk(readlink, self._enter)

    def file(self, path: str) -> None:
        """Watch a file, whether it exists or not."""
        with suppress(EndlessPathError):
            self._walk.to(path)

    def forget(self, path: str) -> None:
        """Stop watching a file."""
        folder, _, name = path.rpartition("/")
        if (real := self._walk.place_of(folder)) is not None:
            self.names.get(real, set()).discard(name)

    def contents(self, path: str) -> None:
        """Watch all files of a folder, whether it exists or not."""
        self.names.setdefault(self.folder(path), set()).add(EVERYTHING)

    def files(self, path: str) -> None:
        """Watch all files of a folder, and nothing in folders inside of it."""
        self.names.setdefault(self.folder(path), set()).add(FILES)

    def folder(self, path: str) -> str:
        """Watch the path of a folder; return that path without symlinks."""
        try:
            return self._walk.to(path)
        except EndlessPathError:
            return path

    def _enter(self, folder: str, name: str) -> None:
        self.names.setdefault(folder, set()).add(name)


def of_interest(names: Iterable[str], name: str) -> bool:
    """Tell whether ``name`` is watched in a folder that is watched for ``names``."""
    return name in names or EVERYTHING in names or FILES in names


def leads_on(names: Iterable[str], name: str) -> bool:
    """Tell whether a folder of this name may have in it what is watched, so that its coming or going matters."""
    return name in names or EVERYTHING in names
