"""The options that all commands take, with uWSGI's own names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bridge.config.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that all commands take to a command."""
    for setting in reversed(SETTINGS):
        names = [f"--{name}" for name in (setting.name, *setting.aliases)]
        kind: dict[str, Any] = {"is_flag": True}
        if not setting.flag:
            of_text = click.Choice(setting.choices) if setting.choices else str
            kind = {"metavar": setting.metavar, "type": click.IntRange(min=1) if setting.number else of_text}
        command = click.option(*names, setting.field, multiple=setting.multiple, help=setting.help, **kind)(command)
    for option in (
        click.option("--runtime", is_flag=True, help="Write units to /run, where a reboot removes them."),
        click.option("--user", is_flag=True, help="Work on your own service manager instead of the system's."),
        click.option("--emperor-ini", metavar="FILE", help="Read these settings from an Emperor's own config."),
        click.option("--config", metavar="FILE", help="The bridge's configuration; options override it.  "
                     "[default: /etc/emperor-bridge/bridge.toml]"),
    ):  # fmt: skip
        command = option(command)
    return command
