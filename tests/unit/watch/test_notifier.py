"""What the daemon reports of runs and units, each thing once."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bridge.diagnostics import Diagnostic, Severity
from bridge.lifecycle.events import Event, LifecycleEvent
from bridge.model.change import Change, Verb
from bridge.model.unit import UnitChange
from bridge.reconcile.run import Scope
from bridge.watch import notifier as module
from bridge.watch.notifier import Notifier
from tests.unit.build import DEAD, LISTENING, RUNNING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bridge.model.unit import UnitState


class FakeTracker:
    """Takes each change's values as the text of an event, and remembers the calls."""

    def __init__(self, *, now: int) -> None:
        assert now > 0
        self.calls: list[tuple[str, object]] = []

    def seed(self, states: Mapping[str, UnitState]) -> None:
        self.calls.append(("seed", dict(states)))

    def expect_removal(self, label: str) -> None:
        self.calls.append(("expect_removal", label))

    def forget(self, label: str) -> None:
        self.calls.append(("forget", label))

    def feed(self, unit: str, interface: str, changed: Mapping[str, Any]) -> list[LifecycleEvent]:
        assert interface == "Unit"
        label = unit.removeprefix("vassal-").removesuffix(".service")
        return [LifecycleEvent(label=label, unit=unit, event=event, text=str(event)) for event in changed["events"]]


