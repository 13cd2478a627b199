"""Load the configuration: the command line's options, bridge.toml and an Emperor's own config, put together."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.config.paths import Paths, make_paths
from bridge.config.settings import Settings, merge, read_toml
from bridge.diagnostics import BridgeError, Diagnostic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.config.emperor_ini import EmperorIni

USUAL_EMPEROR_INIS = ("/etc/uwsgi-emperor/emperor.ini", "/etc/uwsgi.ini", "/etc/uwsgi/emperor.ini")
"""Where Debian, Fedora and uWSGI's documentation keep an Emperor's config. Read if nothing else names vassals."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class Invocation:
    """The configuration that one command works with."""

    paths: Paths
    settings: Settings
    configuration: tuple[str, ...]
    """The files that the settings come from, or will come from once they exist."""
    emperor_ini: EmperorIni | None = None
    """What was read from an Emperor's config, if one was."""
    found_ini: str | None = None
    """The path of that config, if nothing named it and it was found in a usual place."""

    @property
    def notices(self) -> tuple[Diagnostic, ...]:
        """Return a warning for each option of the Emperor's config that has no effect here."""
        return self.emperor_ini.notices if self.emperor_ini else ()

    @property
    def brief_notices(self) -> tuple[Diagnostic, ...]:
        """Return the same warnings, with one for all options of a file that never have an effect here."""
        return self.emperor_ini.brief_notices if self.emperor_ini else ()


def load_invocation(
    given: Mapping[str, Any], *, needs_vassals: bool = True, looks_for_emperor: bool = True, is_removal: bool = False
) -> Invocation:
    """Load the configuration from the command line's options and the files that they or the usual places name.

    Args:
        given: the options, by the names of their fields.
        needs_vassals: whether a configuration that does not say where the vassals are is an error.
        looks_for_emperor: whether to read an Emperor's config in a usual place if nothing else names vassals.
        is_removal: whether the bridge.toml may be gone: what was made under it can be removed all the same.

    Raises:
        BridgeError: a configuration file cannot be used, or nothing says where the vassals are.
    """
    given = dict(given)
    paths = make_paths(user=given.pop("user"), runtime=given.pop("runtime"))
    config, ini = given.pop("config"), given.pop("emperor_ini")
    layers = [given]
    if config:
        paths = paths.for_configuration(config)
    path = config or paths.config
    if (config and not is_removal) or _may_exist(path):
        from pathlib import Path

        values, its_ini = read_toml(Path(path))
        layers.append(values)
        ini = ini or its_ini
    found = None
    if looks_for_emperor and not ini and not paths.user_manager and not any(map(_names_sources, layers)):
        found = next((usual for usual in USUAL_EMPEROR_INIS if _may_exist(usual)), None)
    emperor_ini = None
    if named := ini or found:
        from bridge.config.emperor_ini import read_emperor_ini

        emperor_ini = read_emperor_ini(named)
        layers.append(emperor_ini.values)
    settings = merge(layers)
    if needs_vassals and not (settings.emperor or settings.monitor):
        problem = Diagnostic(
            code="no-vassals",
            message="nothing says where the vassals are",
            hint=f'give --emperor DIRECTORY, or write emperor = "DIRECTORY" into {path}',
        )
        raise BridgeError(problem, *(emperor_ini.doubtful if emperor_ini else ()))
    files = (path, *((emperor_ini.path,) if emperor_ini else ()), *paths.templates[:-1])
    return Invocation(
        paths=paths,
        settings=settings,
        configuration=tuple(os.path.abspath(file) for file in files),
        emperor_ini=emperor_ini,
        found_ini=found,
    )


def _names_sources(layer: Mapping[str, Any]) -> bool:
    return bool(layer.get("emperor") or layer.get("monitor"))


def _may_exist(path: str) -> bool:
    try:
        os.stat(path)
    except PermissionError:
        # The attempt to read it reports this.
        return True
    except (OSError, ValueError):
        return False
    return True
