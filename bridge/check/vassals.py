"""Checks vassals one by one, in parts that different processes can do."""

from __future__ import annotations

import glob
import os
import re
from contextlib import suppress
from functools import partial, reduce
from operator import add
from typing import TYPE_CHECKING, NamedTuple

from bridge.check.known_options import KnownOptions
from bridge.check.limits import Load, find_limits, find_long_queues, read_limits
from bridge.check.lint import (
    by_collision,
    find_misspelt,
    find_open_config,
    find_other_protocol,
    find_pidfile_clashes,
    find_pidfiles,
    find_removed_folders,
    lint,
)
from bridge.check.mirrors import find_magic
from bridge.check.missing_files import find_missing_files
from bridge.check.nginx import CONFIGS, find_passes
from bridge.check.obstacles import Obstacles
from bridge.check.reload import find_reload_hazard
from bridge.diagnostics import errors
from bridge.host.files import read_text
from bridge.host.listeners import make_canonical_address
from bridge.host.users import spellings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bridge.config.paths import Paths
    from bridge.diagnostics import Diagnostic
    from bridge.model.vassal import ResolvedVassal, Vassal
    from bridge.reconcile.desired import Desired
    from bridge.uwsgi.options import Config, Option
    from bridge.vassals.spawn import SpawnDefaults

_RUNTIME = re.compile(r"^RuntimeDirectory=(?P<names>.+)$", re.MULTILINE)
_KEPT = re.compile(r"^RuntimeDirectoryPreserve=(yes|true|1|on)\s*$", re.MULTILINE)


class Found(NamedTuple):
    """What there is to say of vassals, and what must be put together with that of others."""

    problems: list[Diagnostic]
    pidfiles: dict[str, list[tuple[Vassal, Option]]]
    load: Load


def check_vassals(desired: Desired, defaults: SpawnDefaults, paths: Paths) -> Found:
    """Check the vassals' configs, also those of rejected vassals.

    nginx's files and the unit files are read once for all vassals.
    """
    served = [(one, desired.configs[one.vassal.key]) for one in desired.resolved]
    read = served + [(one, desired.configs[one.vassal.key]) for one in desired.drafts]
    return Found(list(_check(desired, read, defaults, paths)), find_pidfiles(read), Load.of(served))


def put_together(*found: Found) -> list[Diagnostic]:
    """Return what there is to say of all these vassals."""
    problems = [problem for one in found for problem in one.problems]
    pidfiles: dict[str, list[tuple[Vassal, Option]]] = {}
    for one in found:
        for path, writers in one.pidfiles.items():
            pidfiles.setdefault(path, []).extend(writers)
    load = reduce(add, (one.load for one in found))
    return [*problems, *find_pidfile_clashes(pidfiles), *find_limits(load, read_limits())]


def _check(
    desired: Desired, read: Sequence[tuple[ResolvedVassal, Config]], defaults: SpawnDefaults, paths: Paths
) -> Iterator[Diagnostic]:
    directories = _runtime_directories(paths)
    nginx = {path: read_text(path) for path in sorted(path for pattern in CONFIGS for path in glob.glob(pattern))}
    passes = by_collision(find_passes(nginx), make_canonical_address())
    # A wrapper is not uWSGI: it may not know --help, and might start something.
    options = KnownOptions("" if defaults.settings.emperor_wrapper else defaults.program)
    obstacles = Obstacles(paths.unit_path, of_many=True)
    # An option that has a vassal refused needs no warning beside that.
    refused = {(problem.key, problem.path, problem.line) for problem in errors(desired.diagnostics) if problem.line}
    for one, config in read:
        yield from (w for w in lint(one, config, spellings) if (w.key, w.path, w.line) not in refused)
        yield from find_removed_folders(one, directories)
        yield from find_reload_hazard(one)
        yield from find_magic(one.vassal)
        yield from find_other_protocol(one, config, passes)
        for obstacle in obstacles.of(one.vassal.service, drop_ins_only=True):
            yield obstacle.problem(one.vassal)
        if one.spawn.tenant is not None:
            yield from find_open_config(one.vassal, _modes(one.vassal.config.path))
        if known := options.known(config):
            yield from find_misspelt(one.vassal, config, known, partial(_texts, one.sources))
    yield from find_missing_files(read, options.plugin_folder, user_manager=paths.user_manager)
    yield from find_long_queues(read, read_limits())


def _runtime_directories(paths: Paths) -> dict[str, str]:
    """Return by folder in /run the unit with which systemd removes it (``RuntimeDirectory=``)."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    for folder in paths.unit_path:
        for path in sorted(glob.glob(f"{glob.escape(folder)}/*.service")):
            unit = os.path.basename(path)
            if unit in seen or unit.startswith("vassal-"):
                continue
            seen.add(unit)
            text = read_text(path)
            if "RuntimeDirectory=" in text and not _KEPT.search(text):
                names = [name for line in _RUNTIME.findall(text) for name in line.split()]
                found |= {f"/run/{name}": unit for name in names}
    return found


def _modes(config: str) -> dict[str, int]:
    modes = {}
    for path in (config, os.path.dirname(config)):
        with suppress(OSError):
            modes[path] = os.stat(path).st_mode
    return modes


def _texts(paths: Sequence[str]) -> str:
    return "".join(map(read_text, paths))
