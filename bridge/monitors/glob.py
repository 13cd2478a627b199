"""glob://: every config that matches a pattern is a vassal."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic, Severity
from bridge.host import patterns
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
        if pattern.endswith("/") and patterns.is_special(pattern):
            # It finds folders only.
            self.pattern += "/"
        super().__init__(f"glob://{self.pattern}", settings)

    def report(self, only: Collection[str] | None = None) -> Report:
        """Expand the pattern once."""
        root = patterns.first_folder(self.pattern)
        cut: list[str] = []
        try:
            os.scandir(root).close()
            if only is None:
                expansion = patterns.expand(self.pattern)
                paths, cut = expansion.paths, expansion.cut
            else:
                paths = self._found(only)
        except OSError as error:
            problem = Diagnostic(
                code="monitor-unreadable",
                path=root,
                message=f"the pattern {self.pattern} cannot be expanded: {error.strerror}",
                hint="make or mend its folder, or mend --emperor; vassals that came from it stay as they are",
            )
            return Report(monitor=self.id, diagnostics=(problem,), complete=False)
        report = self._collect(paths)
        return replace(report, diagnostics=(*report.diagnostics, *map(self._cut, cut)))

    def _cut(self, folder: str) -> Diagnostic:
        return Diagnostic(
            code="pattern-cut",
            path=folder,
            message=f"below this folder, {self.pattern} finds more than {patterns.MAX_BRANCH_PATHS} files, or reads "
            f"more than {patterns.MAX_BRANCH_ENTRIES}; the rest is not served",
            hint="remove files, or symlinks that lead back",
            severity=Severity.WARNING,
        )

    def key_at(self, path: str) -> str | None:
        """Return the key of a config at this path, as :meth:`FileMonitor.key_at`."""
        return None if self._is_itself_a_file() else super().key_at(path)

    def holds(self, path: str) -> bool:
        """Tell whether the path is in a folder in which the pattern looks for its last step."""
        return patterns.match_folder(path, self.pattern) and not self._is_itself_a_file()

    def watch(self, watch_list: WatchList) -> None:
        """Watch every folder in which something can appear that the pattern, as far as it has come, matches."""
        try:
            found = patterns.expand(self.pattern)
        except OSError:
            # The report says so.
            watch_list.contents(patterns.first_folder(self.pattern))
            return
        for folder in found.folders:
            if self.holds(f"{folder}/file"):
                watch_list.files(folder)
            if len(folder.split("/")) < self.pattern.count("/"):
                watch_list.contents(folder)
        for path in (*found.files, self.pattern):
            watch_list.file(path)

    def _is_itself_a_file(self) -> bool:
        """Tell whether a file has the pattern as its name. It is served only while the pattern matches nothing."""
        return patterns.is_special(self.pattern) and os.path.lexists(self.pattern)

    def _found(self, only: Collection[str] | None) -> list[str]:
        found = super()._found(only)
        return found if self.pattern not in found else [path for path in self._list() if path in found]

    def _list(self) -> list[str]:
        return patterns.expand(self.pattern).paths

    def _finds(self, path: str) -> bool:
        return path == self.pattern or patterns.match(path, self.pattern)

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
