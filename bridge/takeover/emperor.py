"""Finds the Emperor that runs: the service whose process it is."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from bridge.config.emperor_ini import read_emperor_ini
from bridge.diagnostics import BridgeError, Diagnostic
from bridge.host.services import command_line, process_ids, service_of_process
from bridge.model.unit import DOWN
from bridge.model.unit_names import PREFIX
from bridge.model.vassal import CONFIG_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bridge.systemd.protocol import Manager

_CONFIGS = (*dict.fromkeys(CONFIG_OPTIONS.values()), "--config")


class Emperor(NamedTuple):
    """An Emperor's service."""

    unit: str
    triggers: tuple[str, ...] = ()
    """The units that start it, such as a socket."""

    @property
    def units(self) -> list[str]:
        """The units to stop, those that would start the Emperor again first."""
        return [*self.triggers, self.unit]


def find_emperor(named: str | None, manager: Manager, *, is_users: bool) -> Emperor:
    """Find the Emperor's service: the one of this name, of the process with this id, or the only one that there is.

    Raises:
        BridgeError: there is none, there are several, or it does not run.
    """
    if named is None:
        unit = _search(manager, is_users=is_users)
    elif named.isdecimal():
        unit = _of_process(int(named), is_users=is_users)
    else:
        unit = named if "." in named else f"{named}.service"
    if unit.startswith(PREFIX) or not unit.endswith(".service"):
        raise _problem(f"{unit} is no service of an Emperor's")
    if manager.units([unit]).get(unit, DOWN).is_down:
        raise _problem(f"{unit} does not run, so there is nothing to take over", "emperor-bridge sync starts vassals")
    return with_triggers(unit, manager)


def with_triggers(unit: str, manager: Manager) -> Emperor:
    """Return an Emperor by its service."""
    found = manager.properties([unit], "Unit", "TriggeredBy").get(unit, [])
    return Emperor(unit, tuple(map(str, found)))


def is_emperor(words: Sequence[str], cwd: str) -> bool:
    """Tell by the command line, and the config that it names, whether a process is an Emperor's.

    A relative path begins at ``cwd``. Other programs that are given an ini file are no Emperors.
    """
    if not os.path.basename(words[0]).startswith(("uwsgi", "pyuwsgi")):
        return False
    if any(word == "--emperor" or word.startswith("--emperor=") for word in words):
        return True
    return any(_has_emperor(os.path.join(cwd, path)) for path in configs_of(words))


def value_of(before: str, word: str, options: Collection[str]) -> str | None:
    """Return the value that a word of a command line gives to one of the options; None if it gives none."""
    if before in options:
        return word
    option, equals, value = word.partition("=")
    return value if equals and option in options else None


def configs_of(words: Sequence[str]) -> list[str]:
    """Return the configs that a command line of uWSGI's names."""
    found = []
    for before, word in pairwise(words):
        if (value := value_of(before, word, _CONFIGS)) is not None:
            found.append(value)
        elif not word.startswith("-") and os.path.splitext(word)[1] in CONFIG_OPTIONS:
            found.append(word)
    return found


def _search(manager: Manager, *, is_users: bool) -> str:
    """Find the only service whose main process is an Emperor's. What other processes call themselves does not count."""
    units: set[str] = set()
    without_main: set[str] = set()
    outside: list[int] = []
    for pid in process_ids():
        words = command_line(pid)
        unit = service_of_process(pid, is_users=is_users)
        # A vassal that is an Emperor itself is one that the bridge already runs.
        if unit in units or unit.startswith(PREFIX) or not is_emperor(words, f"/proc/{pid}/cwd"):
            continue
        main = manager.properties([unit], "Service", "MainPID").get(unit) if unit else None
        if main == pid:
            units.add(unit)
        elif main == 0:
            without_main.add(unit)
        elif not unit:
            outside.append(pid)
    if not units:
        raise _not_found(sorted(without_main), outside)
    if len(units) > 1:
        raise _problem(f"several services run an Emperor: {', '.join(sorted(units))}", "name one of them")
    return units.pop()


def _not_found(without_main: Sequence[str], outside: Sequence[int]) -> BridgeError:
    """Return why no service is found, by what looks like an Emperor all the same."""
    found = "no service is found that runs an Emperor"
    if without_main:
        # systemd knows no main process where a script of /etc/init.d starts it (systemd-sysv-generator(8)).
        hint = f"if it is one, name it: emperor-bridge take-over {without_main[0]}"
        return _problem(f"{found}; a process in {without_main[0]} looks like one", hint)
    if outside:
        hint = "if it is one, stop it and let a unit run it: there would be no way back to what nobody starts"
        return _problem(f"{found}; the process {outside[0]} looks like one and is in no service", hint)
    return _problem(found, "name its unit: emperor-bridge take-over uwsgi-emperor")


def _of_process(pid: int, *, is_users: bool) -> str:
    if unit := service_of_process(pid, is_users=is_users):
        return unit
    raise _problem(
        f"the process {pid} is not in a service of systemd's",
        "what started it would start it again, and there would be no way back: let a unit run the Emperor first",
    )


def _has_emperor(path: str) -> bool:
    try:
        return bool(read_emperor_ini(path).values.get("emperor"))
    except BridgeError:
        return False


def _problem(message: str, hint: str = "") -> BridgeError:
    return BridgeError(Diagnostic(code="emperor-unknown", message=message, hint=hint))
