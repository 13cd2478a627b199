"""Decides how systemd starts a vassal: with the Emperor's command line, user, environment and hooks.

core/emperor.c, ``uwsgi_emperor_spawn_vassal``.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic, printable
from bridge.host.users import missing_owner
from bridge.model.vassal import SpawnSpec, option_for
from bridge.records import dataclass
from bridge.vassals.tenant import start_check

if TYPE_CHECKING:
    from bridge.config.settings import Settings
    from bridge.model.vassal import Vassal

_PROGRAM = re.compile(r"/[A-Za-z0-9_/.,:=@+-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
_CAPABILITY = re.compile(r"[a-z_]+")
_FOR_VASSALS = "UWSGI_VASSAL_"
_DROP_GROUPS = ("--clear-groups", "--inh-caps=-all", "--ambient-caps=-all", "--")
"""Options of setpriv(1): systemd always gives a user its supplementary groups, and setpriv removes them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpawnDefaults:
    """The part of the command lines and environments that all vassals of a run share."""

    settings: Settings
    program: str
    """Absolute path of uWSGI or the wrapper."""
    setpriv: str = "/usr/bin/setpriv"

    @property
    def binary(self) -> str:
        """The path of uWSGI, which a wrapper may start; empty if there is none."""
        return _path(self.settings.binary_path or "uwsgi") if self.settings.emperor_wrapper else self.program

    @property
    def environment(self) -> tuple[str, ...]:
        """The environment of all vassals, as ``NAME=VALUE``."""
        return tuple(
            "UWSGI_" + one.removeprefix(_FOR_VASSALS) if one.startswith(_FOR_VASSALS) else one
            for one in self.settings.env
        )

    @property
    def before(self) -> tuple[tuple[str, str], ...]:
        """The options in front of the config on the command line; an Emperor always adds ``master``."""
        settings = self.settings
        return (
            ("master", ""),
            *(("inherit", template) for template in settings.vassals_inherit_before),
            *(("include", config) for config in settings.vassals_include_before),
            *(("set", option) for option in settings.vassals_set),
        )

    @property
    def after(self) -> tuple[tuple[str, str], ...]:
        """The options behind the config on the command line."""
        return (
            *(("inherit", template) for template in self.settings.vassals_inherit),
            *(("include", config) for config in self.settings.vassals_include),
        )


def spawn_defaults(settings: Settings, *, user_manager: bool) -> SpawnDefaults:
    """Check the settings about starting vassals, and find the programs that they name.

    Raises:
        BridgeError: a program, user or group does not exist, or a value is invalid.
    """
    if user_manager and (settings.emperor_tyrant or settings.uid or settings.gid):
        raise _wrong("with --user, no vassal can run as another user", "remove emperor-tyrant, uid and gid")
    for one in settings.env:
        if not _VARIABLE.fullmatch(one):
            raise _wrong(f"env {printable(one)!r} sets no variable", "write env = NAME=VALUE")
    for capability in _capabilities(settings):
        if not _CAPABILITY.fullmatch(capability):
            raise _wrong(f"emperor-cap names {printable(capability)!r}", "write names as in setuid,setgid")
    if missing := missing_owner(settings.uid, settings.gid):
        raise _wrong(f"uid or gid names {printable(missing)}, which does not exist", "create it, or name another")
    for hook in (settings.vassals_start_hook, settings.vassals_stop_hook):
        if hook:
            _find(hook, "hook-missing", "set vassals-start-hook and vassals-stop-hook to programs, without arguments")
    program = _find(settings.emperor_wrapper, "uwsgi-missing", "correct emperor-wrapper") or find_binary(settings)
    return SpawnDefaults(settings=settings, program=program, setpriv=shutil.which("setpriv") or "/usr/bin/setpriv")


def spawn_spec(vassal: Vassal, defaults: SpawnDefaults) -> SpawnSpec | Diagnostic:
    """Decide how a vassal is started, or return why tyrant mode forbids it."""
    settings, owner = defaults.settings, vassal.config.owner
    user, group = settings.uid, settings.gid
    if settings.emperor_tyrant:
        if not owner.uid or not owner.gid:
            return vassal.problem(
                "tyrant-root",
                f"its {'owner' if not owner.uid else 'group'} is root, and in tyrant mode a vassal runs as its owner",
                "give its row a uid and a gid" if vassal.row else f"chown USER:GROUP {printable(vassal.config.path)}",
            )
        user, group = str(owner.uid), str(owner.gid)
    drops_groups = settings.emperor_tyrant and not settings.emperor_tyrant_initgroups
    option = option_for(vassal.name, settings.emperor_extra_extension) or "--ini"
    prefix = (defaults.setpriv, *_DROP_GROUPS) if drops_groups else ()
    # Only root can put anything into the mirror of a database.
    if settings.emperor_tyrant and (vassal.row is None or vassal.row.is_path):
        prefix = (*prefix, *start_check(vassal.config.path, nofollow=settings.emperor_tyrant_nofollow))
    hooks = bool(settings.vassals_start_hook or settings.vassals_stop_hook)
    start, stop = settings.vassals_start_hook, settings.vassals_stop_hook
    return SpawnSpec(
        argv=(
            *prefix,
            defaults.program,
            *_written(defaults.before),
            option,
            vassal.argument,
            *_written(defaults.after),
        ),
        environment=(*defaults.environment, *([f"UWSGI_VASSALS_DIR={vassal.directory}"] if hooks else [])),
        user=user,
        group=group,
        drops_groups=drops_groups,
        capabilities=tuple(f"CAP_{name.upper()}" for name in _capabilities(settings)),
        start_hook=(*prefix, _path(start), _argument(vassal)) if start else (),
        stop_hook=(_path(stop), _argument(vassal)) if stop else (),
        tenant=owner.uid if settings.emperor_tyrant else None,
    )


def _argument(vassal: Vassal) -> str:
    """Return what a hook is given: the vassal's name, or its path where the hook would take the name for an option."""
    return vassal.config.path if vassal.name.startswith("-") else vassal.name


def find_binary(settings: Settings) -> str:
    """Return the path of the uWSGI that runs the vassals.

    Raises:
        BridgeError: it is not installed, or its path cannot be written into a unit.
    """
    return _find(
        settings.binary_path or "uwsgi", "uwsgi-missing", "install it (Debian: uwsgi-core), or set --binary-path"
    )


def _find(program: str, code: str, hint: str) -> str:
    """Return a program's absolute path; an empty text for an empty name."""
    if not program:
        return ""
    found = _path(program)
    if not found:
        raise BridgeError(Diagnostic(code=code, message=f"there is no program {printable(program)!r}", hint=hint))
    if not _PROGRAM.fullmatch(found) or not os.access(found, os.X_OK):
        raise BridgeError(
            Diagnostic(
                code=code,
                path=found,
                message="this is not a program that systemd can start",
                hint=f"{hint}; its path may have only letters, digits and /_.,:=@+-",
            )
        )
    return found


def _path(program: str) -> str:
    if "/" in program:
        return os.path.abspath(program)
    return shutil.which(program) or ""


def _written(options: tuple[tuple[str, str], ...]) -> list[str]:
    return [word for name, given in options for word in ([f"--{name}", given] if given else [f"--{name}"])]


def _capabilities(settings: Settings) -> list[str]:
    """Return the names of the capabilities; the Emperor always adds ``setpcap``."""
    named = [name.strip().lower() for name in settings.emperor_cap.split(",") if name.strip()]
    return [*named, "setpcap"] if named else []


def _wrong(message: str, hint: str) -> BridgeError:
    return BridgeError(Diagnostic(code="settings", message=message, hint=hint))
