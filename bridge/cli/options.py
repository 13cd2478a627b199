"""The options that all commands take, with uWSGI's own names."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.completion import complete_path
from bridge.config.settings import SETTINGS

if TYPE_CHECKING:
    from bridge.config.settings import Setting


def settings_options() -> list[click.Parameter]:
    """Return the options that all commands take, for the ``params`` of a command."""
    return list(_options())


@functools.cache
def _options() -> tuple[click.Option, ...]:
    """Make the options once for all commands: it takes longer than anything else when a command line is set up."""
    return (
        click.Option(["--config"], metavar="FILE", shell_complete=complete_path("FILE"),
                     help="The bridge's configuration; options override it.  "
                     "[default: /etc/emperor-bridge/bridge.toml]"),
        click.Option(["--emperor-ini"], metavar="FILE", shell_complete=complete_path("FILE"),
                     help="Read these settings from an Emperor's own config."),
        click.Option(["--user"], is_flag=True, help="Work on your own service manager instead of the system's."),
        click.Option(["--runtime"], is_flag=True, help="Write units to /run, where a reboot removes them."),
        *map(_option, SETTINGS),
    )  # fmt: skip


def _option(setting: Setting) -> click.Option:
    names = [f"--{name}" for name in (setting.name, *setting.aliases)]
    kind: dict[str, Any] = {"is_flag": True}
    if not setting.flag:
        of_text = click.Choice(setting.choices) if setting.choices else str
        kind = {"metavar": setting.metavar, "type": click.IntRange(min=1) if setting.number else of_text}
        kind["shell_complete"] = complete_path(setting.metavar)
    return click.Option([*names, setting.field], multiple=setting.multiple, help=setting.help, **kind)
