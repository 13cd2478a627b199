"""glob://: every config that matches a pattern is a vassal."""

from __future__ import annotations

import fnmatch
import glob
import os
from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic
from bridge.model.unit_names import path_label
from bridge.model.vassal import Vassal, option_for, stem_of
from bridge.monitors.base import Report, collect

if TYPE_CHECKING:
    from collections.abc import Collection

    from bridge.config.settings import Settings
    from bridge.host.path_watch import WatchList
    from bridge.model.vassal import Owner


class PatternMonitor:
    """Watches a shell pattern, as the Emperor's glob monitor: names are whole paths."""

    def __init__(self, pattern: str, settings: Settings) -> None:
        self._settings = settings
        self.pattern = os.path.abspath(pattern)
        self.spec = f"glob://{self.pattern}"

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
            return Report(monitor=self.spec, diagnostics=(problem,), complete=False)
        if only is None:
            found = sorted(glob.glob(self.pattern))
        else:
            found = sorted(config for config in only if self.covers(config) and os.path.lexists(config))
        return collect(self.spec, found, self._vassal, self._settings)

    def configs(self) -> list[str] | None:
        """Expand the pattern once."""
        extra = self._settings.emperor_extra_extension
        return [config for config in glob.glob(self.pattern) if option_for(config, extra)]

    def covers(self, config: str) -> bool:
        """Tell whether the pattern would find the path; as in a shell, a leading dot is not matched."""
        return _matches(config, self.pattern)

    def holds(self, path: str) -> bool:
        """Tell whether the path is in a folder that the pattern, but for its last step, would find."""
        return _matches(path.rpartition("/")[0], self.pattern.rpartition("/")[0])

    def watch_list(self, watch_list: WatchList) -> None:
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

    def _vassal(self, config: str, owner: Owner) -> Vassal:
        return Vassal(
            name=config,
            config=config,
            monitor=self.spec,
            directory=os.path.abspath(self._settings.chdir or "/"),
            label=path_label(f"{config.rpartition('/')[0]}/{stem_of(config)}"),
            owner=owner,
        )


def matches_one_directory(pattern: str) -> bool:
    """Tell whether the pattern matches exactly one thing and that is a directory."""
    matches = glob.glob(pattern)
    return len(matches) == 1 and os.path.isdir(matches[0])


def _matches(path: str, pattern: str) -> bool:
    steps, wanted = path.split("/"), pattern.split("/")
    return len(steps) == len(wanted) and all(
        fnmatch.fnmatchcase(step, pattern) and (not step.startswith(".") or pattern.startswith("."))
        for step, pattern in zip(steps, wanted, strict=True)
    )


def _first_magic(pattern: str) -> int:
    """Return where the pattern's first special character stands, or its end."""
    return min((at for at in map(pattern.find, "*?[") if at >= 0), default=len(pattern))
