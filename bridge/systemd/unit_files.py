"""Whether units start at boot: asked and changed with systemctl, which knows scripts in /etc/init.d too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.host.process import CommandError, output_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_TIMEOUT = 120.0
"""Seconds; systemctl has the manager read all unit files again."""
_MAX_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class UnitFiles:
    """The unit files of the system's service manager or of the user's."""

    is_users: bool

    def is_enabled(self, unit: str) -> bool:
        """Tell whether a unit is started at boot (systemctl(1), ``is-enabled``)."""
        try:
            # It fails for a unit that is disabled, and also for one that cannot be enabled.
            return self._systemctl("is-enabled", [unit]).startswith(b"enabled")
        except CommandError:
            return False

    def set_enabled(self, units: Sequence[str], *, is_enabled: bool) -> None:
        """Have units started at boot, or not. They are neither started nor stopped.

        Raises:
            BridgeError: systemctl refuses.
        """
        verb = "enable" if is_enabled else "disable"
        try:
            if units:
                self._systemctl(verb, units)
        except CommandError as error:
            problem = Diagnostic(
                code="unit-files",
                message=f"systemctl {verb} {' '.join(units)} {error}",
                hint="do it by hand, so that only one of the Emperor and vassals.target starts at boot",
            )
            raise BridgeError(problem) from error

    def _systemctl(self, verb: str, units: Sequence[str]) -> bytes:
        scope = ["--user"] if self.is_users else []
        argv = ["systemctl", *scope, verb, "--", *units]
        return output_of(argv, timeout=_TIMEOUT, max_bytes=_MAX_BYTES, cwd="/")
