"""Lives from signals: those a real systemd 252 sent, and any that could be."""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.lifecycle.events import MESSAGE_IDS, PROBLEM_ID, Event, Priority, message_id
from bridge.lifecycle.tracker import LifecycleTracker
from bridge.model.change import Verb
from bridge.model.unit import UnitState
from bridge.model.unit_names import vassal_unit
from tests.unit.build import ROOT

if TYPE_CHECKING:
    from bridge.lifecycle.events import LifecycleEvent

Signal = tuple[str, str, dict[str, Any]]


def recorded() -> dict[str, list[Signal]]:
    """Return what was recorded on a booted machine, by what was done to it; without repeats, and zeroes."""
    sections: dict[str, list[Signal]] = defaultdict(list)
    section = ""
    for line in (ROOT / "tests" / "unit" / "recorded" / "signals.jsonl").read_text().splitlines():
        item = json.loads(line)
        if isinstance(item, dict):
            section = item["section"]
        else:
            sections[section].append((item[0], item[1], item[2]))
    return sections


RECORDED = recorded()
STORIES = {
    "first: sync": [
        "always starting: started", "bad waiting: waits for a connection", "crash waiting: waits for a connection",
        "exile waiting: waits for a connection", "one waiting: waits for a connection", "always running: ready",
    ],
    "first: wake one": [
        "one starting: woken by a connection", "one running: ready", "one idle-exit: exited by itself with status 0",
        "one waiting: waits for a connection",
    ],
    "first: wake one again, systemctl stop": [
        "one starting: woken by a connection", "one running: ready", "one stopped: stopped by systemd",
        "one waiting: waits for a connection",
    ],
    "first: reload one": [
        "one starting: woken by a connection", "one running: ready", "one reloaded: read its config again",
        "one idle-exit: exited by itself with status 0", "one waiting: waits for a connection",
    ],
    "first: crash: kill -9": [
        "crash starting: woken by a connection", "crash running: ready", "crash crashed: killed by SIGKILL",
        "crash throttled: next attempt in 4 s", "crash waiting: waits for a connection",
    ],
    "first: bad start; client gone": [
        "bad starting: woken by a connection", "bad failed-start: exited with status 22 before it was ready",
        "bad throttled: next attempt in 4 s", "bad waiting: waits for a connection",
        "bad starting: woken by a connection", "bad failed-start: exited with status 22 before it was ready",
        "bad throttled: next attempt in 4 s", "bad waiting: waits for a connection",
        "bad starting: woken by a connection", "bad failed-start: exited with status 22 before it was ready",
        "bad throttled: next attempt in 4 s",
    ],
    "first: socket file removed / socket stop": [
        "one closed: its socket was closed: no connection wakes it", "one waiting: waits for a connection",
    ],
    "first: socket clash": [
        "one closed: its socket was closed: no connection wakes it",
        "one socket-failed: its socket failed: the system could not provide what it needs",
        "one waiting: waits for a connection",
    ],
    "second: start by hand": ["hand starting: started", "hand running: ready"],
    "second: restart by hand": [
        "hand stopped: stopped by systemd", "hand starting: started", "hand running: ready",
    ],
    "second: SIGINT to the master": [
        "hand idle-exit: exited by itself with status 0", "hand waiting: waits for a connection",
    ],
    "second: exit 0 before ready": [
        "early starting: woken by a connection",
        "early idle-exit: exited by itself with status 0, and had never said that it was ready",
        "early waiting: waits for a connection",
        "early starting: woken by a connection",
        "early idle-exit: exited by itself with status 0, and had never said that it was ready",
    ],
    # The kernel's own kills at MemoryMax=64M, recorded on a 6.1 kernel with the memory controller of cgroup v2: of a
    # process that is all of the vassal, of a worker below its master, and of the worker of one that runs always.
    "third: out of memory": [
        "solo starting: woken by a connection", "solo running: ready",
        "solo oom-killed: ended by the kernel for want of memory (killed by SIGKILL)",
        "solo throttled: next attempt in 4 s", "solo waiting: waits for a connection",
        "solo starting: woken by a connection", "solo running: ready",
        "mas starting: woken by a connection", "mas running: ready",
        "mas oom-killed: ended by the kernel for want of memory (exited with status 0)",
        "mas throttled: next attempt in 4 s", "mas waiting: waits for a connection",
        "mas starting: woken by a connection", "mas running: ready",
        "always starting: started", "always running: ready",
        "always oom-killed: ended by the kernel for want of memory (exited with status 0)",
        "always throttled: next attempt in 4 s", "always starting: started again; restart 1", "always running: ready",
    ],
}  # fmt: skip
OF_ONE = {
    ("first: exile", "exile"): [
        "exile starting: woken by a connection", "exile running: ready",
        "exile exiled: asked not to be started again: exited with status 26", "exile waiting: waits for a connection",
    ],
    ("first: always kill", "always"): [
        "always crashed: killed by SIGKILL", "always throttled: next attempt in 4 s",
        "always starting: started again; restart 1", "always running: ready",
    ],
    ("second: program gone", "gone"): [
        "gone starting: woken by a connection",
        "gone failed-start: exited with status 203 (its program cannot be run) before it was ready",
        "gone throttled: next attempt in 4 s", "gone waiting: waits for a connection",
        "gone starting: woken by a connection", "gone running: ready",
    ],
    ("second: stop that times out", "stubborn"): [
        "stubborn starting: woken by a connection", "stubborn running: ready",
        "stubborn stopped: did not end in time (killed by SIGKILL)", "stubborn waiting: waits for a connection",
        "stubborn starting: woken by a connection", "stubborn running: ready",
    ],
}  # fmt: skip


