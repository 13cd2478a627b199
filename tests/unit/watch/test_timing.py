"""When a burst of changes ends, and when a failed run is tried again; the clock is the test's own."""

from __future__ import annotations

import pytest

from bridge.watch.timing import (
    ALLOWANCE,
    BRIEFLY_QUIET,
    HELD,
    IMPATIENCE,
    LONGEST,
    QUIET,
    RETRY_FIRST,
    RETRY_LAST,
    SETTLED,
    SHARE,
    Backoff,
    Burst,
    Debounce,
    WholeRuns,
)

BEGIN = 100.0


class Clock:
    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def debounce(clock: Clock) -> Debounce:
    return Debounce(clock)


@pytest.fixture
def backoff(clock: Clock) -> Backoff:
    return Backoff(clock)


def test_without_a_change_nothing_is_due(debounce: Debounce) -> None:
    assert debounce.due() is None
    assert debounce.take() == Burst(frozenset(), is_whole=False)


@pytest.mark.parametrize(
    ("paths", "quiet"),
    [
        ({"/v/a.ini"}, BRIEFLY_QUIET),
        ({"/v/a.ini", "/v/a.ini.socket"}, BRIEFLY_QUIET),
        ({"/v/a.ini", "/v/a.ini.socket", "/v/b.ini"}, QUIET),
        (None, QUIET),
    ],
)
def test_the_fewer_files_the_sooner_a_burst_ends(debounce: Debounce, paths: set[str] | None, quiet: float) -> None:
    debounce.touch(paths)
    assert debounce.due() == BEGIN + quiet
    assert debounce.take() == Burst(frozenset(paths or ()), is_whole=paths is None)
    assert debounce.due() is None


def test_each_further_change_puts_the_end_off(debounce: Debounce, clock: Clock) -> None:
    debounce.touch({"/v/a.ini"})
    clock.now += QUIET / 2
    debounce.touch({"/v/a.ini"})
    assert debounce.due() == clock.now + BRIEFLY_QUIET
    clock.now += QUIET / 2
    debounce.touch({"/v/b.ini", "/v/c.ini"})
    assert debounce.due() == clock.now + QUIET
    assert debounce.take().paths == {"/v/a.ini", "/v/b.ini", "/v/c.ini"}


def test_a_burst_without_an_end_is_due_all_the_same(debounce: Debounce, clock: Clock) -> None:
    while clock.now < BEGIN + IMPATIENCE:
        debounce.touch({f"/v/{clock.now}.ini"})
        clock.now += QUIET / 2
    assert debounce.due() == BEGIN + IMPATIENCE


@pytest.fixture
def unsettled(debounce: Debounce, clock: Clock) -> Debounce:
    """A burst that does not end, in which one file changes again and again; it is held back."""
    debounce.touch({"/v/a.ini"})
    while not debounce.is_due():
        clock.now += BRIEFLY_QUIET / 2
        debounce.touch({"/v/b.ini"})
    debounce.hold_unsettled()
    assert debounce.take() == Burst(frozenset({"/v/a.ini"}), is_whole=False)
    assert debounce.held == {"/v/b.ini"}
    return debounce


def test_a_file_that_is_held_back_waits_until_it_is_stable(unsettled: Debounce, clock: Clock) -> None:
    assert unsettled.due() == clock.now + SETTLED
    clock.now += SETTLED / 2
    unsettled.touch({"/v/b.ini"})
    assert unsettled.due() == clock.now + SETTLED
    clock.now += SETTLED
    assert unsettled.take().paths == {"/v/b.ini"}
    assert (unsettled.held, unsettled.due()) == (frozenset(), None)


def test_a_file_that_is_held_back_delays_no_other(unsettled: Debounce, clock: Clock) -> None:
    unsettled.touch({"/v/c.ini"})
    unsettled.touch({"/v/b.ini"})
    clock.now += BRIEFLY_QUIET
    assert unsettled.is_due()
    assert unsettled.take().paths == {"/v/c.ini"}


def test_a_file_that_is_released_does_not_end_a_burst(unsettled: Debounce, clock: Clock) -> None:
    clock.now += SETTLED - BRIEFLY_QUIET / 2
    unsettled.touch({"/v/c.ini"})
    clock.now += BRIEFLY_QUIET / 2
    unsettled.hold_unsettled()
    assert unsettled.take().paths == {"/v/b.ini"}
    assert unsettled.known == {"/v/c.ini"}
    assert unsettled.due() == pytest.approx(clock.now + BRIEFLY_QUIET / 2)


def test_a_file_that_changes_for_ever_is_held_back_for_a_time(unsettled: Debounce, clock: Clock) -> None:
    while not unsettled.is_due():
        clock.now += SETTLED / 2
        unsettled.touch({"/v/b.ini"})
    assert BEGIN + HELD <= clock.now < BEGIN + HELD + SETTLED
    assert unsettled.take().paths == {"/v/b.ini"}


