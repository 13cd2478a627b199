from __future__ import annotations

import os
import select
import socket
import time
from collections import Counter

from bridge.feeder.loop import Backoff, Loop


def test_the_pauses_grow_to_six_seconds_and_begin_again() -> None:
    backoff = Backoff(lambda: 0.0)
    assert [backoff.next() for _ in range(6)] == [1, 2, 4, 6, 6, 6]
    backoff.reset()
    assert backoff.next() == 1


def test_many_hosts_that_lose_a_server_at_once_come_back_one_after_the_other() -> None:
    hosts = [Backoff() for _ in range(1000)]
    for longest in (1, 2, 4, 6, 6):
        pauses = [backoff.next() for backoff in hosts]
        assert min(pauses) >= longest / 2
        assert max(pauses) <= longest
        tenths = Counter(int(pause / longest * 20) for pause in pauses)
        assert max(tenths.values()) < 200


def test_timers_run_in_their_order_and_cancelled_ones_never() -> None:
    loop, seen = Loop(), list[str]()
    loop.call_later(0.02, lambda: seen.append("late"))
    loop.call_later(0, lambda: seen.append("first"))
    loop.call_later(0, lambda: seen.append("second"))
    loop.call_later(0.01, lambda: seen.append("never")).cancel()
    loop.run()
    assert seen == ["first", "second", "late"]


def test_it_sleeps_until_a_time_and_wakes_not_before() -> None:
    loop, began = Loop(), time.monotonic()
    woken: list[float] = []
    loop.call_later(0.05, lambda: woken.append(time.monotonic() - began))
    before = time.process_time()
    loop.run()
    assert woken[0] >= 0.05
    assert time.process_time() - before < 0.02


def test_a_ready_descriptor_goes_before_a_time_that_is_due() -> None:
    loop, seen = Loop(), list[str]()
    here, there = socket.socketpair()

    def answered(_events: int) -> None:
        seen.append("answer")
        timer.cancel()
        loop.stop()

    with here, there:
        loop.watch(here.fileno(), answered)
        timer = loop.call_later(0, lambda: seen.append("deadline"))
        there.send(b"x")
        loop.run()
    assert seen == ["answer"]


def test_a_timer_that_renews_itself_leaves_descriptors_their_turn() -> None:
    loop, turns = Loop(), list[int]()
    here, there = socket.socketpair()

    def again() -> None:
        turns.append(1)
        if len(turns) == 2:
            there.send(b"x")
        loop.call_later(0, again)

    with here, there:
        loop.watch(here.fileno(), lambda _: loop.stop())
        loop.call_later(0, again)
        loop.run()
    assert len(turns) == 2


def test_events_of_a_file_that_was_closed_meanwhile_are_dropped() -> None:
    loop, seen = Loop(), list[str]()
    (first, second), other = (socket.socketpair(), socket.socketpair())

    def close_the_other(_events: int) -> None:
        seen.append("one")
        for end in ends:
            loop.forget(end)
        # The number of the descriptor is another file's now.
        os.dup2(other[0].fileno(), first.fileno())
        loop.watch(first.fileno(), lambda _: seen.append("new"))
        loop.stop()

    ends = [first.fileno(), second.fileno()]
    with first, second, other[0], other[1]:
        for end in ends:
            loop.watch(end, close_the_other)
        first.send(b"x")
        second.send(b"x")
        loop.run()
    assert seen == ["one"]


def test_what_to_wait_for_can_be_changed() -> None:
    loop, seen = Loop(), list[int]()
    here, there = socket.socketpair()

    def writable(events: int) -> None:
        seen.append(events)
        loop.watch(here.fileno(), readable)
        there.send(b"x")

    def readable(events: int) -> None:
        seen.append(events)
        loop.stop()

    with here, there:
        loop.watch(here.fileno(), writable, select.POLLOUT)
        loop.run()
    assert seen == [select.POLLOUT, select.POLLIN]
