"""What a vassal has to tell in a loop is summed up."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from bridge.diagnostics import Diagnostic
from bridge.lifecycle.events import Event, LifecycleEvent
from bridge.model.change import Change, Verb
from bridge.watch import coalesce
from bridge.watch.coalesce import _REMEMBERED, BURST, PERIOD, Coalescer

if TYPE_CHECKING:
    from types import FrameType


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def event(kind: Event, label: str = "app", text: str = "") -> LifecycleEvent:
    return LifecycleEvent(label=label, unit=f"vassal-{label}.service", event=kind, text=text or str(kind))


class Journal:
    def __init__(self) -> None:
        self.entries: list[str] = []
        self.clock = Clock()
        self.coalescer = Coalescer(self.tell, self.clock)

    def tell(self, entry: object) -> None:
        self.entries.append(entry.text if isinstance(entry, LifecycleEvent) else str(entry))

    def take(self) -> list[str]:
        entries, self.entries = self.entries, []
        return entries


@pytest.fixture
def journal() -> Journal:
    return Journal()


def test_a_whole_life_is_told_at_once(journal: Journal) -> None:
    for kind in list(Event)[:BURST]:
        journal.coalescer.add("app", event(kind))
    assert len(journal.take()) == BURST
    assert journal.coalescer.due() is None


def test_a_loop_is_one_entry_a_second_with_its_number(journal: Journal) -> None:
    for _ in range(BURST + 57):
        journal.coalescer.add("app", event(Event.RELOADED, text="read its config again"))
    assert len(journal.take()) == BURST
    journal.coalescer.flush()
    assert journal.take() == []
    assert journal.coalescer.due() == journal.clock.now + PERIOD
    journal.clock.now += PERIOD
    journal.coalescer.flush()
    assert journal.take() == ["read its config again (at least 57 times)"]
    assert journal.coalescer.due() is None
    for _ in range(30):
        for _ in range(1000):
            journal.coalescer.add("app", event(Event.RELOADED))
            journal.clock.now += PERIOD / 1000
            journal.coalescer.flush()
    assert 29 <= len(journal.take()) <= 31


def test_what_waits_can_be_told_at_once(journal: Journal) -> None:
    for _ in range(BURST + 5):
        journal.coalescer.add("app", event(Event.RELOADED, text="read its config again"))
    journal.take()
    journal.coalescer.flush()
    assert journal.take() == []
    journal.coalescer.flush(at_once=True)
    assert journal.take() == ["read its config again (at least 5 times)"]
    assert journal.coalescer.due() is None


def test_other_vassals_are_told_at_once_meanwhile(journal: Journal) -> None:
    for _ in range(100):
        journal.coalescer.add("loud", event(Event.RELOADED, "loud"))
    journal.take()
    journal.coalescer.add("quiet", event(Event.CRASHED, "quiet", "killed by SIGSEGV"))
    assert journal.take() == ["killed by SIGSEGV"]


def test_of_several_kinds_the_worst_is_told_and_the_others_are_counted(journal: Journal) -> None:
    for _ in range(BURST):
        journal.coalescer.add("app", event(Event.RELOADED))
    journal.take()
    for kind in (Event.STARTING, Event.CRASHED, Event.THROTTLED, Event.STARTING, Event.CRASHED, Event.THROTTLED):
        journal.coalescer.add("app", event(kind))
    journal.clock.now += PERIOD
    journal.coalescer.flush()
    assert journal.take() == ["crashed (at least 2 times); in the same second: starting (2), throttled (2)"]


def test_changes_and_problems_are_summed_up_too(journal: Journal) -> None:
    change = Change(vassal="app.ini", unit="vassal-app.service", verb=Verb.RELOADED, detail="its config changed")
    problem = Diagnostic(code="config-unreadable", message="it is wrong", path="/v/app.ini", key="k")
    for _ in range(BURST + 3):
        journal.coalescer.add("app", change)
        journal.coalescer.add("k", problem)
    journal.take()
    journal.clock.now += PERIOD
    journal.coalescer.flush()
    assert journal.take() == [
        "app.ini: reloaded, its config changed (at least 3 times)",
        "/v/app.ini: error: it is wrong (at least 3 times) [config-unreadable]",
    ]


def test_who_is_quiet_may_tell_much_again(journal: Journal) -> None:
    for _ in range(BURST + 1):
        journal.coalescer.add("app", event(Event.RELOADED))
    journal.clock.now += PERIOD
    journal.coalescer.flush()
    journal.take()
    journal.clock.now += BURST * PERIOD
    for _ in range(BURST):
        journal.coalescer.add("app", event(Event.RELOADED))
    assert len(journal.take()) == BURST


def test_thousands_of_vassals_are_not_remembered_for_ever(journal: Journal) -> None:
    for number in range(5 * _REMEMBERED):
        journal.coalescer.add(str(number), event(Event.WAITING))
        journal.clock.now += PERIOD / 10
    assert len(journal.coalescer._recent) <= _REMEMBERED


@pytest.mark.parametrize("each", [0.0, PERIOD / 10], ids=["at once", "one after the other"])
def test_thousands_of_vassals_take_as_many_times_the_work(each: float) -> None:
    assert _lines_run(4 * _REMEMBERED, each) < 4.5 * _lines_run(_REMEMBERED, each)


def _lines_run(vassals: int, each: float) -> int:
    """Return how many lines of the module run for an entry of each of these vassals, after a thousand others."""
    journal, lines = Journal(), 0

    def trace(frame: FrameType, kind: str, _: object) -> Any:
        nonlocal lines
        lines += kind == "line"
        return trace if frame.f_code.co_filename == coalesce.__file__ else None

    for number in range(_REMEMBERED):
        journal.coalescer.add(f"before-{number}", event(Event.WAITING))
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for number in range(vassals):
            journal.coalescer.add(str(number), event(Event.WAITING))
            journal.clock.now += each
    finally:
        sys.settrace(before)
    return lines
