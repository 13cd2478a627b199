"""The command ``watch``: it builds the daemon and runs it."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import Any

import click

from bridge.cli.options import settings_options
from bridge.cli.session import open_reconciler
from bridge.config.load import load_invocation


@click.command(params=settings_options())
def watch(**given: Any) -> None:
    """Keep systemd in line with the vassals, and write their events to the journal, until stopped."""
    from bridge.check.obstacles import Obstacles
    from bridge.model.unit_names import PREFIX
    from bridge.state.pauses import PauseNotes
    from bridge.systemd.manager import connected
    from bridge.systemd.transient import TransientServices
    from bridge.units.directory import UnitDirectory
    from bridge.watch.configuration import LoadedConfig
    from bridge.watch.daemon import Daemon
    from bridge.watch.feeders import Feeders
    from bridge.watch.notifier import Notifier

    def load_config() -> LoadedConfig:
        invocation = load_invocation(given)
        reconciler = open_reconciler(invocation)
        return LoadedConfig(reconciler=reconciler, settings=invocation.settings, configuration=invocation.configuration)

    paths = load_invocation(given).paths
    notes = PauseNotes(paths.pauses)
    notifier = Notifier(
        user_manager=paths.user_manager,
        pause=lambda label: notes.pause(f"{PREFIX}{label}.service"),
        is_foreign=UnitDirectory(paths).is_foreign,
        obstacle=Obstacles(paths.unit_path).first,
    )
    feeders = Feeders(TransientServices(user=paths.user_manager), is_users=paths.user_manager)
    with closing(feeders), connected(paths) as manager:
        Daemon(manager, load_config, notifier, feeders, partial(connected, paths)).run()
