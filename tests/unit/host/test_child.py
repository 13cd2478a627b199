"""Work in a child process that asks its parent for things: what comes back, and what is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from bridge.host.child import ChildFailedError, in_child

if TYPE_CHECKING:
    from bridge.host.child import Parent

ORPHAN = """
import os, sys, time
from bridge.host.child import in_child

def work(parent):
    parent.ask(os.getpid())
    time.sleep(60)

def answer(child):
    print(child, flush=True)
    os.kill(os.getpid(), 9)

in_child(work, answer, lambda: None)
"""


def nothing(_: object = None) -> None:
    """Answer nothing."""


def is_there(process: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


def test_the_result_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    assert in_child(lambda _: (os.getppid(), {"a": frozenset("b")}), nothing, nothing) == (
        os.getpid(),
        {"a": frozenset("b")},
    )
    assert capfd.readouterr() == ("", "")


def test_the_child_waits_until_it_has_what_it_asks_for_and_tells_in_its_order() -> None:
    said: list[object] = []
    reader, writer = os.pipe()

    def work(parent: Parent) -> bytes:
        parent.tell("one")
        parent.ask("two")
        found = os.read(reader, 1)
        parent.tell("three")
        return found

    def answer(what: object) -> None:
        said.append(what)
        if what == "two":
            os.write(writer, b"x")

    os.set_blocking(reader, False)
    assert in_child(work, answer, nothing) == b"x"
    assert said == ["one", "two", "three"]
    os.close(reader)
    os.close(writer)


def test_more_than_a_pipe_holds_comes_back_whole() -> None:
    told: list[int] = []

    def work(parent: Parent) -> str:
        for number in range(20_000):
            parent.tell(number)
        return "x" * 10_000_000

    assert in_child(work, told.append, nothing) == "x" * 10_000_000
    assert told == list(range(20_000))


def test_a_child_that_shows_that_it_is_alive_shows_it_for_its_parent_too() -> None:
    alive: list[float] = []

    def work(parent: Parent) -> None:
        for _ in range(100):
            parent.alive()

    in_child(work, nothing, lambda: alive.append(time.monotonic()))
    # Once for all of these, and once for the result.
    assert 1 <= len(alive) <= 2


def test_a_child_that_hangs_shows_nothing() -> None:
    alive: list[float] = []
    in_child(lambda _: time.sleep(1.5), nothing, lambda: alive.append(time.monotonic()))
    assert len(alive) == 1


def test_programs_of_the_child_can_be_ended() -> None:
    script = "import signal; print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)"
    run = in_child(lambda _: subprocess.check_output([sys.executable, "-c", script]), nothing, nothing)
    assert run == b"True\n"


class Line:
    """Something that the parent reads while it waits."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.read_so_far = b""

    def fileno(self) -> int:
        return self.reader

    def read(self) -> None:
        self.read_so_far += os.read(self.reader, 64)


def test_what_comes_meanwhile_is_read() -> None:
    line = Line()

    def work(parent: Parent) -> None:
        os.write(line.writer, b"x")
        parent.ask("something")

    in_child(work, nothing, nothing, line)
    assert line.read_so_far == b"x"
    os.close(line.reader)
    os.close(line.writer)


@pytest.mark.parametrize("end", ["exception", "killed", "not to be packed"])
def test_a_child_that_fails_is_told_and_leaves_nothing(end: str, capfd: pytest.CaptureFixture[str]) -> None:
    children: list[int] = []

    def work(parent: Parent) -> object:
        parent.ask(os.getpid())
        if end == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return nothing if end != "exception" else 1 // 0

    with pytest.raises(ChildFailedError):
        in_child(lambda parent: work(parent) and (lambda: None), children.append, nothing)
    assert not is_there(children[0])
    assert capfd.readouterr().out == ""


def test_where_no_process_can_be_made_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(ChildFailedError):
        in_child(nothing, nothing, nothing)


def test_what_the_answer_raises_ends_the_child() -> None:
    children: list[int] = []

    def answer(child: int) -> None:
        children.append(child)
        raise KeyError

    def work(parent: Parent) -> None:
        parent.ask(os.getpid())
        time.sleep(60)

    with pytest.raises(KeyError):
        in_child(work, answer, nothing)
    assert not is_there(children[0])


def test_signals_for_the_parent_do_not_concern_the_child() -> None:
    def work(_: Parent) -> str:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(os.getpid(), number)
        return "done"

    assert in_child(work, nothing, nothing) == "done"


def test_the_child_ends_with_its_parent() -> None:
    run = subprocess.run([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, timeout=60, check=False)
    assert run.returncode == -signal.SIGKILL
    child = int(run.stdout)
    deadline = time.monotonic() + 30
    while is_there(child) and time.monotonic() < deadline:
        # A killed process that nobody has reaped is still there.
        if b"Z" in stat_of(child):
            break
        time.sleep(0.01)
    else:
        assert not is_there(child)


def stat_of(process: int) -> bytes:
    with suppress(OSError), open(f"/proc/{process}/stat", "rb") as file:
        return file.read().rpartition(b")")[2][:3]
    return b"Z"