def test_a_burst_that_has_ended_is_taken_as_a_whole(debounce: Debounce, clock: Clock) -> None:
    for _ in range(3):
        debounce.touch({"/v/a.ini"})
    clock.now += BRIEFLY_QUIET
    debounce.hold_unsettled()
    assert debounce.take().paths == {"/v/a.ini"}


def test_what_changes_once_is_counted_with_the_burst_that_goes_on(debounce: Debounce, clock: Clock) -> None:
    """Many that are removed, or renamed, are one change."""
    number = 0
    while not debounce.is_due():
        number += 1
        debounce.touch({f"/v/{number}.ini"})
        clock.now += QUIET / 2
    debounce.hold_unsettled()
    assert len(debounce.take().paths) == number


def test_after_a_file_was_gone_all_of_the_burst_must_be_still(debounce: Debounce, clock: Clock) -> None:
    debounce.touch({"/v/a.ini"})
    clock.now += BRIEFLY_QUIET
    debounce.await_return()
    assert debounce.due() == BEGIN + SETTLED
    debounce.touch({"/v/a.ini", "/v/b.ini"})
    assert debounce.due() == clock.now + SETTLED
    clock.now += SETTLED
    assert debounce.take().paths == {"/v/a.ini", "/v/b.ini"}
    debounce.touch({"/v/a.ini"})
    assert debounce.due() == clock.now + BRIEFLY_QUIET


def test_a_burst_at_time_zero_counts(debounce: Debounce, clock: Clock) -> None:
    clock.now = 0.0
    debounce.touch({"/v/a.ini"})
    clock.now = 10.0
    assert debounce.due() == BRIEFLY_QUIET


def test_once_any_path_may_have_changed_single_paths_do_not_narrow_it(debounce: Debounce) -> None:
    debounce.touch({"/v/a.ini"})
    debounce.touch(None)
    debounce.touch({"/v/b.ini"})
    assert debounce.take().is_whole
    debounce.touch({"/v/c.ini"})
    assert debounce.take() == Burst(frozenset({"/v/c.ini"}), is_whole=False)


def test_each_failure_doubles_the_delay_up_to_the_longest(backoff: Backoff, clock: Clock) -> None:
    delays = []
    for _ in range(9):
        backoff.fail()
        due = backoff.due()
        assert due is not None
        delays.append(due - clock.now)
        clock.now = due
        assert backoff.take()
    assert delays == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, RETRY_LAST, RETRY_LAST, RETRY_LAST]


def test_a_retry_is_taken_once_and_not_before_its_time(backoff: Backoff, clock: Clock) -> None:
    assert not backoff.take()
    backoff.fail()
    assert not backoff.take()
    clock.now += RETRY_FIRST
    assert backoff.take()
    assert not backoff.take()
    assert backoff.due() is None


def test_failures_before_the_retry_do_not_put_it_off(backoff: Backoff, clock: Clock) -> None:
    backoff.fail()
    clock.now += 1
    backoff.fail()
    assert backoff.due() == BEGIN + RETRY_FIRST


def test_success_cancels_the_retry_and_resets_the_delay(backoff: Backoff, clock: Clock) -> None:
    backoff.fail()
    clock.now += RETRY_FIRST
    assert backoff.take()
    backoff.fail()
    backoff.succeed()
    assert backoff.due() is None
    backoff.fail()
    assert backoff.due() == clock.now + RETRY_FIRST


def test_runs_of_all_take_a_part_of_the_time(clock: Clock) -> None:
    runs = WholeRuns(clock)
    made = 0
    for _ in range(1000):
        # Somebody asks for one ten times a second, for a hundred seconds.
        if runs.take() or runs.admit():
            runs.ran(0.5)
            made += 1
        clock.now += 0.1
    assert made * 0.5 == pytest.approx(100 * SHARE + ALLOWANCE, rel=0.1)


def test_a_run_of_all_is_put_off_and_made(clock: Clock) -> None:
    runs = WholeRuns(clock)
    assert runs.admit()
    runs.ran(ALLOWANCE + 0.1)
    assert not runs.admit()
    assert not runs.take()
    due = runs.due()
    assert due == pytest.approx(clock.now + 0.1 / SHARE)
    assert not runs.admit()
    assert runs.due() == due
    clock.now = due or 0.0
    assert runs.take()
    assert runs.due() is None


def test_no_run_is_put_off_for_ever(clock: Clock) -> None:
    runs = WholeRuns(clock)
    runs.ran(1000.0)
    assert not runs.admit()
    assert runs.due() == clock.now + LONGEST
    runs.ran(1.0)
    assert runs.due() is None


def test_the_paths_of_a_burst_stay_known_though_any_may_have_changed(clock: Clock) -> None:
    debounce = Debounce(clock)
    debounce.touch({"/v/a.ini"})
    debounce.touch(None)
    assert debounce.known == {"/v/a.ini"}
    assert debounce.take() == Burst(frozenset({"/v/a.ini"}), is_whole=True)
    assert debounce.known == frozenset()
