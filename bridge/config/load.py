"""What every command of the command line has in common: the options, and what follows from them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.config.paths import Paths, make_paths
from bridge.config.settings import Settings, merge, read_toml
from bridge.diagnostics import BridgeError, Diagnostic

if TYPE_CHECKING:
    from collections.abc import Mapping


PLACES = ("/etc/uwsgi-emperor/emperor.ini", "/etc/uwsgi.ini", "/etc/uwsgi/emperor.ini")
"""Where Debian, Fedora and uWSGI's documentation keep an Emperor's config; read if nothing else names vassals."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Invocation:
    """What a command was called to work with."""

    paths: Paths
    settings: Settings
    configuration: tuple[str, ...]
    """The files the settings came from, or might come from once they are there."""
    notices: tuple[Diagnostic, ...] = ()
    """What of the configuration has no effect."""


def resolve(given: Mapping[str, Any], *, needs_vassals: bool = True, looks_for_emperor: bool = True) -> Invocation:
    """Make sense of the options given; ``looks_for_emperor`` in the usual places if they name no vassals.

    Raises:
        BridgeError: a configuration file cannot be used, or nothing says where the vassals are.
    """
    given = dict(given)
    paths = make_paths(user=given.pop("user"), runtime=given.pop("runtime"))
    config, ini = given.pop("config"), given.pop("emperor_ini")
    layers = [given]
    path = Path(config or paths.config)
    if config or _may_be_there(path):
        values, its_ini = read_toml(path)
        layers.append(values)
        ini = ini or its_ini
    if looks_for_emperor and not ini and not paths.user_manager and not any(layer.get("emperor") for layer in layers):
        ini = next((place for place in PLACES if _may_be_there(Path(place))), None)
    notices: tuple[Diagnostic, ...] = ()
    if ini:
        from bridge.config.emperor_ini import read_emperor_ini

        found = read_emperor_ini(ini)
        layers.append(found.values)
        notices = found.notices
    settings = merge(layers)
    if needs_vassals and not settings.emperor:
        raise BridgeError(
            Diagnostic(
                code="no-vassals",
                message="it is not said where the vassals are",
                hint=f'give --emperor DIRECTORY, or write emperor = "DIRECTORY" into {paths.config}',
            )
        )
    files = (str(path), *((ini,) if ini else ()), *paths.templates[:-1])
    return Invocation(
        paths=paths,
        settings=settings,
        configuration=tuple(os.path.abspath(file) for file in files),
        notices=notices,
    )


def _may_be_there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        # Reading it will say so.
        return True
