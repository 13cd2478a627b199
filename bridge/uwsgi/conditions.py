"""The conditions of a config, such as ``if-env``: whether one holds where the process will run.

core/config.c, ``uwsgi_logic_opt_*``, of uWSGI 2.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bridge.uwsgi.option_tables import RELOADS, TESTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bridge.uwsgi.options import Option

Loader: TypeAlias = "Callable[[Option], Sequence[Option] | None]"
"""Reads the config that an option includes; None: the bridge must not read it."""
TextReader: TypeAlias = "Callable[[Option, str], str | None]"
"""Reads the file that an option names in ``@(file)``; None: the bridge must not read it."""


LOGIN = frozenset({"HOME", "LOGNAME", "SHELL", "USER"})
"""The variables about the process's user."""


def _never(_path: str) -> bool:
    return False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class Surroundings:
    """What a config may ask about the machine and the process that reads it."""

    environ: Mapping[str, str]
    login: Callable[[], Mapping[str, str]] = dict
    """Looks up what the environment says of the process's user; a variable of these counts more than in ``environ``."""
    exists: Callable[[str], bool] = _never
    is_file: Callable[[str], bool] = _never
    is_dir: Callable[[str], bool] = _never
    hostname: str | None = None
    load: Loader = lambda _option: None
    text: TextReader = lambda _option, _name: None

    def variable(self, name: str) -> str | None:
        """Return a variable of the environment in which the process starts."""
        own = self.login() if name in LOGIN else {}
        return own.get(name, self.environ.get(name))


@dataclass(frozen=True, slots=True)
class Decision:
    """The result of a condition: whether it holds, and the value of ``%(_)`` in its body."""

    holds: bool
    item: str | None


def decide(
    condition: Option,
    around: Surroundings,
    value: Callable[[str], str | None],
    variable: Callable[[str], str | None],
) -> Decision | None:
    """Return the result of a condition, or None if only the running process can know it.

    ``value`` returns the value of an option taken so far. ``variable`` returns one of the environment that earlier
    options left.
    """
    argument = condition.value
    name, equals, wanted = argument.partition("=")
    item: str | None = argument
    match TESTS.get(condition.key):
        case "opt" | "env" as kind:
            item = value(name) if kind == "opt" else variable(name)
            holds = item is not None and (not equals or item == wanted)
        case "reload":
            item, holds = None, RELOADS in around.environ
        case "exists":
            holds = around.exists(argument)
        case "file":
            holds = around.is_file(argument)
        case "dir":
            holds = around.is_dir(argument)
        case "hostname" if around.hostname is not None:
            holds = around.hostname == argument
        case _:
            return None
    return Decision(holds != condition.key.startswith("if-not-"), item)
