"""The last resort: an exception that nobody expected refuses the one vassal that was worked on.

What is expected is handled where it occurs, and has a code of its own. This guard is for the rest: a fault of the
bridge must not end the run, and with it every other vassal, for what one tenant wrote.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.model.unit import InstalledVassal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from bridge.model.vassal import ResolvedVassal, Vassal

_MACHINE = (BridgeError, MemoryError)
"""These concern the whole run, whatever vassal was worked on."""
_HINT = (
    "this is a fault of emperor-bridge: please report it, with what this prints: "
    "journalctl _UID=0 EMPEROR_BRIDGE_CODE=internal -p debug"
)


class Guard:
    """Collects the vassals whose work ended in an exception that nobody expected.

    Used as ``with guard.of(vassal): …``. A ``BridgeError`` and a lack of memory pass.
    """

    def __init__(self) -> None:
        self.problems: dict[str, Diagnostic] = {}
        """The problem of each such vassal, by its key."""

    def of(self, vassal: Vassal | InstalledVassal) -> _OneVassal:
        """Return the context in which one vassal is worked on."""
        return _OneVassal(self, vassal)

    def find(self, work: Callable[[Sequence[ResolvedVassal]], object], vassals: Sequence[ResolvedVassal]) -> None:
        """Find the vassals for which work that takes many at once fails: it is repeated with parts of them."""
        try:
            work(vassals)
        except Exception as error:
            if not is_unexpected(error):
                raise
            if len(vassals) == 1:
                with self.of(vassals[0].vassal):
                    raise
            elif vassals:
                self.find(work, vassals[: len(vassals) // 2])
                self.find(work, vassals[len(vassals) // 2 :])


class _OneVassal:
    """Work on one vassal. There are thousands, so this is no generator."""

    __slots__ = ("_guard", "_vassal")

    def __init__(self, guard: Guard, vassal: Vassal | InstalledVassal) -> None:
        self._guard = guard
        self._vassal = vassal

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> bool:
        if not isinstance(error, Exception) or isinstance(error, _MACHINE):
            return False
        vassal = self._vassal
        if isinstance(vassal, InstalledVassal):
            config, owner = vassal.config, vassal.tenant
        else:
            config, owner = vassal.config.path, vassal.config.owner.uid
        problem = internal_problem(error, config)
        self._guard.problems[vassal.key] = replace(problem, key=vassal.key, vassal=vassal.name, owner=owner)
        return True


def is_unexpected(error: Exception) -> bool:
    """Tell whether an exception is one of a single vassal's, and not of the whole run."""
    return not isinstance(error, _MACHINE)


def internal_problem(error: Exception, config: str | None = None) -> Diagnostic:
    """Return the problem that an unexpected exception is; its traceback goes to the journal."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename.rpartition('/')[2]}, line {frames[-1].lineno})" if frames else ""
    return Diagnostic(
        code="internal",
        path=config,
        config=config,
        message=f"the bridge itself failed here: {type(error).__name__}: {error}{place}; what ran before goes on",
        hint=_HINT,
        detail="".join(traceback.format_exception(error)),
    )
