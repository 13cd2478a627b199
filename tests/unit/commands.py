"""The commands of the command line, all imported."""

from __future__ import annotations

import click

from bridge.cli.commands import cli

_CONTEXT = click.Context(cli)
COMMANDS = {name: found for name in cli.list_commands(_CONTEXT) if (found := cli.get_command(_CONTEXT, name))}
"""By name."""
