"""Batches of jobs: what is known of one that was launched while something else was waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from bridge.progress import no_progress
from bridge.systemd.jobs import JobBatches

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.systemd.bus import Bus

Signal = tuple[str, str, tuple[Any, ...]]


class Queue:
    """A bus that answers each call with a job, and sends the signals it was given, then none."""

    def __init__(self) -> None:
        self.signals: list[Signal] = []
        self.waits = 0
        self.forgotten: list[int] = []
        self._jobs = 0
        self._begun = 0

    def match(self, *_: object, **__: object) -> None:
        """Take a match rule."""

    unmatch = match

    def begin(self, *_: object) -> int:
        self._begun += 1
        return self._begun

    def forget_begun(self, serial: int) -> None:
        self.forgotten.append(serial)

    def call_many(self, calls: Any) -> list[tuple[str]]:
        answers = []
        for *_, body in calls:
            self._jobs += 1
            self.signals.append(removed(f"/job/{self._jobs}", body[0]))
            answers.append((f"/job/{self._jobs}",))
        return answers

    def next_signal(self, _until: float, *, begun: int = 0) -> Signal | None:
        del begun
        self.waits += 1
        return self.signals.pop(0) if self.signals else None


def removed(job: str, unit: str) -> Signal:
    return "/", "JobRemoved", (1, job, unit, "done")


def test_a_batch_that_was_done_meanwhile_is_not_waited_for(tmp_path: Path) -> None:
    bus = Queue()
    batches = JobBatches(cast("Bus", bus), str(tmp_path), lambda *_: None)
    batches.launch(["a.service"])
    batches.launch(["b.service"])
    one, other = sorted(path.name for path in tmp_path.iterdir())
    bus.signals.append(removed("/job/90", one))
    batches.run("Wants", ["c.socket"], timeout=60, progress=no_progress)
    bus.signals.append(removed("/job/91", other))
    bus.waits = 0
    batches.join(timeout=60, progress=no_progress)
    assert (bus.waits, bus.signals) == (1, [])
    assert bus.forgotten == [1, 2]
    assert list(tmp_path.iterdir()) == []
