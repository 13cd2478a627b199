"""Symlinks: where they lead, step by step, and never further than the kernel would follow them.

A tenant can make links that lead into each other, so that a naive walk takes ages. So each walk has bounds.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Readlink = Callable[[str], str | None]
    """Returns a symlink's target, or None for anything else."""
    Visit = Callable[[str, str], None]
    """Called with a folder, by its path without symlinks, and the name that the walk takes in it."""

MAX_LINKS = 40
"""Symlinks the kernel follows in one path, those inside of symlinks included (path_resolution(7))."""
MAX_STEPS = 256
"""Steps of a walk for one path: the targets of forty links can have tens of thousands."""


class EndlessPathError(OSError):
    """A path with more links or steps than a walk follows."""


class PathWalk:
    """Finds paths without symlinks. A folder that many paths have in common is walked once."""

    def __init__(self, readlink: Readlink, visit: Visit = lambda _folder, _name: None) -> None:
        self._readlink = readlink
        self._visit = visit
        self._known: dict[str, tuple[str, int, int] | EndlessPathError] = {}
        """The path without symlinks of each folder, and the links and steps on the way to it; or why it has none."""

    def to(self, path: str) -> str:
        """Return an absolute path without symlinks; what does not exist on the way stays as it is written.

        Raises:
            EndlessPathError: the kernel would not follow it, or it is too long.
        """
        folder, _, name = path.rpartition("/")
        if (known := self._known.get(folder)) is None:
            try:
                known = self._walk("/", folder, 0, 0)
            except EndlessPathError as error:
                known = error
            self._known[folder] = known
        if isinstance(known, EndlessPathError):
            raise EndlessPathError(*known.args)
        return self._walk(known[0], name, *known[1:])[0]

    def place_of(self, folder: str) -> str | None:
        """Return where a folder is, if :meth:`to` has come through it already."""
        known = self._known.get(folder)
        return known[0] if isinstance(known, tuple) else None

    def _walk(self, start: str, path: str, links: int, steps: int) -> tuple[str, int, int]:
        at = start
        todo = path.split("/")[::-1]
        while todo:
            name = todo.pop()
            if name in {"", "."}:
                continue
            if name == "..":
                at = at.rpartition("/")[0] or "/"
                continue
            steps += 1
            if steps > MAX_STEPS:
                raise EndlessPathError(f"it leads through more than {MAX_STEPS} steps")
            self._visit(at, name)
            whole = f"{at.rstrip('/')}/{name}"
            if (target := self._readlink(whole)) is None:
                at = whole
                continue
            links += 1
            if links > MAX_LINKS:
                raise EndlessPathError(f"it leads through more than {MAX_LINKS} symlinks")
            at = "/" if target.startswith("/") else at
            todo += target.split("/")[::-1]
        return at, links, steps


def readlink(path: str) -> str | None:
    """Return a symlink's target, or None for anything else, and for what cannot be read."""
    try:
        return os.readlink(path)
    except (OSError, ValueError):
        return None


def make_real_path() -> Callable[[str], str]:
    """Return a function that resolves symlinks as ``os.path.realpath`` does, but within the bounds of a walk.

    A path beyond them stays as it is written: nobody can open it either.
    """
    walk = PathWalk(readlink)

    def real_path(path: str) -> str:
        try:
            return walk.to(path)
        except EndlessPathError:
            return path

    return real_path


def link_owners(path: str) -> frozenset[int]:
    """Return the owners of all symlinks on the way to a file, itself and its folders included."""
    owners: set[int] = set()

    def noted(step: str) -> str | None:
        if (target := readlink(step)) is not None:
            with suppress(OSError):
                owners.add(os.lstat(step).st_uid)
        return target

    # A path beyond the bounds cannot be opened.
    with suppress(EndlessPathError):
        PathWalk(noted).to(path)
    return frozenset(owners)


def link_targets(path: str) -> tuple[str, ...]:
    """Return the files that a symlink at ``path`` leads to, one for each link on the way; empty if it is none.

    Only the last step of each path is followed: folders that are symlinks stay as they are written.
    """
    found: list[str] = []
    for _ in range(MAX_LINKS):
        if (target := readlink(path)) is None:
            break
        path = os.path.normpath(os.path.join(os.path.dirname(path), target))
        found.append(path)
    return tuple(found)


def changed_at(path: str) -> int:
    """Return when a file, or a symlink that leads to it, last changed.

    Every change and every touch sets the ctime, and nobody can set it to a day to come.

    Raises:
        OSError: it cannot be reached.
    """
    links = []

    def noted(step: str) -> str | None:
        if (target := readlink(step)) is not None:
            links.append(step)
        return target

    with suppress(EndlessPathError):
        PathWalk(noted).to(path)
    return max(os.stat(path).st_ctime_ns, *(os.lstat(link).st_ctime_ns for link in links), 0)
