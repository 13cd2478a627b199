"""The note of a take-over: which Emperor it is from, whether that was enabled, and how far it has come.

It lies on disk and outlasts a reboot. It is written before each step, whole or not at all. So the next run can finish
what a killed one began, and the way back is known for as long as the bridge is in charge.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.host.files import read_regular, remove_with_folder, write_all

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_BYTES = 1 << 16


class Step(StrEnum):
    """How far a take-over has come."""

    WRITING = "writing"
    """Units are written. The Emperor runs as before."""
    SWITCHING = "switching"
    """Sockets are started and the Emperor is stopped."""
    DONE = "done"
    """The bridge is in charge."""
    RETURNING = "returning"
    """Back to the Emperor: the vassals' units are removed and the Emperor is started."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TakeOver:
    """What is noted of a take-over."""

    unit: str
    """The Emperor's service."""
    enabled: Mapping[str, bool] = field(default_factory=dict)
    """Whether systemd was to start the service at boot, and each unit that starts it, before the take-over."""
    step: Step = Step.WRITING
    leavings: tuple[str, ...] = ()
    """Files that the Emperor may leave behind."""

    @property
    def units(self) -> list[str]:
        """The Emperor's service, and the units that start it, such as a socket."""
        return list(dict.fromkeys((self.unit, *self.enabled)))

    def at(self, step: Step) -> TakeOver:
        """Return what is noted at another step."""
        return replace(self, step=step)

    def unfinished(self) -> BridgeError:
        """Return why a run for anything else changes nothing until it has ended."""
        problem = Diagnostic(
            code="take-over-unfinished",
            message=f"a take-over from {self.unit} has begun and not ended, so nothing is changed",
            hint="finish it: emperor-bridge take-over; or go back: emperor-bridge take-over --back",
        )
        return BridgeError(problem)


class TakeOverNote:
    """The file of the note. Only a run that holds the lock may write or remove it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self) -> TakeOver | None:
        """Return what is noted; None if no take-over was begun.

        Raises:
            BridgeError: there is a note that cannot be read.
        """
        try:
            noted = json.loads(read_regular(self.path, max_bytes=_MAX_BYTES))
            enabled = {str(unit): bool(is_enabled) for unit, is_enabled in noted["enabled"].items()}
            leavings = tuple(map(str, noted.get("leavings", ())))
            return TakeOver(unit=str(noted["unit"]), enabled=enabled, step=Step(noted["step"]), leavings=leavings)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            problem = Diagnostic(
                code="take-over-note",
                path=self.path,
                message=f"the note of a take-over cannot be read: {error}",
                hint="remove it if the Emperor's unit is as you want it",
            )
            raise BridgeError(problem) from error

    def write(self, noted: TakeOver) -> None:
        """Write the note.

        Raises:
            BridgeError: the file system refuses.
        """
        folder, name = os.path.split(self.path)
        text = json.dumps(
            {"unit": noted.unit, "enabled": dict(noted.enabled), "step": noted.step, "leavings": noted.leavings}
        )
        try:
            os.makedirs(folder, exist_ok=True)
            write_all(folder, {name: text})
        except OSError as error:
            message = f"a take-over must note what it does, and cannot: {error.strerror}"
            raise BridgeError(Diagnostic(code="take-over-note", path=self.path, message=message)) from error

    def forget(self) -> None:
        """Remove the note.

        Raises:
            OSError: the file system refuses.
        """
        # The mirrors may be in its folder.
        remove_with_folder(self.path)

    def refuse_unfinished(self) -> None:
        """Refuse a run that is no take-over while one has begun and not ended.

        Raises:
            BridgeError: so it is.
        """
        noted = self.read()
        if noted is not None and noted.step is not Step.DONE:
            raise noted.unfinished()
