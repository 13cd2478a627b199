"""dir://: every config in one directory is a vassal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic
from bridge.model.unit_names import unit_label
from bridge.model.vassal import ConfigFile, Vassal, stem_of
from bridge.monitors.base import FileMonitor, Report

if TYPE_CHECKING:
    from collections.abc import Collection

    from bridge.config.settings import Settings
    from bridge.host.path_watch import WatchList
    from bridge.model.vassal import Owner


class DirectoryMonitor(FileMonitor):
    """Watches one directory, as the Emperor's dir monitor: names are bare, and uWSGI is started inside it."""

    def __init__(self, directory: str, settings: Settings) -> None:
        self.directory = os.path.abspath(directory)
        self._folder = self.directory.rstrip("/")
        super().__init__(f"dir://{self.directory}", settings)

    def report(self, only: Collection[str] | None = None) -> Report:
        """List the directory once."""
        try:
            # To list it proves that it can be read, which its single files do not.
            os.scandir(self.directory).close()
            return self._collect(self._found(only))
        except OSError as error:
            problem = Diagnostic(
                code="monitor-unreadable",
                path=self.directory,
                message=f"the directory of vassals cannot be read: {error.strerror}",
                hint="make it, or mend --emperor; vassals that came from it stay as they are",
            )
            return Report(monitor=self.id, diagnostics=(problem,), complete=False)

    def holds(self, path: str) -> bool:
        """Tell whether the path is in the directory."""
        return path.rpartition("/")[0] == self._folder

    def watch(self, watch_list: WatchList) -> None:
        """Watch the way to the directory, and all that is in it."""
        watch_list.files(self.directory)

    def _list(self) -> list[str]:
        return [f"{self._folder}/{name}" for name in sorted(os.listdir(self.directory))]

    def _finds(self, path: str) -> bool:
        return self.holds(path)

    def _name(self, path: str) -> str:
        return path.rpartition("/")[2]

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def _vassal(self, path: str, owner: Owner) -> Vassal:
        name = self._name(path)
        return Vassal(
            name=name,
            config=ConfigFile(path, owner),
            monitor=self.id,
            directory=self.directory,
            label=unit_label(stem_of(name)),
        )
