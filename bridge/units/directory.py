"""The unit directory: read what is in it, and change only what the bridge made."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.host.files import TEMPORARY_PREFIX, read_regular, remove_if_there, staged, write_all
from bridge.model.address import AddressError, parse_address
from bridge.model.unit import InstalledVassal, Ownership, UnitFile
from bridge.model.unit_names import (
    BATCH_UNIT,
    OBSOLETE_STARTERS,
    PREFIX,
    SERVICES,
    SOCKETS,
    is_bridge_name,
    link_path,
    vassal_unit,
)
from bridge.units.marker import UNCLAIMED, read_mark

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from bridge.config.paths import Paths
    from bridge.model.address import Address

_UNIT_MAX = 1 << 20
STAGING = ".emperor-bridge.new"
"""The folder of unit files that wait until systemd has read the share before them."""
_LINKS = tuple(f"{starter}.wants" for starter in (SERVICES, SOCKETS, *OBSOLETE_STARTERS))


class UnitDirectory:
    """One unit directory of the manager's, and what the bridge writes there."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._directory = paths.unit_directory

    def files(self, only: Iterable[str] | None = None) -> dict[str, UnitFile]:
        """Read all unit files of names the bridge might use, or ``only`` these.

        Raises:
            BridgeError: the directory is there but cannot be read.
        """
        if only is not None:
            return {name: self._file(name) for name in only if os.path.lexists(f"{self._directory}/{name}")}
        return {name: self._file(name) for name in sorted(self._names(self._directory)) if is_bridge_name(name)}

    def is_foreign(self, label: str) -> bool:
        """Tell whether a vassal has no units here, or another configuration's."""
        files = self.files([f"{PREFIX}{label}.service"]).values()
        return all(file.mark is not None and file.mark.configuration != self._paths.configuration for file in files)

    def labels(self) -> set[str]:
        """Return the labels of the vassals that have unit files, whoever made them."""
        return {parts[0] for name in self._names(self._directory) if (parts := vassal_unit(name))}

    def elsewhere(self, only: Collection[str] | None = None) -> dict[str, str]:
        """Return the paths of files of such names, or of ``only`` these, in the manager's other directories."""
        own = _folder(self._directory)
        found: dict[str, str] = {}
        for directory in self._paths.unit_path:
            if (place := _folder(directory)) is not None and place != own:
                for name in self._names(directory) if only is None else _there(directory, only):
                    if is_bridge_name(name):
                        found.setdefault(name, f"{directory}/{name}")
        return found

    def links(self, boot_target: str, only: Iterable[str] | None = None) -> dict[str, str]:
        """Return the links that pull the bridge's units in, or ``only`` these, by path below the unit directory."""
        found: dict[str, str] = {}
        if only is not None:
            for path in map(link_path, only):
                with suppress(OSError):
                    found[path] = os.readlink(f"{self._directory}/{path}")
            return found
        for folder in (*_LINKS, f"{boot_target}.wants"):
            for name in self._names(f"{self._directory}/{folder}"):
                if is_bridge_name(name):
                    with suppress(OSError):
                        found[f"{folder}/{name}"] = os.readlink(f"{self._directory}/{folder}/{name}")
        return found

    def write(self, texts: Mapping[str, str]) -> None:
        """Write unit files, each whole or not at all.

        Raises:
            OSError: the disk or the file system refuses.
        """
        os.makedirs(self._directory, exist_ok=True)
        write_all(self._directory, texts)

    @contextmanager
    def staged(self, texts: Mapping[str, str]) -> Iterator[Callable[[], None]]:
        """Write unit files where systemd does not look; yield what puts them in place, each whole or not at all.

        While systemd loads units, it lists its unit directories again for each of them if one of these has changed
        (core/load-fragment.c, ``unit_load_fragment``).

        Raises:
            OSError: the disk or the file system refuses.
        """
        folder = f"{self._directory}/{STAGING}"
        os.makedirs(folder, exist_ok=True)
        with staged(folder, texts) as publish:
            yield lambda: publish(self._directory)

    def end_staging(self) -> None:
        """Remove the folder in which unit files waited, if nothing is in it."""
        with suppress(OSError):
            os.rmdir(f"{self._directory}/{STAGING}")

    def remove(self, units: Iterable[str]) -> None:
        """Remove unit files.

        Raises:
            OSError: the file system refuses.
        """
        for unit in units:
            remove_if_there(f"{self._directory}/{unit}")

    def link(self, links: Mapping[str, str]) -> None:
        """Make links, replacing what stands at their paths.

        Raises:
            OSError: the file system refuses.
        """
        for folder in {os.path.dirname(path) for path in links}:
            os.makedirs(f"{self._directory}/{folder}", exist_ok=True)
        for path, target in links.items():
            whole = f"{self._directory}/{path}"
            try:
                os.symlink(target, whole)
            except FileExistsError:
                os.unlink(whole)
                os.symlink(target, whole)

    def unlink(self, links: Iterable[str]) -> None:
        """Remove links, and the folders that this leaves empty, as ``systemctl disable`` does.

        Raises:
            OSError: the file system refuses.
        """
        folders = set(_LINKS)
        for path in links:
            remove_if_there(f"{self._directory}/{path}")
            folders.add(os.path.dirname(path))
        for folder in folders:
            with suppress(OSError):
                os.rmdir(f"{self._directory}/{folder}")

    def clean(self) -> None:
        """Remove what a killed run left: files that were being written, and the targets of batches.

        Raises:
            BridgeError: one is there and cannot be removed.
        """
        folders = (self._directory, f"{self._directory}/{STAGING}", os.path.dirname(self._paths.last_run))
        unfinished = [f"{f}/{name}" for f in folders for name in self._names(f) if name.startswith(TEMPORARY_PREFIX)]
        batches = self._paths.runtime_units
        unfinished += [f"{batches}/{name}" for name in self._names(batches) if BATCH_UNIT.fullmatch(name)]
        for path in unfinished:
            try:
                remove_if_there(path)
            except OSError as error:
                message = f"what a killed run left cannot be removed: {error.strerror}"
                raise BridgeError(Diagnostic(code="unit-directory", path=path, message=message)) from error
        self.end_staging()

    @staticmethod
    def _names(directory: str) -> list[str]:
        try:
            return os.listdir(directory)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            problem = Diagnostic(
                code="unit-directory",
                path=directory,
                message=f"the unit directory cannot be read: {error.strerror}",
                hint="run as root, or use --user",
            )
            raise BridgeError(problem) from error

    def _file(self, name: str) -> UnitFile:
        path = f"{self._directory}/{name}"
        if os.path.islink(path):
            masked = os.path.realpath(path) == os.devnull
            return UnitFile(path=path, ownership=Ownership.MASKED if masked else Ownership.FOREIGN)
        try:
            text = read_regular(path, max_bytes=_UNIT_MAX).decode()
        except (OSError, UnicodeDecodeError):
            return UnitFile(path=path, ownership=Ownership.FOREIGN)
        mark = read_mark(name, text)
        ownership = Ownership.OURS if mark else Ownership.FOREIGN if text else Ownership.MASKED
        return UnitFile(path=path, ownership=ownership, text=text, mark=mark)


