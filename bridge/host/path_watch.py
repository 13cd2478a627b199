"""Which folders to watch, and for which names, to notice every change of given paths.

A path changes if any of its folders is renamed, a symlink in it gets another target, or its file appears. So each
folder is watched for the name of the next step. The module is pure: ``readlink`` is a parameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MAX_LINKS = 40
"""Symlinks the kernel follows in one path (path_resolution(7))."""

EVERYTHING = "*"
"""Instead of a name: all names in a folder."""


class WatchList:
    """Collects the names to watch in each folder, by the folder's path without symlinks."""

    def __init__(self, readlink: Callable[[str], str | None]) -> None:
        """``readlink`` returns a symlink's target, or None for anything else."""
        self._readlink = readlink
        self._known: dict[str, str] = {"/": "/"}
        self.names: dict[str, set[str]] = {}

    def file(self, path: str) -> None:
        """Watch a file, whether it exists or not."""
        folder, _, name = path.rpartition("/")
        self._enter(self.folder(folder or "/"), name, _MAX_LINKS)

    def forget(self, path: str) -> None:
        """Stop watching a file."""
        folder, _, name = path.rpartition("/")
        if (real := self._known.get(folder or "/")) is not None:
            self.names.get(real, set()).discard(name)

    def contents(self, path: str) -> None:
        """Watch all files of a folder, whether it exists or not."""
        self.names.setdefault(self.folder(path), set()).add(EVERYTHING)

    def folder(self, path: str) -> str:
        """Watch the path of a folder; return that path without symlinks."""
        return self._walk(path, _MAX_LINKS)

    def _walk(self, path: str, links: int) -> str:
        if (real := self._known.get(path)) is not None:
            return real
        parent, _, name = path.rstrip("/").rpartition("/")
        real = self._enter(self._walk(parent or "/", links), name, links)
        self._known[path] = real
        return real

    def _enter(self, folder: str, name: str, links: int) -> str:
        if name in {"", "."}:
            return folder
        if name == "..":
            return folder.rpartition("/")[0] or "/"
        self.names.setdefault(folder, set()).add(name)
        path = f"{folder.rstrip('/')}/{name}"
        target = self._readlink(path) if links else None
        if target is None:
            return path
        start = "/" if target.startswith("/") else folder
        for step in target.split("/"):
            start = self._enter(start, step, links - 1)
        return start


def of_interest(names: Iterable[str], name: str) -> bool:
    """Tell whether ``name`` is watched in a folder that is watched for ``names``."""
    return name in names or EVERYTHING in names
