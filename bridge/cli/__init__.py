"""What a person types and sees: commands, options, tables, progress."""

import gc

__all__ = ["main"]


def main() -> None:
    """Run the command line; see :func:`bridge.cli.commands.main`."""
    # Garbage stays until the process ends, which is soon: to search modules and thousands of vassals takes longer.
    gc.disable()
    from bridge.cli.commands import main as run

    run()