def _folder(path: str) -> tuple[int, int] | None:
    """Return what tells a folder from all others, under whichever path; None if it is not there."""
    try:
        info = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        # To list it will say why.
        return (0, 0)
    return info.st_dev, info.st_ino


def _there(directory: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if os.path.lexists(f"{directory}/{name}")]


def installed_vassals(
    files: Mapping[str, UnitFile], canonical_address: Callable[[Address], Address]
) -> dict[str, InstalledVassal]:
    """Group the bridge's own unit files, by label, into the vassals they were made for."""
    grouped: dict[str, list[str]] = {}
    for name, file in files.items():
        if file.mark and file.mark.config and (parts := vassal_unit(name)):
            grouped.setdefault(parts[0], []).append(name)
    installed = {}
    for label, units in grouped.items():
        marks = [mark for unit in units if (mark := files[unit].mark)]
        # An interrupted run can leave two that differ: the socket listens where its own file says.
        by_weight = sorted(marks, key=lambda mark: not mark.unit.endswith(".socket"))
        addresses = next((found for mark in by_weight if (found := _addresses(mark.address))), ())
        first = marks[0]
        installed[label] = InstalledVassal(
            label=label,
            name=first.name,
            config=first.config,
            monitor=first.monitor,
            tenant=int(first.tenant) if first.tenant.isdecimal() else None,
            configuration=first.configuration,
            is_unclaimed=not first.configuration and first.format in UNCLAIMED,
            addresses=addresses,
            canonical_addresses=tuple(map(canonical_address, addresses)),
            units=tuple(units),
        )
    return installed


def _addresses(text: str) -> tuple[Address, ...]:
    try:
        return tuple(parse_address(line, base="/") for line in text.split("\n")) if text else ()
    except AddressError:
        return ()
