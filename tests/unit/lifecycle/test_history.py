"""What became of vassals, from the manager's entries as data."""

from __future__ import annotations

from bridge.lifecycle.events import Event
from bridge.lifecycle.history import UNKNOWN, Entry, History, SystemdMessage, advance, make_histories, parse_entry
from bridge.systemd.journal import JournalEntry

UNIT = "vassal-a.service"


def entry(message: SystemdMessage, at: int, **more: object) -> Entry:
    return Entry(message=message, unit=UNIT, at=at, **more)  # type: ignore[arg-type]


def history(*entries: Entry) -> History:
    return make_histories(entries).get(UNIT, UNKNOWN)


def test_only_services_of_vassals_count() -> None:
    entries = [
        Entry(message=SystemdMessage.STARTED, unit=unit, at=1)
        for unit in ("vassal-a.socket", "ssh.service", "vassals.target")
    ]
    assert make_histories(entries) == {}


def test_wakes_and_an_idle_exit() -> None:
    told = history(entry(SystemdMessage.STARTED, 1), entry(SystemdMessage.SUCCESS, 2), entry(SystemdMessage.STARTED, 3))
    assert told == History(last_wake=3, last_idle_exit=2, wakes=2)


def test_a_stop_is_no_idle_exit() -> None:
    told = history(
        entry(SystemdMessage.STARTED, 1), entry(SystemdMessage.STOPPING, 2), entry(SystemdMessage.SUCCESS, 3)
    )
    assert told == History(last_wake=1, wakes=1)


def test_a_failed_start_is_known_before_its_pause_ends() -> None:
    first = [entry(SystemdMessage.EXITED, 1, exited=22)]
    whole = [*first, entry(SystemdMessage.FAILURE, 9, result="exit-code")]
    expected = History(last_failure=1, failure="exited with status 22 before it was ready")
    assert history(*first) == history(*whole) == expected


def test_a_crash() -> None:
    told = history(
        entry(SystemdMessage.STARTED, 1),
        entry(SystemdMessage.EXITED, 2, killed_by=9),
        entry(SystemdMessage.FAILURE, 5, result="signal"),
    )
    assert (told.last_failure, told.failure, told.wakes) == (2, "killed by SIGKILL", 1)


def test_want_of_memory_is_the_reason_whatever_else_is_said() -> None:
    kill, exited = entry(SystemdMessage.OUT_OF_MEMORY, 2), entry(SystemdMessage.EXITED, 3, killed_by=9)
    for order in ([kill, exited], [exited, kill]):
        told = history(entry(SystemdMessage.STARTED, 1), *order, entry(SystemdMessage.FAILURE, 4, result="oom-kill"))
        assert told.failure == "ended by the kernel for want of memory (killed by SIGKILL)"


def test_a_failure_without_a_process_and_a_helper_that_fails() -> None:
    assert (
        history(entry(SystemdMessage.FAILURE, 1, result="resources")).failure
        == "the system could not provide what it needs"
    )
    assert history(entry(SystemdMessage.EXITED, 1, exited=1, is_main=False)) == UNKNOWN


def test_events_continue_a_history() -> None:
    told = advance(UNKNOWN, Event.RUNNING, "", 1)
    told = advance(told, Event.IDLE_EXIT, "", 2)
    told = advance(told, Event.WAITING, "", 3)
    told = advance(told, Event.CRASHED, "why", 4)
    assert told == History(last_wake=1, last_idle_exit=2, wakes=1, last_failure=4, failure="why")


def found(**fields: str) -> JournalEntry:
    return JournalEntry({"MESSAGE_ID": str(SystemdMessage.EXITED), "UNIT": UNIT, **fields}, written=5)


def test_an_entry_is_read_from_its_fields() -> None:
    assert parse_entry(found(UNIT="vassal-a.socket"), user_manager=False) is None
    assert parse_entry(found(), user_manager=True) is None
    assert parse_entry(found(USER_UNIT=UNIT), user_manager=True) == entry(SystemdMessage.EXITED, 5, is_main=False)
    exited = found(EXIT_CODE="exited", EXIT_STATUS="22", COMMAND="ExecStart", _SOURCE_REALTIME_TIMESTAMP="3")
    assert parse_entry(exited, user_manager=False) == entry(SystemdMessage.EXITED, 3, exited=22)
    killed = found(EXIT_CODE="killed", EXIT_STATUS="9", UNIT_RESULT="signal", COMMAND="ExecStop")
    assert parse_entry(killed, user_manager=False) == (
        entry(SystemdMessage.EXITED, 5, killed_by=9, result="signal", is_main=False)
    )


def test_an_exit_with_0_of_an_app_that_could_not_say_that_it_was_ready_is_no_failure() -> None:
    assert history(entry(SystemdMessage.FAILURE, 7, result="protocol")) == History(last_idle_exit=7)
    told = history(entry(SystemdMessage.EXITED, 5, exited=1), entry(SystemdMessage.FAILURE, 7, result="exit-code"))
    assert (told.last_failure, told.failure) == (5, "exited with status 1 before it was ready")
