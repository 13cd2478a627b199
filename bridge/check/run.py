"""Runs the checks of ``check`` that go beyond planning: on the configs and on the machine around them."""

from __future__ import annotations

import glob
import os
import re
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from bridge.check.known_options import KnownOptions
from bridge.check.limits import find_limits, read_limits
from bridge.check.lint import (
    by_collision,
    find_misspelt,
    find_open_config,
    find_other_protocol,
    find_pidfile_clashes,
    find_removed_folders,
    lint,
)
from bridge.check.nginx import CONFIGS, find_passes
from bridge.check.obstacles import Obstacles
from bridge.check.reload import find_reload_hazard
from bridge.host.files import read_text
from bridge.host.listeners import make_canonical_address
from bridge.host.users import spellings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bridge.config.paths import Paths
    from bridge.diagnostics import Diagnostic
    from bridge.model.vassal import ResolvedVassal
    from bridge.uwsgi.options import Config
    from bridge.vassals.spawn import SpawnDefaults

_RUNTIME = re.compile(r"^RuntimeDirectory=(?P<names>.+)$", re.MULTILINE)
_KEPT = re.compile(r"^RuntimeDirectoryPreserve=(yes|true|1|on)\s*$", re.MULTILINE)


def check_vassals(
    resolved: Sequence[ResolvedVassal], configs: Mapping[str, Config], defaults: SpawnDefaults, paths: Paths
) -> Iterator[Diagnostic]:
    """Yield the warnings on the vassals' configs; nginx's files and the unit files are read once for all vassals."""
    directories = _runtime_directories(paths)
    nginx = {path: read_text(path) for path in sorted(path for pattern in CONFIGS for path in glob.glob(pattern))}
    passes = by_collision(find_passes(nginx), make_canonical_address())
    read = [(one, configs[one.vassal.key]) for one in resolved]
    # A wrapper is not uWSGI: it may not know --help, and might start something.
    options = KnownOptions("" if defaults.settings.emperor_wrapper else defaults.program)
    obstacles = Obstacles(paths.unit_path, of_many=True)
    for one, config in read:
        yield from lint(one, config, spellings)
        yield from find_removed_folders(one, directories)
        yield from find_reload_hazard(one)
        yield from find_other_protocol(one, config, passes)
        for obstacle in obstacles.of(one.vassal.service, drop_ins_only=True):
            yield obstacle.problem(one.vassal)
        if one.spawn.tenant is not None:
            yield from find_open_config(one.vassal, _modes(one.vassal.config.path))
        if known := options.known(config):
            yield from find_misspelt(one.vassal, config, known, partial(_texts, one.sources))
    yield from find_pidfile_clashes(read)
    yield from find_limits(read, read_limits())


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
            if not _KEPT.search(text):
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
