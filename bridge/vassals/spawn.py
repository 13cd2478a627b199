"""Decides how systemd starts a vassal: with the Emperor's command line, user, environment and hooks.

core/emperor.c, ``uwsgi_emperor_spawn_vassal``.
"""

from __future__ import annotations

import os
import re
from functools import cached_property
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic, printable
from bridge.host.programs import find_program
from bridge.host.users import missing_owner
from bridge.model.vassal import SpawnSpec, option_for
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


class SpawnDefaults:
    """The part of the command lines and environments that all vassals of a run share, each found once."""

    def __init__(self, *, settings: Settings, program: str, setpriv: str = "/usr/bin/setpriv") -> None:
        """Take the settings, and the absolute paths of uWSGI, or the wrapper, and of setpriv(1)."""
        self.settings = settings
        self.program = program
        self.setpriv = setpriv

    @cached_property
    def binary(self) -> str:
        """The path of uWSGI, which a wrapper may start; empty if there is none."""
        return _path(self.settings.binary_path or "uwsgi") if self.settings.emperor_wrapper else self.program

    @cached_property
    def environment(self) -> tuple[str, ...]:
        """The environment of all vassals, as ``NAME=VALUE``."""
        return tuple(
            "UWSGI_" + one.removeprefix(_FOR_VASSALS) if one.startswith(_FOR_VASSALS) else one
            for one in self.settings.env
        )

    @cached_property
    def before(self) -> tuple[tuple[str, str], ...]:
        """The options in front of the config on the command line; an Emperor always adds ``master``."""
        settings = self.settings
        return (
            ("master", ""),
            *(("inherit", template) for template in settings.vassals_inherit_before),
            *(("include", config) for config in settings.vassals_include_before),
            *(("set", option) for option in settings.vassals_set),
        )

    @cached_property
    def after(self) -> tuple[tuple[str, str], ...]:
        """The options behind the config on the command line."""
        return (
            *(("inherit", template) for template in self.settings.vassals_inherit),
            *(("include", config) for config in self.settings.vassals_include),
        )

    @cached_property
    def words(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The same options as words of the command line."""
        return _written(self.before), _written(self.after)

    @cached_property
    def capabilities(self) -> tuple[str, ...]:
        """The capabilities that vassals may have, by their names for systemd; none: there is no limit."""
        return tuple(f"CAP_{name.upper()}" for name in _capabilities(self.settings))

    @cached_property
    def hooks(self) -> tuple[str, str]:
        """The paths of the programs that are run at the start and at the end of a vassal; empty if there is none."""
        start, stop = self.settings.vassals_start_hook, self.settings.vassals_stop_hook
        return _path(start) if start else "", _path(stop) if stop else ""


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
    return SpawnDefaults(settings=settings, program=program, setpriv=find_program("setpriv") or "/usr/bin/setpriv")


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
    (start, stop), (before, after) = defaults.hooks, defaults.words
    directory = (f"UWSGI_VASSALS_DIR={vassal.directory}",) if start or stop else ()
    return SpawnSpec(
        argv=(*prefix, defaults.program, *before, option, vassal.argument, *after),
        environment=(*defaults.environment, *directory),
        user=user,
        group=group,
        drops_groups=drops_groups,
        capabilities=defaults.capabilities,
        start_hook=(*prefix, start, _argument(vassal)) if start else (),
        stop_hook=(stop, _argument(vassal)) if stop else (),
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
    return find_program(program)


def _written(options: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    return tuple(word for name, given in options for word in ([f"--{name}", given] if given else [f"--{name}"]))


def _capabilities(settings: Settings) -> list[str]:
    """Return the names of the capabilities; the Emperor always adds ``setpcap``."""
    named = [name.strip().lower() for name in settings.emperor_cap.split(",") if name.strip()]
    return [*named, "setpcap"] if named else []


def _wrong(message: str, hint: str) -> BridgeError:
    return BridgeError(Diagnostic(code="settings", message=message, hint=hint))