class Journal:
    """What was written to the journal."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.fails = False

    def tell(self, event: LifecycleEvent, *, vassal: str, user_manager: bool) -> None:
        assert not user_manager
        if self.fails:
            raise OSError
        self.entries.append(f"{vassal}: {event.text}")

    def tell_run(self, changes: Iterable[Change], problems: Iterable[Diagnostic], *, user_manager: bool) -> None:
        assert not user_manager
        self.entries += [f"{change.vassal}: {change.verb}" for change in changes]
        self.entries += [problem.code for problem in problems]

    def take(self) -> list[str]:
        entries, self.entries = self.entries, []
        return entries


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> Journal:
    journal = Journal()
    monkeypatch.setattr(module, "tell", journal.tell)
    monkeypatch.setattr(module, "tell_run", journal.tell_run)
    return journal


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> FakeTracker:
    tracker = FakeTracker(now=1)
    monkeypatch.setattr(module, "LifecycleTracker", lambda *, now: tracker if now else None)
    return tracker


@pytest.fixture
def notifier(journal: Journal, tracker: FakeTracker) -> Notifier:
    del journal, tracker
    return Notifier(user_manager=False, pause={"slow": 4.0}.get)


def change(unit: str, *events: Event) -> UnitChange:
    return UnitChange(unit, "Unit", {"events": events})


def problem(code: str, key: str | None = None, severity: Severity = Severity.ERROR) -> Diagnostic:
    return Diagnostic(code=code, message="it is wrong", key=key, severity=severity)


def planned(
    names: dict[str, str],
    *,
    scope: Scope | None = None,
    removed: dict[str, str] | None = None,
    diagnostics: tuple[Diagnostic, ...] = (),
    changes: tuple[Change, ...] = (),
) -> Any:
    return SimpleNamespace(
        scope=Scope.all() if scope is None else scope,
        names=names,
        removed=removed or {},
        diagnostics=diagnostics,
        changes=changes,
    )


def test_changes_and_events_are_reported_under_the_vassals_name(notifier: Notifier, journal: Journal) -> None:
    added = Change(vassal="app.ini", unit="vassal-app.service", verb=Verb.ADDED)
    notifier.done(planned({"app": "app.ini"}, changes=(added,)), ())
    notifier.unit_changed(change("vassal-app.service", Event.STARTING, Event.RUNNING))
    notifier.unit_changed(change("vassal-other.service", Event.STARTING))
    assert journal.take() == ["app.ini: added", "app.ini: starting", "app.ini: running", "other: starting"]


def test_events_of_another_configurations_vassals_are_not_reported(journal: Journal, tracker: FakeTracker) -> None:
    del tracker
    notifier = Notifier(user_manager=False, pause=lambda _: None, is_foreign={"other", "gone"}.__contains__)
    notifier.done(planned({"app": "app.ini"}, removed={"gone": "gone.ini"}), ())
    for label in ("app", "other", "new", "gone"):
        notifier.unit_changed(change(f"vassal-{label}.service", Event.RUNNING))
    # Its own units may be gone when their end is reported.
    assert journal.take() == ["app.ini: running", "new: running", "gone.ini: running"]


def test_a_journal_that_refuses_an_event_stops_nothing(notifier: Notifier, journal: Journal) -> None:
    journal.fails = True
    notifier.unit_changed(change("vassal-app.service", Event.STARTING))
    assert journal.take() == []


def test_a_pause_is_reported_with_its_length_once_it_has_begun(notifier: Notifier, journal: Journal) -> None:
    for label in ("slow", "fast"):
        notifier.unit_changed(change(f"vassal-{label}.service", Event.THROTTLED))
    assert journal.take() == []
    # Of a new unit the manager sends the state in which it was loaded, too.
    for state in ("inactive", "active", "active"):
        for label in ("slow", "fast"):
            notifier.unit_changed(UnitChange(f"pause-vassal-{label}.service", "Service", {"MainPID": 1}))
            notifier.unit_changed(UnitChange(f"pause-vassal-{label}.service", "Unit", {"ActiveState": state}))
    assert journal.take() == ["slow: next attempt in 4 s", "fast: throttled"]
    # The service may tell it after its pause.
    notifier.unit_changed(change("vassal-slow.service", Event.THROTTLED))
    notifier.unit_changed(UnitChange("pause-vassal-slow.service", "Unit", {"ActiveState": "inactive"}))
    assert journal.take() == []


def test_a_pause_after_a_start_without_a_process_says_why(journal: Journal, tracker: FakeTracker) -> None:
    del tracker
    reasons = {"vassal-app.service": "its EnvironmentFile /x is missing"}
    notifier = Notifier(user_manager=False, pause=lambda _: 4, obstacle=lambda service: reasons.get(service, ""))
    notifier.done(planned({"app": "app.ini", "other": "other.ini"}), ())
    for unit in ("pause-vassal-app.service", "pause-vassal-other.service", "pause-vassal-stranger.service"):
        for state in ("activating", "activating", "inactive"):
            notifier.unit_changed(UnitChange(unit, "Unit", {"ActiveState": state}))
    assert journal.take() == [
        "app.ini: next attempt in 4 s: its EnvironmentFile /x is missing",
        "other.ini: next attempt in 4 s",
    ]
    notifier.unit_changed(UnitChange("pause-vassal-other.service", "Unit", {"ActiveState": "activating"}))
    assert journal.take() == ["other.ini: next attempt in 4 s"]


def test_a_problem_that_stays_is_reported_once(notifier: Notifier, journal: Journal) -> None:
    staying, passing = problem("stays", "k"), problem("passes", "k")
    notifier.done(planned({}, diagnostics=(staying, passing)), ())
    assert journal.take() == ["passes", "stays"]
    notifier.done(planned({}, diagnostics=(staying,)), (problem("new"),))
    assert journal.take() == ["new"]
    notifier.done(planned({}, diagnostics=(staying, passing)), ())
    assert journal.take() == ["passes"]


def test_a_run_of_some_vassals_keeps_the_problems_of_the_others(notifier: Notifier, journal: Journal) -> None:
    of_a, of_b, of_none = problem("a", "key:a"), problem("b", "key:b"), problem("none")
    notifier.done(planned({}, diagnostics=(of_a, of_b, of_none)), ())
    journal.take()
    assert notifier.summary == "0 vassals, 3 problems"
    notifier.done(planned({}, scope=Scope.of(frozenset({"key:a"}))), ())
    assert notifier.summary == "0 vassals, 2 problems"
    notifier.done(planned({}, diagnostics=(of_a, of_b)), ())
    assert journal.take() == ["a"]


def test_a_failed_run_does_not_repeat_the_problems_of_the_run_before(notifier: Notifier, journal: Journal) -> None:
    known = problem("known")
    notifier.done(planned({}, diagnostics=(known,)), ())
    for _ in range(2):
        notifier.failed(problem("failed"))
    notifier.done(planned({}, diagnostics=(known,)), ())
    assert journal.take() == ["known", "failed"]
    assert notifier.summary == "0 vassals, 1 problem"


def test_another_process_goes_on_with_what_this_one_remembered(journal: Journal) -> None:
    def make() -> Notifier:
        return Notifier(user_manager=False, pause={"slow": 4.0}.get)

    told: list[object] = []
    child, daemon = make(), make()
    child.tell_by(told.append)
    child.follow({"vassal-app.socket": LISTENING, "vassal-app.service": DEAD, "vassal-other.service": RUNNING})
    added = Change(vassal="app.ini", unit="vassal-app.service", verb=Verb.ADDED)
    child.done(planned({"app": "app.ini"}, changes=(added,), diagnostics=(problem("keyed", "app"),)), (problem("old"),))
    daemon.recall(pickle.loads(pickle.dumps(child.memory(), pickle.HIGHEST_PROTOCOL)))  # noqa: S301 - packed here
    assert journal.take() == []
    assert told == [added, problem("keyed", "app"), problem("old")]
    for entry in told:
        daemon.tell(entry)  # type: ignore[arg-type]
    assert journal.take() == ["app.ini: added", "keyed", "old"]
    assert daemon.summary == child.summary == "1 vassal, 2 problems"
    daemon.done(planned({"app": "app.ini"}, diagnostics=(problem("keyed", "app"),)), (problem("new"),))
    assert journal.take() == ["new"]
    values = {"ActiveState": "inactive", "SubState": "dead", "Result": "success"}
    for interface in ("Socket", "Unit"):
        daemon.unit_changed(UnitChange("vassal-app.socket", interface, values))
    assert journal.take() == ["app.ini: its socket was closed: no connection wakes it"]


def test_the_summary_counts_vassals_and_errors(notifier: Notifier) -> None:
    notifier.done(planned({"a": "a.ini", "b": "b.ini"}, diagnostics=(problem("w", severity=Severity.WARNING),)), ())
    assert notifier.summary == "2 vassals"
    some = Scope.of(frozenset({"key:a", "key:c"}))
    notifier.done(planned({"c": "c.ini"}, scope=some, removed={"a": "a.ini"}), ())
    assert notifier.summary == "2 vassals"
    notifier.done(planned({"c": "c.ini"}), ())
    assert notifier.summary == "1 vassal"


def test_a_removed_vassal_ends_under_its_name_and_is_then_forgotten(
    notifier: Notifier, journal: Journal, tracker: FakeTracker
) -> None:
    notifier.done(planned({"app": "app.ini"}), ())
    run = planned({}, scope=Scope.of(frozenset({"key:app"})), removed={"app": "app.ini"})
    notifier.will_remove(run.removed)
    assert tracker.calls == [("expect_removal", "app")]
    notifier.done(run, ())
    notifier.unit_changed(change("vassal-app.service", Event.STOPPED))
    assert journal.take() == ["app.ini: stopped"]
    assert ("forget", "app") not in tracker.calls
    notifier.done(planned({}), ())
    assert tracker.calls[-1] == ("forget", "app")


def test_a_vassal_that_comes_back_is_no_longer_expected_to_be_removed(notifier: Notifier, tracker: FakeTracker) -> None:
    run = planned({}, removed={"app": "app.ini"})
    notifier.will_remove(run.removed)
    notifier.done(run, ())
    notifier.done(planned({"app": "app.ini"}), ())
    assert tracker.calls == [("expect_removal", "app"), ("forget", "app")]


def test_only_a_terminal_gets_lines(
    notifier: Notifier, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    notifier.failed(problem("first"))
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    notifier.failed(problem("second"))
    assert capsys.readouterr().err == "error: it is wrong [second]\n"
