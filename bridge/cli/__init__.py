"""What a person types and sees: commands, options, tables, progress."""

import gc
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; see :func:`bridge.cli.commands.main`."""
    if sys.argv[1:] == ["--version"]:
        # click prints the same, and takes three times as long to import as Python takes to start.
        from bridge import __version__

        sys.stdout.write(f"emperor-bridge {__version__}\n")
        return
    # Garbage stays until the process ends, which is soon: to search modules and thousands of vassals takes longer.
    gc.disable()
    from bridge.cli.commands import main as run

    run()
