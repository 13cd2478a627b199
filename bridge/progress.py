"""How long work reports how far it has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

StageProgress: TypeAlias = "Callable[[int, int], None]"
"""Called with the number of steps done and their total, of one stage."""


class Progress(Protocol):
    """Called with the name of a stage, the number of its steps done, and their total."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report one stage's progress."""


def stage(progress: Progress, name: str) -> StageProgress:
    """Return what reports the progress of the stage with this name."""
    return lambda done, total: progress(name, done, total)


def no_progress(*_: object, **__: object) -> None:
    """Report nothing."""
