"""dir://: every config in one directory is a vassal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic
from bridge.model.unit_names import unit_label
from bridge.model.vassal import Vassal, option_for, stem_of
from bridge.monitors.base import Report, collect

if TYPE_CHECKING:
    from collections.abc import Collection

    from bridge.config.settings import Settings
    from bridge.host.path_watch import WatchList
    from bridge.model.vassal import Owner


class DirectoryMonitor:
    """Watches one directory, as the Emperor's dir monitor: names are bare, and uWSGI is started inside it."""

    def __init__(self, directory: str, settings: Settings) -> None:
        self._settings = settings
        self.directory = os.path.abspath(directory)
        self.spec = f"dir://{self.directory}"

    def report(self, only: Collection[str] | None = None) -> Report:
        """List the directory once."""
        try:
            configs = self._list() if only is None else self._there(only)
        except OSError as error:
            problem = Diagnostic(
                code="monitor-unreadable",
                path=self.directory,
                message=f"the directory of vassals cannot be read: {error.strerror}",
                hint="make it, or mend --emperor; vassals that came from it stay as they are",
            )
            return Report(monitor=self.spec, diagnostics=(problem,), complete=False)
        return collect(self.spec, configs, self._vassal, self._settings)

    def configs(self) -> list[str] | None:
        """List the directory once."""
        extra = self._settings.emperor_extra_extension
        try:
            return [config for config in self._list() if option_for(config, extra)]
        except OSError:
            return None

    def covers(self, config: str) -> bool:
        """Tell whether the path is in the directory."""
        return self.holds(config)

    def holds(self, path: str) -> bool:
        """Tell whether the path is in the directory."""
        return path.rpartition("/")[0] == self.directory.rstrip("/")

    def watch_list(self, watch_list: WatchList) -> None:
        """Watch the way to the directory, and all that is in it."""
        watch_list.contents(self.directory)

    def _list(self) -> list[str]:
        folder = self.directory.rstrip("/")
        return [f"{folder}/{name}" for name in sorted(os.listdir(self.directory))]

    def _there(self, only: Collection[str]) -> list[str]:
        os.scandir(self.directory).close()
        return sorted(config for config in only if self.covers(config) and os.path.lexists(config))

    def _vassal(self, config: str, owner: Owner) -> Vassal:
        name = config.rpartition("/")[2]
        return Vassal(
            name=name,
            config=config,
            monitor=self.spec,
            directory=self.directory,
            label=unit_label(stem_of(name)),
            owner=owner,
        )
