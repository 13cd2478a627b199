"""What a person types and sees: commands, options, tables, progress."""

from bridge.cli.commands import main

__all__ = ["main"]
