"""Shell patterns as the C library's glob(3) takes them; the Emperor calls it with each pattern (core/emperor.c).

fnmatch(3) compares names, in the C locale as in uWSGI: a ``?`` stands for one byte. Folders are read here, because
glob(3) has no bounds: whoever owns a folder could fill the memory with files, or with links that lead back. Unlike
glob(3), no step such as ``.*`` finds ``.`` and ``..``.
"""

from __future__ import annotations

import functools
import os
import re
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

MAX_PATHS = 100_000
"""Paths that one pattern finds at most."""
MAX_ENTRIES = 1_000_000
"""Entries that are read for one pattern at most."""
MAX_BRANCH_PATHS = 10_000
MAX_BRANCH_ENTRIES = 100_000
"""The same below one match of the first step with special characters: in ``/home/*/*.ini``, below one home."""
_SPECIAL = re.compile(r"[*?]|\[.*\]", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_PERIOD = 1 << 2
"""``FNM_PERIOD``: a dot at the start is matched by a dot only."""
_LC_ALL_MASK = (1 << 13) - 1 - (1 << 6)
"""``LC_ALL_MASK``, the mask of all categories (locale.h)."""


class TooManyError(OSError):
    """A pattern finds more than is read of one."""

    def __init__(self) -> None:
        super().__init__(7, "it finds too many files")


@dataclass(slots=True)
class Expansion:
    """What a pattern finds now, and where it was looked for."""

    paths: list[str] = field(default_factory=list)
    """What exists, in the order of glob(3)."""
    folders: list[str] = field(default_factory=list)
    """The folders that are read, whether they exist or not."""
    files: list[str] = field(default_factory=list)
    """Paths that the pattern asks for by name, whether they exist or not."""
    cut: list[str] = field(default_factory=list)
    """Folders below which there is more than is read."""


@dataclass(slots=True)
class _Budget:
    paths: int
    entries: int

    def spend(self, *, paths: int = 0, entries: int = 0) -> None:
        """Count what was found or read.

        Raises:
            TooManyError: it is more than the budget.
        """
        self.paths -= paths
        self.entries -= entries
        if self.paths < 0 or self.entries < 0:
            raise TooManyError


def is_special(pattern: str) -> bool:
    """Tell whether a pattern, or one step of it, has special characters that are not escaped."""
    return any(_SPECIAL.search(_ESCAPED.sub("", step)) for step in pattern.split("/"))


def escape(path: str) -> str:
    """Return the pattern that matches this path only."""
    return re.sub(r"([*?\[\\])", r"\\\1", path)


def match(path: str, pattern: str) -> bool:
    """Tell whether the pattern would find this path, if it existed."""
    return _all_fit(path.split("/"), _steps(pattern))


def match_folder(path: str, pattern: str) -> bool:
    """Tell whether the path is in a folder in which the pattern would look for its last step."""
    return _all_fit(path.split("/")[:-1], _steps(pattern)[:-1])


def _all_fit(names: Sequence[str], steps: Sequence[str]) -> bool:
    if len(names) != len(steps):
        return False
    with _matcher(*steps) as fnmatch:
        return all(_fits(name, step, fnmatch) for name, step in zip(names, steps, strict=True))


def first_folder(pattern: str) -> str:
    """Return the folder in which an absolute pattern begins: its steps before the first special character."""
    fixed: list[str] = []
    for step in _steps(pattern)[:-1]:
        if is_special(step) or (name := _unescaped(step)) is None:
            break
        fixed.append(name)
    return "/".join(fixed) + "/"


def expand(pattern: str) -> Expansion:
    """Return what an absolute pattern finds. A pattern that matches nothing is taken as a path (``GLOB_NOCHECK``).

    Folders that cannot be read have nothing in them.

    Raises:
        TooManyError: it finds too many, and this is not the fault of a single branch.
    """
    found = Expansion()
    with _matcher(pattern) as fnmatch:
        _Walk(found, fnmatch, pattern).run()
    if not found.paths and pattern != _unescaped(pattern):
        found.files.append(pattern)
    if not found.paths and os.path.lexists(pattern):
        found.paths.append(pattern)
    found.paths.sort(key=os.fsencode)
    return found


class _Walk:
    """Goes through the folders of one pattern, step by step."""

    def __init__(self, found: Expansion, fnmatch: Callable[[bytes, bytes], bool], pattern: str) -> None:
        self._found = found
        self._fnmatch = fnmatch
        self._steps = _steps(pattern)
        self._total = _Budget(MAX_PATHS, MAX_ENTRIES)

    def run(self) -> None:
        """Find all paths."""
        first = next((at for at, step in enumerate(self._steps) if is_special(step)), None)
        if first is None or first == len(self._steps) - 1:
            for path in self._below("", 1, self._total):
                self._take(path, self._total)
            return
        for branch in self._below("", 1, self._total, stop=first + 1):
            budget = _Budget(MAX_BRANCH_PATHS, MAX_BRANCH_ENTRIES)
            try:
                for path in self._below(branch, first + 1, budget):
                    self._take(path, budget)
            except TooManyError:
                self._found.cut.append(branch)

    def _take(self, path: str, budget: _Budget) -> None:
        budget.spend(paths=1)
        if budget is not self._total:
            self._total.spend(paths=1)
        self._found.paths.append(path)

    def _below(self, folder: str, at: int, budget: _Budget, *, stop: int | None = None) -> Iterator[str]:
        """Yield what the steps from ``at`` to ``stop`` find below a folder."""
        if at == (stop or len(self._steps)):
            yield folder
            return
        step = self._steps[at]
        is_last = at == len(self._steps) - 1
        if is_special(step):
            names = self._matches(folder, step, budget)
        else:
            names = [name] if (name := _unescaped(step)) is not None else []
        for name in names:
            path = f"{folder}/{name}"
            if not is_last:
                # A step without special characters is looked up with what follows it.
                exists = not is_special(step) or os.path.isdir(path)
            elif is_special(step):
                exists = True
            else:
                self._found.files.append(path)
                exists = os.path.lexists(path)
            if exists:
                yield from self._below(path, at + 1, budget, stop=stop)

    def _matches(self, folder: str, step: str, budget: _Budget) -> list[str]:
        self._found.folders.append(folder or "/")
        names = []
        wanted = os.fsencode(step)
        try:
            with os.scandir(folder or "/") as entries:
                for entry in entries:
                    budget.spend(entries=1)
                    if self._fnmatch(wanted, os.fsencode(entry.name)):
                        names.append(entry.name)
        except TooManyError:
            raise
        except (OSError, ValueError):
            return []
        return sorted(names, key=os.fsencode)


def _steps(pattern: str) -> list[str]:
    """Split a pattern at its slashes, which even in brackets separate steps; a backslash before one has no effect."""
    *steps, last = pattern.split("/")
    return [*(step[:-1] if _ends_open(step) else step for step in steps), last]


def _ends_open(step: str) -> bool:
    """Tell whether a step ends in a backslash that escapes nothing."""
    return (len(step) - len(step.rstrip("\\"))) % 2 == 1


def _unescaped(step: str) -> str | None:
    """Return the name that a step without special characters stands for. None: it stands for nothing."""
    return None if _ends_open(step) else _ESCAPED.sub(r"\1", step)


def _fits(name: str, step: str, fnmatch: Callable[[bytes, bytes], bool]) -> bool:
    if not is_special(step):
        return name == _unescaped(step)
    return name not in {"", ".", ".."} and fnmatch(os.fsencode(step), os.fsencode(name))


def _matcher(*steps: str) -> AbstractContextManager[Callable[[bytes, bytes], bool]]:
    """Return what compares names with these steps; if none is special, nothing is ever compared."""
    return _c_locale() if any(map(is_special, steps)) else nullcontext(bytes.__eq__)


@functools.cache
def _libc() -> tuple[Any, int]:
    """Return the C library and its C locale."""
    # Imported here because it loads slowly, and a plain directory needs no pattern.
    from ctypes import CDLL, c_char_p, c_int, c_void_p

    libc = CDLL(None, use_errno=True)
    libc.newlocale.restype = libc.uselocale.restype = c_void_p
    libc.newlocale.argtypes = (c_int, c_char_p, c_void_p)
    libc.uselocale.argtypes = (c_void_p,)
    libc.fnmatch.argtypes = (c_char_p, c_char_p, c_int)
    return libc, libc.newlocale(_LC_ALL_MASK, b"C", None)


class _c_locale:  # noqa: N801 - it is used as a function
    """Compares names by fnmatch(3) in the C locale, in this thread only (uselocale(3))."""

    def __enter__(self) -> Callable[[bytes, bytes], bool]:
        libc, locale = _libc()
        self._before = libc.uselocale(locale)
        return lambda pattern, name: libc.fnmatch(pattern, name, _PERIOD) == 0

    def __exit__(self, *_error: object) -> None:
        _libc()[0].uselocale(self._before)