def lines(moments: list[LifecycleEvent]) -> list[str]:
    return [f"{event.label} {event.event}: {event.text}" for event in moments]


def feed(lives: LifecycleTracker, signals: list[Signal], *, times: int = 1) -> list[LifecycleEvent]:
    """Feed signals; each pair, which is what systemd sends, as many times."""
    moments: list[LifecycleEvent] = []
    for _, pair in groupby(enumerate(signals), key=lambda item: item[0] // 2):
        both = [signal for _, signal in pair]
        for _ in range(times):
            for signal in both:
                moments += lives.feed(*signal)
    return moments


@functools.cache
def told(*, times: int = 1) -> dict[str, list[LifecycleEvent]]:
    """Return what is told of each recorded section, in its place in the whole."""
    stories: dict[str, list[LifecycleEvent]] = {}
    lives = LifecycleTracker(now=0)
    for section, signals in RECORDED.items():
        if section.endswith(": sync"):
            lives = LifecycleTracker(now=0, pause=lambda _: 4.0)
        stories[section] = feed(lives, signals, times=times)
    return stories


@pytest.mark.parametrize("section", STORIES)
def test_a_recorded_story(section: str) -> None:
    assert lines(told()[section]) == STORIES[section]


@pytest.mark.parametrize(("section", "label"), OF_ONE)
def test_a_recorded_story_of_one_among_others(section: str, label: str) -> None:
    moments = [event for event in told()[section] if event.label == label]
    assert lines(moments) == OF_ONE[section, label]


def test_signals_that_repeat_tell_nothing_more() -> None:
    assert told(times=3) == told()


def test_an_end_carries_systemds_own_facts() -> None:
    (crash,) = (m for m in told()["first: crash: kill -9"] if m.event is Event.CRASHED)
    assert crash.fields == {"UNIT_RESULT": "signal", "EXIT_CODE": "killed", "EXIT_STATUS": "9"}
    assert (crash.unit, crash.priority) == ("vassal-crash.service", Priority.WARNING)
    (exile,) = (m for m in told()["first: exile"] if m.event is Event.EXILED)
    assert exile.fields["EXIT_STATUS"] == "26"


def test_every_event_has_a_message_id_of_its_own() -> None:
    assert set(MESSAGE_IDS) == {Event, Verb}
    assert set(MESSAGE_IDS[Event]) == set(Event)
    assert set(MESSAGE_IDS[Verb]) == set(Verb)
    values = [PROBLEM_ID, *(value for table in MESSAGE_IDS.values() for value in table.values())]
    assert len(set(values)) == len(Event) + len(Verb) + 1
    assert all(len(value) == 32 and int(value, 16) for value in values)
    # Both are the text "reloaded".
    assert message_id(Event.RELOADED) != message_id(Verb.RELOADED)


def service(active: str, sub: str, **own: object) -> list[Signal]:
    began = own.pop("began", 100)
    ready = own.pop("ready", 0)
    job = own.pop("Job", [0, "/"])
    main = {"Result": "success", "MainPID": 0, "ExecMainStartTimestampMonotonic": began, **own}
    unit = {"ActiveState": active, "SubState": sub, "Job": job, "ActiveEnterTimestampMonotonic": ready}
    return [("vassal-a.service", "Service", main), ("vassal-a.service", "Unit", unit)]


def ended(code: int = 1, status: int = 0, at: int = 200) -> dict[str, object]:
    return {"ExecMainCode": code, "ExecMainStatus": status, "ExecMainExitTimestampMonotonic": at}


def test_a_whole_life_in_one_signal_is_told_in_order() -> None:
    moments = feed(LifecycleTracker(now=0), service("inactive", "dead", ready=150, **ended()))
    assert [event.event for event in moments] == [Event.STARTING, Event.RUNNING, Event.IDLE_EXIT]


def test_a_run_that_was_replaced_unseen_is_told_to_have_ended() -> None:
    lives = LifecycleTracker(now=0)
    feed(lives, service("active", "running", ready=150, MainPID=1))
    moments = feed(lives, service("active", "running", began=300, ready=350, MainPID=2))
    assert [event.event for event in moments] == [Event.STOPPED, Event.STARTING, Event.RUNNING]


@pytest.mark.parametrize("status", [{}, ended(2, 9)])
def test_want_of_memory_is_told_as_such(status: dict[str, object]) -> None:
    lives = LifecycleTracker(now=0)
    feed(lives, service("active", "running", ready=150, MainPID=1))
    moments = feed(lives, service("deactivating", "stop-sigterm", ready=150, Result="oom-kill", MainPID=1, **status))
    moments += feed(lives, service("deactivating", "stop-post", ready=150, Result="oom-kill", **ended(2, 9)))
    assert [event.event for event in moments] == [Event.OOM_KILLED, Event.THROTTLED]
    assert moments[0].text == "ended by the kernel for want of memory (killed by SIGKILL)"


def test_a_start_without_a_process_is_told() -> None:
    lives = LifecycleTracker(now=0)
    moments = feed(lives, service("failed", "failed", began=0, Result="resources"))
    assert lines(moments) == ["a failed-start: the system could not provide what it needs"]


def test_a_start_that_fails_before_the_main_process_is_told() -> None:
    lives = LifecycleTracker(now=0)
    moments = feed(lives, service("activating", "start-pre", began=0))
    moments += feed(lives, service("failed", "failed", began=0, Result="exit-code"))
    assert [event.event for event in moments] == [Event.STARTING, Event.FAILED_START]


def test_a_start_with_something_before_the_main_process_is_one_start() -> None:
    lives = LifecycleTracker(now=0)
    moments = feed(lives, service("activating", "start-pre", began=0))
    moments += feed(lives, service("activating", "start", began=100, MainPID=1))
    moments += feed(lives, service("active", "running", began=100, ready=150, MainPID=1))
    assert [event.event for event in moments] == [Event.STARTING, Event.RUNNING]


SEEDS: dict[str, tuple[UnitState, dict[str, Any]]] = {
    "running": (UnitState(load="loaded", active="active", sub="running"), {"ready": 150, "MainPID": 1}),
    "start": (UnitState(load="loaded", active="activating", sub="start"), {"MainPID": 1}),
    "dead": (UnitState(load="loaded", active="inactive", sub="dead"), ended()),
    "failed": (UnitState(load="loaded", active="failed", sub="failed"), {**ended(1, 22), "Result": "exit-code"}),
    "stop-post": (
        UnitState(load="loaded", active="deactivating", sub="stop-post"),
        {**ended(1, 22), "Result": "exit-code"},
    ),
    "auto-restart": (
        UnitState(load="loaded", active="activating", sub="auto-restart"),
        {**ended(2, 9), "Result": "signal", "ready": 150},
    ),
}


@pytest.mark.parametrize("name", SEEDS)
def test_what_was_so_before_is_not_told(name: str) -> None:
    state, own = SEEDS[name]
    lives = LifecycleTracker(now=1000)
    lives.seed({"vassal-a.service": state, "vassal-a.socket": UnitState(load="loaded", active="active", sub="running")})
    assert feed(lives, service(state.active, state.sub, **own), times=2) == []


def test_after_a_restart_of_the_bridge_the_story_goes_on() -> None:
    lives = LifecycleTracker(now=1000)
    lives.seed({"vassal-a.service": SEEDS["running"][0]})
    moments = feed(lives, service("deactivating", "stop-post", ready=150, **ended(at=2000)))
    moments += feed(lives, service("active", "running", began=3000, ready=3100, MainPID=7))
    assert [event.event for event in moments] == [Event.IDLE_EXIT, Event.STARTING, Event.RUNNING]


def test_other_units_and_half_signals_tell_nothing() -> None:
    lives = LifecycleTracker(now=0)
    for unit in ("ssh.service", "vassals.target", "vassals-0a.slice", "pause-vassal-a.service", "vassal-a", ""):
        assert vassal_unit(unit) is None
        assert lives.feed(unit, "Unit", {"ActiveState": "failed"}) == []
    assert lives.feed("vassal-a.service", "Unit", {"ActiveState": "active", "SubState": "running"}) == []
    assert lives.feed("vassal-a.service", "org.freedesktop.systemd1.Service", {}) == []


def socket(active: str, sub: str) -> list[Signal]:
    unit = {"ActiveState": active, "SubState": sub, "Job": [0, "/"]}
    return [("vassal-a.socket", "Socket", {"Result": "success"}), ("vassal-a.socket", "Unit", unit)]


RUNS = service("active", "running", ready=150, MainPID=1)
STOPS = service("deactivating", "stop-sigterm", ready=150, MainPID=1, Job=[7, "/job/7"])
HAS_STOPPED = service("inactive", "dead", ready=150, **ended())
LISTENS, TRIGGERED, CLOSED = socket("active", "listening"), socket("active", "running"), socket("inactive", "dead")


def running_vassal() -> LifecycleTracker:
    tracker = LifecycleTracker(now=0)
    feed(tracker, [*LISTENS, *TRIGGERED, *RUNS])
    return tracker


@pytest.mark.parametrize("order", [(STOPS, HAS_STOPPED, LISTENS, CLOSED), (STOPS, LISTENS, HAS_STOPPED, CLOSED)])
def test_a_running_vassal_that_is_removed_never_waits_again(order: tuple[list[Signal], ...]) -> None:
    signals = [signal for part in order for signal in part]
    kept, removed = running_vassal(), running_vassal()
    assert [event.event for event in feed(kept, signals)] == [Event.STOPPED, Event.WAITING, Event.CLOSED]
    removed.expect_removal("a")
    assert [event.event for event in feed(removed, signals, times=2)] == [Event.STOPPED, Event.CLOSED]


def test_a_vassal_of_the_same_name_waits_again() -> None:
    for forgets in (True, False):
        tracker = running_vassal()
        tracker.expect_removal("a")
        feed(tracker, [*STOPS, *HAS_STOPPED, *LISTENS, *CLOSED])
        if forgets:
            tracker.forget("a")
        assert [event.event for event in feed(tracker, LISTENS)] == [Event.WAITING]


TIMES = st.integers(0, 6)
OWN = st.fixed_dictionaries(
    {},
    optional={
        "Result": st.sampled_from(["success", "exit-code", "signal", "oom-kill", "resources", "timeout", "weird"]),
        "ExecMainStartTimestampMonotonic": TIMES,
        "ExecMainExitTimestampMonotonic": TIMES,
        "ExecMainCode": st.integers(0, 3),
        "ExecMainStatus": st.sampled_from([0, 1, 9, 22, 26, 30, 203, 255]),
        "NRestarts": st.integers(0, 2),
        "MainPID": st.integers(0, 1),
    },
)
SUBS = {
    "inactive": ["dead"], "failed": ["failed"], "active": ["running", "listening", "exited"], "reloading": ["reload"],
    "activating": ["start-pre", "start", "auto-restart"], "maintenance": ["x"],
    "deactivating": ["stop-sigterm", "stop-sigkill", "stop-post", "final-sigterm"],
}  # fmt: skip
UNIT = st.sampled_from(sorted(SUBS)).flatmap(
    lambda active: st.fixed_dictionaries(
        {"ActiveState": st.just(active), "SubState": st.sampled_from(SUBS[active])},
        optional={"Job": st.tuples(st.integers(0, 1), st.just("/")), "ActiveEnterTimestampMonotonic": TIMES},
    )
)
SIGNALS = st.lists(st.tuples(st.sampled_from(["vassal-a.service", "vassal-a.socket", "vassal-b.service"]), OWN, UNIT))


@given(SIGNALS)
def test_any_signals_tell_a_story_that_makes_sense(signals: list[tuple[str, dict[str, Any], dict[str, Any]]]) -> None:
    lives = LifecycleTracker(now=2)
    for unit, own, values in signals:
        pair: list[Signal] = [(unit, "Own", own), (unit, "Unit", values)]
        moments = feed(lives, pair)
        # One signal can span the end of a run and the beginning of the next.
        events = [m.event for m in moments if m.event not in {Event.STARTING, Event.STOPPED}]
        assert len(set(events)) == len(events)
        assert all(event.text for event in moments)
        # Without a change there is no event.
        assert feed(lives, pair) == []


DEAD_SERVICE = UnitState(load="loaded", active="inactive", sub="dead")
WAITING_SOCKET = UnitState(load="loaded", active="active", sub="listening")


@pytest.mark.parametrize("order", [("service", "socket"), ("socket", "service")])
def test_who_waited_before_is_not_told_to_wait_and_is_woken(order: tuple[str, str]) -> None:
    states = {"vassal-a.service": DEAD_SERVICE, "vassal-a.socket": WAITING_SOCKET}
    lives = LifecycleTracker(now=1000)
    lives.seed({f"vassal-a.{kind}": states[f"vassal-a.{kind}"] for kind in order})
    assert feed(lives, LISTENS) == []
    first, *_ = feed(lives, [*TRIGGERED, *service("active", "running", began=3000, ready=3100, MainPID=7)])
    assert (first.event, first.text) == (Event.STARTING, "woken by a connection")
    assert [m.event for m in feed(lives, [*LISTENS, *CLOSED])] == [Event.CLOSED]


@pytest.mark.parametrize("order", [("service", "socket"), ("socket", "service")])
@pytest.mark.parametrize("active", ["failed", "deactivating", "active"])
def test_what_does_more_than_wait_is_known(order: tuple[str, str], active: str) -> None:
    states = {
        "vassal-a.service": UnitState(load="loaded", active=active, sub="stop-post"),
        "vassal-a.socket": WAITING_SOCKET,
    }
    lives = LifecycleTracker(now=1000)
    lives.seed({f"vassal-a.{kind}": states[f"vassal-a.{kind}"] for kind in order})
    (known,) = lives._vassals.values()
    assert (known.socket, known.active, known.waiting) == ("listening", active, active == "failed")


def test_nothing_is_remembered_of_each_that_waits() -> None:
    lives = LifecycleTracker(now=0)
    lives.seed(
        {
            f"vassal-v{number}.{kind}": state
            for number in range(100)
            for kind, state in (("service", DEAD_SERVICE), ("socket", WAITING_SOCKET))
        }
    )
    assert not lives._vassals
    lives.forget("v7")
    # A new vassal with the old name begins to wait.
    assert [m.event for m in feed(lives, [(u.replace("-a.", "-v7."), k, v) for u, k, v in LISTENS])] == [Event.WAITING]
