"""What the monitors of databases and brokers share: their vassals are those that the mirror on disk has.

A process of its own asks the server (:mod:`bridge.feeder`), and :mod:`bridge.mirror` keeps what it says. Here nothing
waits for a server.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.host.users import user_id
from bridge.mirror.change import MirrorWriter
from bridge.mirror.judge import RowRules
from bridge.mirror.state import read_state
from bridge.mirror.store import MirrorFolder
from bridge.model.digest import blake2b
from bridge.model.unit_names import UNIT_NAME_MAX, EscapeError, path_label, unit_label
from bridge.model.vassal import ConfigFile, Owner, Vassal, VassalRow, option_for, stem_of
from bridge.monitors.base import Report, is_there
from bridge.monitors.row_problems import Place, about_missing, about_rows, about_state, origin
from bridge.monitors.spec import SpecError
from bridge.vassals.on_demand import rule_file

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from bridge.config.monitor_tables import MonitorTable
    from bridge.config.settings import Settings
    from bridge.host.path_watch import WatchList
    from bridge.mirror.rows import MirroredRow
    from bridge.mirror.state import MirrorState
    from bridge.monitors.spec import MonitorSpec

UNIT_PREFIX = "emperor-bridge-monitor-"


@dataclass(frozen=True, kw_only=True, slots=True)
class FeederPlan:
    """What the process of a monitor is started with. Two monitors with equal plans can share one process."""

    unit: str
    """The name of its service."""
    spec: MonitorSpec
    table: MonitorTable
    user: str
    """As whom it runs. Empty: as a user of its own."""
    freq: float
    """Seconds between two questions."""
    secret: str
    """The name of the order that has what is in the password file or the credential."""
    folder: MirrorFolder
    rules: RowRules
    reader: int | None
    """The user who reads the texts, if that is neither root nor the owner of the row."""


class MirroredMonitor:
    """A database or a broker. What it said last counts until it says something else."""

    SECRET: ClassVar[str] = "password"  # noqa: S105
    """The order that has the secret of a password file."""

    def __init__(self, text: str, settings: Settings, mirrors: str, table: MonitorTable) -> None:
        """Open the monitor of what follows ``SCHEME://`` in a spec; ``mirrors`` is the folder of all mirrors.

        Raises:
            BridgeError: the spec cannot be used.
        """
        try:
            self.spec = self.parse(text, hostname=os.uname().nodename)
        except SpecError as error:
            where = f"monitor {table.name!r}" if table.name else f"emperor = {table.spec.partition('://')[0]}://…"
            problem = Diagnostic(code="settings", message=f"{where} cannot be used: {error}", hint=error.hint)
            raise BridgeError(problem) from None
        scheme = self.spec.id.partition("://")[0]
        self.id = f"{scheme}:{table.name}" if table.name else self.spec.id
        name = table.name or f"{scheme}-{blake2b(self.id.encode(), digest_size=4).hexdigest()}"
        self._settings = settings
        self._directory = os.path.abspath(settings.chdir or "/")
        self.plan = FeederPlan(
            unit=f"{UNIT_PREFIX}{name}.service",
            spec=self.spec,
            table=table,
            user=table.user or settings.uid,
            freq=float(settings.emperor_freq),
            secret=self.SECRET,
            folder=MirrorFolder(f"{mirrors}/{name}"),
            rules=RowRules(is_tyrant=settings.emperor_tyrant, extra_extensions=tuple(settings.emperor_extra_extension)),
            reader=user_id(settings.uid) if settings.uid else None,
        )
        self.folder = self.plan.folder
        self.mirror = self.folder.path
        self.writer = MirrorWriter(self.folder, reader=self.plan.reader, is_tyrant=settings.emperor_tyrant)
        """What writes the mirror, if this process does."""
        self._obstacle = ""
        """Why this process cannot write the mirror."""
        self._paths: dict[str, str] = {}
        """The names of the rows without a text that are watched, by the paths of their configs and of their notes."""

    @staticmethod
    def parse(text: str, *, hostname: str) -> MonitorSpec:
        """Read what follows ``SCHEME://``.

        Raises:
            SpecError: it cannot be used.
        """
        raise NotImplementedError

    def open_writer(self) -> bool:
        """Take the mirror for this process; False if another one has it, or if it cannot be written."""
        self._obstacle = ""
        try:
            return self.writer.is_open or self.writer.open()
        except OSError as error:
            self._obstacle = error.strerror or str(error)
            return False

    def state(self) -> MirrorState:
        """Return when the server was asked, and what is wrong."""
        return self.writer.state or read_state(self.folder.path)

    def report(self, only: Collection[str] | None = None) -> Report:
        """Return what the mirror has. It is complete if the server has ever answered."""
        state = self.state()
        prefix = f"{self.id}:"
        names = None if only is None else {key.removeprefix(prefix) for key in only if key.startswith(prefix)}
        vassals: list[Vassal] = []
        place = Place(self.id, self.folder)
        problems = self._problems(state, names)
        rejected: set[str] = set()
        for row in self._rows(names):
            try:
                vassal = self._vassal(row)
                if row.has_text or is_there(vassal.config.path):
                    vassals.append(vassal)
                else:
                    # As in a folder: a vassal goes with its file, and is back with it.
                    problems.append(about_missing(place, row.name, vassal.config.path))
            except EscapeError as error:
                rejected.add(f"{prefix}{row.name}")
                problems.append(
                    place.problem("vassal-name", f"its name cannot be used: {error}", "rename it", row.name)
                )
        return Report(
            monitor=self.id,
            vassals=tuple(vassals),
            rejected=frozenset(rejected),
            diagnostics=tuple(problems),
            complete=state.asked is not None,
        )

    def problems(self, names: Collection[str] | None) -> list[Diagnostic]:
        """Return what is wrong with the monitor, and with the rows that have these names, or with any row."""
        return self._problems(self.state(), names)

    def _problems(self, state: MirrorState, names: Collection[str] | None) -> list[Diagnostic]:
        place = Place(self.id, self.folder)
        found = [*about_state(place, state, self.plan.unit), *about_rows(place, state, names)]
        if self._obstacle:
            message = f"what it says cannot be kept in {self.folder.path}: {self._obstacle}"
            found.append(place.problem("mirror-unwritable", message, "make room there, or mend the file system"))
        return found

    def keys(self) -> list[str] | None:
        """Return the keys of all rows. None: the server has never answered."""
        try:
            names = self.folder.names()
        except OSError:
            return None
        return [f"{self.id}:{name}" for name in names] if self.state().asked is not None else None

    def key_at(self, path: str) -> str | None:
        """Return the key of the row whose text or note is at ``path``, or whose config that is."""
        folder, _, name = path.rpartition("/")
        if folder in {self.folder.configs, self.folder.rows}:
            return f"{self.id}:{name}" if option_for(name, self._settings.emperor_extra_extension) else None
        known = self._paths.get(path)
        return f"{self.id}:{known}" if known is not None else None

    def holds(self, path: str) -> bool:
        """Tell whether the path is in the mirror, or that of a row's config. A new row without a text is neither."""
        return path.rpartition("/")[0] in {self.folder.configs, self.folder.rows} or path in self._paths

    def watch(self, watch_list: WatchList) -> None:
        """Watch the mirror, and the configs that are not in it, with their rule files."""
        for folder in (self.folder.configs, self.folder.rows, self.folder.paths):
            watch_list.files(folder)
        self._paths = {}
        for row in self.folder.read_paths():
            config = self._config_of(row)
            self._paths |= {self.folder.note(row.name, has_text=False): row.name, config: row.name}
            for path in filter(None, (config, rule_file(self._settings, config))):
                watch_list.file(path)

    def settle(self, has_units: Callable[[str], bool]) -> None:
        """Remove the texts of rows that are gone, but those of vassals that still have units."""
        try:
            self.writer.settle(lambda name: has_units(f"{self.id}:{name}"))
        except OSError:
            # A text too many is in nobody's way, and the next run tries again.
            return

    def close(self) -> None:
        """Hold nothing open: whoever has opened the writer closes it."""

    def _rows(self, names: Iterable[str] | None) -> Iterator[MirroredRow]:
        if names is not None:
            found = (self.folder.read(name) for name in sorted(names))
            yield from (row for row in found if row is not None)
            return
        # It may never have been written.
        with suppress(OSError):
            yield from self.folder.read_all()

    def _config_of(self, row: MirroredRow) -> str:
        if row.has_text:
            return self.folder.config(row.name)
        # The Emperor opens it from where it is.
        return os.path.normpath(os.path.join(self._directory, row.name))

    def _vassal(self, row: MirroredRow) -> Vassal:
        """Return a row as a vassal.

        Raises:
            EscapeError: its name cannot be that of a unit.
        """
        stem = stem_of(row.name)
        folder = row.name.rpartition("/")[0]
        vassal = Vassal(
            name=row.name,
            config=ConfigFile(self._config_of(row), self._owner(row)),
            monitor=self.id,
            directory=self._directory,
            label=path_label(f"{folder}/{stem}") if row.name.startswith("/") else unit_label(stem),
            origin=origin(self.id, row.name),
            row=VassalRow(
                note=self.folder.note(row.name, has_text=row.has_text),
                address=row.socket if row.has_rule else None,
                is_path=not row.has_text,
            ),
        )
        if (size := len(vassal.service)) > UNIT_NAME_MAX:
            raise EscapeError(f"the name of its unit would have {size} bytes, systemd allows {UNIT_NAME_MAX}")
        return vassal

    def _owner(self, row: MirroredRow) -> Owner:
        if self._settings.emperor_tyrant:
            return Owner(row.uid or 0, row.gid or 0)
        return Owner(os.geteuid(), os.getegid())
