"""glob://: every config that matches a pattern is a vassal."""

from __future__ import annotations

import fnmatch
import glob
import os
from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic
from bridge.model.unit_names import path_label
from bridge.model.vassal import ConfigFile, Vassal, stem_of
from bridge.monitors.base import FileMonitor, Report

if TYPE_CHECKING:
    from collections.abc import Collection

    from bridge.config.settings import Settings
    from bridge.host.path_watch import WatchList
    from bridge.model.vassal import Owner


class GlobMonitor(FileMonitor):
    """Watches a shell pattern, as the Emperor's glob monitor: names are whole paths."""

    def __init__(self, pattern: str, settings: Settings) -> None:
        self.pattern = os.path.abspath(pattern)
        super().__init__(f"glob://{self.pattern}", settings)

    def report(self, only: Collection[str] | None = None) -> Report:
        """Expand the pattern once."""
        root = self.pattern[: self.pattern.rindex("/", 0, _first_magic(self.pattern)) + 1]
        try:
            os.scandir(root).close()
        except OSError as error:
            problem = Diagnostic(
                code="monitor-unreadable",
                path=root,
                message=f"the folder that the pattern {self.pattern} begins in cannot be read: {error.strerror}",
                hint="make it, or mend --emperor; vassals that came from it stay as they are",
            )
            return Report(monitor=self.id, diagnostics=(problem,), complete=False)
        return self._collect(self._found(only))

    def holds(self, path: str) -> bool:
        """Tell whether the path is in a folder that the pattern, but for its last step, would find."""
        return _matches(path.rpartition("/")[0], self.pattern.rpartition("/")[0])

    def watch(self, watch_list: WatchList) -> None:
        """Watch every folder in which something can appear that the pattern, as far as it has come, matches."""
        fixed, *steps = self.pattern[1:].split("/")
        folders = ["/"]
        for step in [fixed, *steps]:
            if _first_magic(step) == len(step):
                folders = [watch_list.folder(f"{folder.rstrip('/')}/{step}") for folder in folders]
                continue
            for folder in folders:
                watch_list.contents(folder)
            folders = [
                watch_list.folder(match)
                for folder in folders
                for match in glob.glob(f"{glob.escape(folder.rstrip('/'))}/{step}")
                if os.path.isdir(match)
            ]

    def _list(self) -> list[str]:
        return sorted(glob.glob(self.pattern))

    def _finds(self, path: str) -> bool:
        """Tell whether the pattern would find the path; as in a shell, a leading dot is not matched."""
        return _matches(path, self.pattern)

    def _name(self, path: str) -> str:
        return path

    def _path(self, name: str) -> str:
        return name

    def _vassal(self, path: str, owner: Owner) -> Vassal:
        return Vassal(
            name=path,
            config=ConfigFile(path, owner),
            monitor=self.id,
            directory=os.path.abspath(self._settings.chdir or "/"),
            label=path_label(f"{path.rpartition('/')[0]}/{stem_of(path)}"),
        )


def _matches(path: str, pattern: str) -> bool:
    steps, wanted = path.split("/"), pattern.split("/")
    return len(steps) == len(wanted) and all(
        fnmatch.fnmatchcase(step, pattern) and (not step.startswith(".") or pattern.startswith("."))
        for step, pattern in zip(steps, wanted, strict=True)
    )


def _first_magic(pattern: str) -> int:
    """Return where the pattern's first special character stands, or its end."""
    return min((at for at in map(pattern.find, "*?[") if at >= 0), default=len(pattern))
